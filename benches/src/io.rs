//! Operations that are admitted where nothing holds them up, beside one atomic addition.

use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
};

use fief_core::{Cgroup, Registry};
use fief_io::{AcquireError, Device, Io, Limits, Op, Stream};

use crate::{forest::manual, pair::Pair};

/// What an operation reads.
const BYTES: u64 = 4_096;

/// Bytes and operations a second that no loop asks for.
const FAST: Limits = Limits::new().rbps(1 << 50).riops(1 << 40);

/// One shared word: add.
#[derive(Debug, Default)]
pub struct Addition(AtomicU64);

impl Pair for Addition {
    fn run(&self, pairs: u64) {
        for _ in 0..pairs {
            black_box(self.0.fetch_add(1, Ordering::Relaxed));
        }
    }
}

/// A group whose operations are admitted at once, and end at once.
#[derive(Debug)]
pub struct Admitted {
    stream: Stream,
    _registry: Registry,
}

impl Admitted {
    /// Makes a group at the end of a chain of so many levels that have a limit; without any it has none.
    #[must_use]
    pub fn new(limited: usize) -> Self {
        let registry = manual();
        let hierarchy = registry.create_hierarchy("grove").expect("the name is free");
        let io = registry.register(Io::new()).expect("the name is free");
        io.bind(&hierarchy).expect("no groups yet");
        let device = Device::builder("disk").register(&io).expect("the name is free");
        let below = |group: Cgroup| group.create_child("below").expect("the name is free");
        let leaf = (0..limited.max(1)).fold(hierarchy.root(), |group, _| {
            let group = below(group);
            if limited > 0 {
                let css = io.css(&group).expect("the group is online");
                css.set_limits(&device, FAST).expect("a limit in range");
            }
            group
        });
        let stream = device.stream(&leaf).expect("the group is online");
        Self { stream, _registry: registry }
    }
}

impl Pair for Admitted {
    fn run(&self, pairs: u64) {
        for _ in 0..pairs {
            match black_box(&self.stream).try_acquire(Op::read(black_box(BYTES))) {
                Ok(permit) => drop(black_box(permit)),
                Err(error) => refused(&error),
            }
        }
    }
}

/// Drops the error here, and not in the code that is timed.
#[cold]
fn refused(error: &AcquireError) -> ! {
    panic!("the limits are high: {error}")
}
