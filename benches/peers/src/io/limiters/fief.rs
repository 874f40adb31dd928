//! Ours: a group with a limit, and streams in it or in groups below it.

use anyhow::Result;
use fief_core::CssRef;
use fief_io::{CostModel, IoCss, Limits, Op, Stream};

use super::{Account, Limiter, Plan};
use crate::io::world::World;

/// Where tasks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A stream each, all in the group that is limited.
    Streams,
    /// A stream each, in a group of its own below that one.
    Groups,
}

/// A group that may read so many bytes a second.
#[derive(Debug)]
pub struct Fief {
    streams: Vec<Stream>,
    css: CssRef<IoCss>,
    world: World,
}

impl Fief {
    /// Makes it.
    ///
    /// # Errors
    ///
    /// A rate out of range.
    pub fn new(plan: &Plan, layout: Layout) -> Result<Result<Self, String>> {
        // Bytes are what all limit here: of the device's time, small operations would have a greater part.
        let world = World::new(|device| device.cost(CostModel::BYTES))?;
        let limited = World::group(&world.root, "limited")?;
        world.limit(&limited, Limits::new().rbps(plan.rate))?;
        let stream = |number: usize| {
            Ok(world.device.stream(&match layout {
                Layout::Streams => limited.clone(),
                Layout::Groups => World::group(&limited, &number.to_string())?,
            })?)
        };
        let streams = (0..plan.tasks).map(stream).collect::<Result<_>>()?;
        Ok(Ok(Self { streams, css: world.css(&limited)?, world }))
    }
}

impl Limiter for Fief {
    async fn take(&self, task: usize, bytes: u64) -> Result<()> {
        drop(self.streams[task].acquire(Op::read(bytes)).await?);
        Ok(())
    }

    fn set_rate(&self, rate: u64) -> bool {
        self.css.set_limits(&self.world.device, Limits::new().rbps(rate)).is_ok()
    }

    fn account(&self) -> Option<Account> {
        let waiting = self.world.device.stats().waiting;
        Some(Account { bytes: self.css.stats(&self.world.device).rbytes, waiting })
    }
}
