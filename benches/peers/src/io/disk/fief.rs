//! Ours: groups that share a device by weights, with a depth or a latency target.

use std::{fs::File, os::unix::fs::FileExt as _, time::Duration};

use anyhow::Result;
use fief_core::Cgroup;
use fief_io::{Limited, Limits};

use super::{
    load::{Way, Who},
    target::Target,
};
use crate::io::world::World;

/// How the device is shared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sharing {
    /// How many reads may be in flight; any number if none is given.
    pub depth: Option<u32>,
    /// What nine of ten reads are to keep to.
    pub latency: Option<Duration>,
    /// The largest read, in bytes.
    pub quantum: usize,
    /// The weights of the groups that bulk readers are in, one after the other.
    pub weights: &'static [u32],
    /// What bulk readers may read together, in bytes a second.
    pub rate: Option<u64>,
}

/// A light reader's group of weight 100, and the bulk readers' groups.
#[derive(Debug)]
pub struct Shared {
    light: Limited<File>,
    bulk: Vec<Limited<File>>,
    _world: World,
}

impl Shared {
    /// Makes the groups, for so many bulk readers.
    ///
    /// # Errors
    ///
    /// Settings that are refused.
    pub fn new(target: &Target, sharing: &Sharing, readers: usize) -> Result<Self> {
        let world = World::new(|device| {
            let device = device.quantum(sharing.quantum as u64);
            let device = match sharing.depth {
                Some(depth) => device.depth(depth),
                None => device,
            };
            match sharing.latency {
                Some(latency) => device.latency_target(latency),
                None => device,
            }
        })?;
        let wrapped = |group: &Cgroup| -> Result<_> {
            Ok(world.device.stream(group)?.limit(target.file.try_clone()?))
        };
        let group = World::group(&world.root, "light")?;
        let light = wrapped(&group)?;
        let mut groups = Vec::new();
        for (number, weight) in sharing.weights.iter().enumerate() {
            let group = World::group(&world.root, &format!("bulk{number}"))?;
            world.weigh(&group, *weight)?;
            if let Some(rate) = sharing.rate {
                world.limit(&group, Limits::new().rbps(rate))?;
            }
            groups.push(group);
        }
        let bulk = groups.iter().cycle().take(readers).map(wrapped).collect::<Result<_>>()?;
        Ok(Self { light, bulk, _world: world })
    }
}

impl Way for Shared {
    fn read(&self, _target: &Target, who: Who, buffer: &mut [u8], at: u64) -> Result<()> {
        let file = match who {
            Who::Light => &self.light,
            Who::Bulk(number) => &self.bulk[number],
        };
        Ok(file.read_exact_at(buffer, at)?)
    }
}
