//! Groups on a device whose time a test advances.
#![allow(dead_code, clippy::allow_attributes, reason = "not every test uses all of it")]

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use fief_core::{Cgroup, Controller, CssRef, Hierarchy, Registry, VirtualClock};
use fief_io::{Acquire, AcquireError, Device, DeviceBuilder, Io, IoCss, Limits, Permit};

pub(crate) type Checked = Result<(), Box<dyn Error>>;

pub(crate) struct Scene {
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) io: Controller<Io>,
    pub(crate) tenants: Hierarchy,
    pub(crate) disk: Device,
    pub(crate) registry: Registry,
}

impl Scene {
    pub(crate) fn new(disk: DeviceBuilder) -> Result<Self, Box<dyn Error>> {
        let clock = Arc::new(VirtualClock::new());
        let registry = Registry::new();
        let tenants = registry.create_hierarchy("by-tenant")?;
        let io = registry.register(Io::builder().clock(Arc::clone(&clock) as _).build())?;
        io.bind(&tenants)?;
        let disk = disk.register(&io)?;
        Ok(Self { clock, io, tenants, disk, registry })
    }

    /// Makes a group with limits.
    pub(crate) fn group(&self, name: &str, limits: Limits) -> Result<Cgroup, Box<dyn Error>> {
        let group = self.tenants.root().create_child(name)?;
        self.limit(&group, limits)?;
        Ok(group)
    }

    pub(crate) fn css(&self, group: &Cgroup) -> CssRef<IoCss> {
        self.io.css(group).expect("the group is there")
    }

    pub(crate) fn limit(&self, group: &Cgroup, limits: Limits) -> Checked {
        Ok(self.css(group).set_limits(&self.disk, limits)?)
    }

    /// Lets time go by, and who can go on.
    pub(crate) fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.io.subsystem().tick();
    }
}

/// Polls once, with a waker that does nothing.
pub(crate) fn poll<'a>(acquire: &mut Acquire<'a>) -> Poll<Result<Permit<'a>, AcquireError>> {
    poll_by(acquire, Waker::noop())
}

pub(crate) fn poll_by<'a>(
    acquire: &mut Acquire<'a>,
    waker: &Waker,
) -> Poll<Result<Permit<'a>, AcquireError>> {
    std::pin::Pin::new(acquire).poll(&mut Context::from_waker(waker))
}

/// Counts how often it is woken.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}
