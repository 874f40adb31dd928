//! A registry with the io controller and one device.

use anyhow::{Context as _, Result};
use benches::forest::manual;
use fief_core::{Cgroup, Controller, CssRef, Registry};
use fief_io::{Device, DeviceBuilder, Io, IoCss, Limits};

/// The name of the device.
const DEVICE: &str = "disk";

/// A hierarchy to which the controller is bound, and a device.
#[derive(Debug)]
pub struct World {
    /// The device.
    pub device: Device,
    /// The group of all groups.
    pub root: Cgroup,
    io: Controller<Io>,
    _registry: Registry,
}

impl World {
    /// Makes one, with a device as `settings` has it.
    ///
    /// # Errors
    ///
    /// Settings that the device refuses.
    pub fn new(settings: impl FnOnce(DeviceBuilder) -> DeviceBuilder) -> Result<Self> {
        let registry = manual();
        let hierarchy = registry.create_hierarchy("io")?;
        let io = registry.register(Io::new())?;
        io.bind(&hierarchy)?;
        let device = settings(Device::builder(DEVICE)).register(&io)?;
        Ok(Self { device, root: hierarchy.root(), io, _registry: registry })
    }

    /// Makes a group.
    ///
    /// # Errors
    ///
    /// A name that is taken.
    pub fn group(parent: &Cgroup, name: &str) -> Result<Cgroup> {
        Ok(parent.create_child(name)?)
    }

    /// Returns a group's state.
    ///
    /// # Errors
    ///
    /// A removed group.
    pub fn css(&self, group: &Cgroup) -> Result<CssRef<IoCss>> {
        self.io.css(group).context("a group that is removed")
    }

    /// Sets a group's limits.
    ///
    /// # Errors
    ///
    /// Limits out of range.
    pub fn limit(&self, group: &Cgroup, limits: Limits) -> Result<()> {
        Ok(self.css(group)?.set_limits(&self.device, limits)?)
    }

    /// Sets a group's weight.
    ///
    /// # Errors
    ///
    /// A weight out of range.
    pub fn weigh(&self, group: &Cgroup, weight: u32) -> Result<()> {
        Ok(self.css(group)?.set_weight(&self.device, Some(weight))?)
    }
}
