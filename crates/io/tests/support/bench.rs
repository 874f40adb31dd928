//! A group on a device, by the machine's clock or one that a test advances, and what it is charged.
#![allow(dead_code, clippy::allow_attributes, reason = "not every test uses all of it")]

use std::{error::Error, sync::Arc, time::Duration};

use fief_core::{Cgroup, Controller, Hierarchy, Registry, VirtualClock};
use fief_io::{Device, DeviceBuilder, Io, Limits, Stream};

pub(crate) type Checked = Result<(), Box<dyn Error>>;

/// A group on a device.
pub(crate) struct Bench {
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) io: Controller<Io>,
    pub(crate) tenants: Hierarchy,
    pub(crate) web: Cgroup,
    pub(crate) disk: Device,
    pub(crate) stream: Stream,
    _registry: Registry,
}

/// What a group is charged for: bytes and operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Charged {
    pub(crate) read: (u64, u64),
    pub(crate) written: (u64, u64),
}

impl Bench {
    /// By a clock that the test advances.
    pub(crate) fn new(disk: DeviceBuilder) -> Result<Self, Box<dyn Error>> {
        let clock = Arc::new(VirtualClock::new());
        let io = Io::builder().clock(Arc::clone(&clock) as _).build();
        Self::of(io, clock, disk)
    }

    /// By the machine's clock.
    pub(crate) fn real(disk: DeviceBuilder) -> Result<Self, Box<dyn Error>> {
        Self::of(Io::new(), Arc::new(VirtualClock::new()), disk)
    }

    fn of(io: Io, clock: Arc<VirtualClock>, disk: DeviceBuilder) -> Result<Self, Box<dyn Error>> {
        let registry = Registry::new();
        let tenants = registry.create_hierarchy("by-tenant")?;
        let io = registry.register(io)?;
        io.bind(&tenants)?;
        let disk = disk.register(&io)?;
        let web = tenants.root().create_child("web")?;
        let stream = disk.stream(&web)?;
        Ok(Self { clock, io, tenants, web, disk, stream, _registry: registry })
    }

    pub(crate) fn limit(&self, limits: Limits) -> Checked {
        let css = self.io.css(&self.web).ok_or("removed")?;
        Ok(css.set_limits(&self.disk, limits)?)
    }

    /// Lets time go by.
    pub(crate) fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.io.subsystem().tick();
    }

    /// Returns what the group is charged, by `io.stat`.
    pub(crate) fn charged(&self) -> Result<Charged, Box<dyn Error>> {
        charged(&self.web, self.disk.name())
    }

    /// Returns how much of the group is in flight.
    pub(crate) fn in_flight(&self) -> Result<u64, Box<dyn Error>> {
        figure(&self.web.read("io.stat")?, self.disk.name(), "inflight")
    }

    /// Returns what its operations cost, in microseconds.
    pub(crate) fn cost_usec(&self) -> Result<u64, Box<dyn Error>> {
        figure(&self.web.read("io.stat")?, self.disk.name(), "cost_usec")
    }
}

/// Returns what a group is charged on a device, by `io.stat`.
pub(crate) fn charged(cgroup: &Cgroup, device: &str) -> Result<Charged, Box<dyn Error>> {
    let stat = cgroup.read("io.stat")?;
    let of = |key| figure(&stat, device, key);
    let (read, written) = ((of("rbytes")?, of("rios")?), (of("wbytes")?, of("wios")?));
    Ok(Charged { read, written })
}

fn figure(stat: &str, device: &str, key: &str) -> Result<u64, Box<dyn Error>> {
    let line = stat.lines().find_map(|line| line.strip_prefix(device)?.strip_prefix(' '));
    let fields = line.unwrap_or_default().split(' ').filter_map(|field| field.split_once('='));
    let value = fields.into_iter().find_map(|(name, value)| (name == key).then_some(value));
    Ok(value.map_or(Ok(0), str::parse)?)
}
