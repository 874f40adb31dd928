//! What may be set for a group on a device.

use fief_core::{Css, CssRef, WeakCss};

use crate::{
    css::IoCss,
    device::Device,
    error::SetError,
    node::Node,
    sync::Arc,
    tree::{Limits, Min, TreeError},
};

impl IoCss {
    /// Returns the group's limits on a device: none by default.
    #[must_use]
    #[doc(alias = "io.max")]
    pub fn limits(&self, device: &Device) -> Limits {
        let limits = |node: Arc<Node>| device.inner.sched.look(|tree, _| tree.limits(node.id).ok());
        self.existing(&device.inner).flatten().and_then(limits).unwrap_or_default()
    }

    /// Sets the group's limits on a device.
    ///
    /// They hold for the group and all below it, and reach who waits at once. What was done stays done: a debt is paid at
    /// the new rate, and what was saved up is kept up to the new burst.
    ///
    /// # Concurrency
    ///
    /// Takes the device's lock, and calls in what threads have of the device.
    ///
    /// # Errors
    ///
    /// Refuses rates and bursts of 0, and a group or device that was removed; nothing is changed.
    pub fn set_limits(&self, device: &Device, limits: Limits) -> Result<(), SetError> {
        let node = self.node(device)?;
        self.set(device, |tree, now| tree.set_limits(node.id, limits, now))
    }

    /// Sets the group's weight on a device, 1 to 10,000; `None` for that of [all devices](Self::set_default_weight).
    ///
    /// # Errors
    ///
    /// Refuses what is out of range, a root, and a group or device that was removed; nothing is changed.
    pub fn set_weight(&self, device: &Device, weight: Option<u32>) -> Result<(), SetError> {
        let node = self.node(device)?;
        let weight = self.keep_weight(&node, weight);
        self.set(device, |tree, now| tree.set_weight(node.id, weight, now))
    }

    /// Returns the group's weight on a device; the default is 100.
    #[must_use]
    #[doc(alias = "io.weight")]
    pub fn weight(&self, device: &Device) -> u32 {
        self.kept_weight(&device.inner)
    }

    /// Returns what is reserved for the group on a device: nothing by default.
    #[must_use]
    pub fn min(&self, device: &Device) -> Min {
        let min = |node: Arc<Node>| device.inner.sched.look(|tree, _| tree.min(node.id).ok());
        self.existing(&device.inner).flatten().and_then(min).unwrap_or(Min::NONE)
    }

    /// Reserves a rate for the group on a device: it gets at least that, as long as the device has it, whatever the
    /// weights say.
    ///
    /// # Errors
    ///
    /// Refuses more than the group above has reserved or may do, and a group or device that was removed; nothing is
    /// changed.
    pub fn set_min(&self, device: &Device, min: Min) -> Result<(), SetError> {
        let node = self.node(device)?;
        self.set(device, |tree, now| tree.set_min(node.id, min, now))
    }

    fn node(&self, device: &Device) -> Result<Arc<Node>, SetError> {
        let removed = || SetError::Removed { device: device.name().to_owned() };
        let css: CssRef<Self> = self.own.get().and_then(WeakCss::upgrade).ok_or_else(removed)?;
        let css: &Css<Self> = &css;
        device.inner.node(css).ok_or_else(removed)
    }

    fn set(
        &self,
        device: &Device,
        set: impl FnOnce(&mut crate::tree::IoTree, u64) -> Result<(), TreeError>,
    ) -> Result<(), SetError> {
        let result = device.inner.sched.change(set);
        device.inner.call();
        let path = || self.own.get().and_then(WeakCss::upgrade).map(|css| css.path());
        result.map_err(|rule| SetError::Refused {
            cgroup: path().unwrap_or_else(|| String::from("a removed group")),
            device: device.name().to_owned(),
            rule,
        })
    }
}
