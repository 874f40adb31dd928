//! The fast paths of charges as a program compiles them: `cargo xtask asm` reads the assembly of each probe.
//!
//! A probe is one operation in a function of its own. None may contain a locked instruction or a fence.

use std::hint::black_box;

use fief_core::Registry;
use fief_memory::{ChargeError, Memory, MemoryCss, Reservation};

/// A charge to a group, from what the thread has charged ahead.
///
/// # Errors
///
/// If there is no room.
#[inline(never)]
pub fn probe_try_charge(css: &MemoryCss, bytes: u64) -> Result<(), ChargeError> {
    css.try_charge(bytes)
}

/// The way back.
#[inline(never)]
pub fn probe_uncharge(css: &MemoryCss, bytes: u64) {
    css.uncharge(bytes);
}

/// A reservation's growth, from what it has charged ahead.
///
/// # Errors
///
/// If there is no room.
#[inline(never)]
pub fn probe_grow(reservation: &mut Reservation, bytes: u64) -> Result<(), ChargeError> {
    reservation.grow(bytes)
}

/// The way back.
#[inline(never)]
pub fn probe_shrink(reservation: &mut Reservation, bytes: u64) -> u64 {
    reservation.shrink(bytes)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("memory")?;
    let memory = registry.register(Memory::new())?;
    memory.bind(&hierarchy)?;
    let css = memory.css(&hierarchy.root()).ok_or("bound")?;
    probe_try_charge(black_box(&css), black_box(64))?;
    probe_uncharge(black_box(&css), black_box(64));
    let mut reservation = css.reserve();
    probe_grow(black_box(&mut reservation), black_box(64))?;
    black_box(probe_shrink(black_box(&mut reservation), black_box(64)));
    Ok(())
}
