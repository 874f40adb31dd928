//! An operation that is admitted at once, as a program compiles it: `cargo xtask asm` reads the assembly of each probe.
//!
//! A probe is one operation in a function of its own. It may contain one exchange, by which it takes from what the thread
//! has, and which is passed over where nothing limits the group; and no other locked instruction, and no fence.

use std::hint::black_box;

use fief_core::Registry;
use fief_io::{AcquireError, Device, Io, Op, Stream};

/// Is admitted, and ends.
///
/// # Errors
///
/// As [`Stream::try_acquire`].
#[inline(never)]
pub fn probe_try_acquire(stream: &Stream, bytes: u64) -> Result<(), AcquireError> {
    stream.try_acquire(Op::read(bytes)).map(drop)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let registry = Registry::new();
    let tenants = registry.create_hierarchy("by-tenant")?;
    let io = registry.register(Io::new())?;
    io.bind(&tenants)?;
    let disk = Device::builder("disk").register(&io)?;
    let stream = disk.stream(&tenants.root().create_child("web")?)?;
    probe_try_acquire(black_box(&stream), 4096)?;
    Ok(())
}
