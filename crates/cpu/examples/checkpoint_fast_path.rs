//! Checkpoints as a program compiles them: `cargo xtask asm` reads the assembly of each probe.
//!
//! A probe is one operation in a function of its own. None may contain a locked instruction or a fence.

use std::hint::black_box;

use fief_core::Registry;
use fief_cpu::{Cpu, Group, Killed, Lease};

/// A checkpoint of a lease at hand: a load of its flag, and a branch.
///
/// # Errors
///
/// If the group was killed.
#[inline(never)]
pub fn probe_checkpoint(lease: &Lease) -> Result<(), Killed> {
    lease.checkpoint()
}

/// A checkpoint by what the thread knows of itself.
///
/// # Errors
///
/// If the group was killed.
#[inline(never)]
pub fn probe_thread_checkpoint() -> Result<(), Killed> {
    fief_cpu::checkpoint()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let registry = Registry::new();
    let tenants = registry.create_hierarchy("by-tenant")?;
    let cpu = registry.register(Cpu::new())?;
    cpu.bind(&tenants)?;
    let lease = Group::new(&cpu, &tenants.root().create_child("web")?)?.enter()?;
    probe_checkpoint(black_box(&lease))?;
    probe_thread_checkpoint()?;
    Ok(())
}
