//! What may be set for a group on a device.
//!
//! Limits and reservations are kept by the device's tree alone. Weights are kept by the group, too, for devices that it has
//! not used yet. A latency is kept by the node.

use std::{fmt::Display, time::Duration};

use fief_core::{Css, CssRef, WeakCss};

use crate::{
    css::IoCss,
    device::{Device, DeviceInner},
    error::SetError,
    node::Node,
    sync::{Arc, Ordering},
    time::nanos,
    trace,
    tree::{IoTree, Limits, Min, TreeError, WEIGHT_MAX, WEIGHT_MIN},
};

/// The longest latency that can be asked for.
pub(crate) const LATENCY_MAX: Duration = Duration::from_secs(10);

impl IoCss {
    /// Returns the group's limits on a device: none by default.
    #[must_use]
    #[doc(alias = "io.max")]
    pub fn limits(&self, device: &Device) -> Limits {
        self.look(device, |tree, node| tree.limits(node.id).ok()).unwrap_or_default()
    }

    /// Sets the group's limits on a device.
    ///
    /// They hold for the group and all below it, and reach who waits at once. What was done stays done: a debt is paid at
    /// the new rate, and what was saved up is kept up to the new burst. A root may have limits, too: a budget for all
    /// that the device is used for.
    ///
    /// # Concurrency
    ///
    /// Takes the device's lock, and calls in what threads have of the device. Who can go on is woken before it returns.
    ///
    /// # Errors
    ///
    /// Refuses rates of 0 and above 2^63 − 1, and a group or device that was removed; nothing is changed.
    #[doc(alias = "tg_set_limit")]
    pub fn set_limits(&self, device: &Device, limits: Limits) -> Result<(), SetError> {
        self.change_limits(&device.inner, |_| limits)
    }

    /// Changes the limits to what `change` makes of them, with nobody else in between.
    pub(crate) fn change_limits(
        &self,
        device: &Arc<DeviceInner>,
        change: impl FnOnce(Limits) -> Limits,
    ) -> Result<(), SetError> {
        let node = self.node(device)?;
        let limits = self.set("io.max", &node, |tree, now| {
            let limits = change(tree.limits(node.id)?);
            tree.set_limits(node.id, limits, now).map(|()| limits)
        })?;
        self.told("io.max", device, &crate::files::shown_limits(limits));
        Ok(())
    }

    /// Returns the group's weight on a device: its own there, or that of [all devices](Self::default_weight).
    #[must_use]
    #[doc(alias = "io.weight")]
    pub fn weight(&self, device: &Device) -> u32 {
        self.kept_weight(&device.inner)
    }

    /// Sets the group's weight on a device, 1 to 10,000; `None` for that of [all devices](Self::set_default_weight).
    ///
    /// It is the group's share beside its siblings, and beside the parent's own operations, who weigh 100 together,
    /// where operations wait for their turn: on devices with a depth, and behind a limit above.
    ///
    /// # Errors
    ///
    /// Refuses what is out of range, a root, and a group or device that was removed; nothing is changed.
    #[doc(alias = "ioc_weight_write")]
    pub fn set_weight(&self, device: &Device, weight: Option<u32>) -> Result<(), SetError> {
        self.change_weight(&device.inner, weight)
    }

    pub(crate) fn change_weight(
        &self,
        device: &Arc<DeviceInner>,
        weight: Option<u32>,
    ) -> Result<(), SetError> {
        self.check_weight(weight)?;
        let node = self.node(device)?;
        let set = self.keep_weight(&node, weight).ok_or_else(|| self.removed(&device.name))?;
        set.map_err(|rule| self.refused("io.weight", &node, rule))?;
        pump(&node);
        match weight {
            Some(weight) => self.told("io.weight", device, &weight),
            None => self.told("io.weight", device, &"default"),
        }
        Ok(())
    }

    /// Returns the group's weight on devices where it has none of its own: 100 unless it was set.
    #[must_use]
    pub fn default_weight(&self) -> u32 {
        self.kept_default_weight()
    }

    /// Sets the group's weight, 1 to 10,000, on all devices where it has none of its own, those to come included.
    ///
    /// # Errors
    ///
    /// Refuses what is out of range, a root, and a group that was removed; nothing is changed.
    pub fn set_default_weight(&self, weight: u32) -> Result<(), SetError> {
        self.check_weight(Some(weight))?;
        let devices = self.keep_default_weight(weight);
        let devices = devices.ok_or_else(|| self.removed("all devices"))?;
        for device in devices {
            device.sched.pump_now();
            device.call();
        }
        trace::set("io.weight", "default", &weight, self);
        Ok(())
    }

    /// Returns what is reserved for the group on a device: nothing by default.
    #[must_use]
    pub fn min(&self, device: &Device) -> Min {
        self.look(device, |tree, node| tree.min(node.id).ok()).unwrap_or(Min::NONE)
    }

    /// Reserves a rate for the group on a device: it gets at least that, as long as the device has it, whatever the
    /// weights say. Limits win.
    ///
    /// # Errors
    ///
    /// Refuses more than the group above has reserved or may do, less than groups below have reserved, a root, and a
    /// group or device that was removed; nothing is changed.
    pub fn set_min(&self, device: &Device, min: Min) -> Result<(), SetError> {
        self.change_min(&device.inner, |_| min)
    }

    /// Changes what is reserved to what `change` makes of it, with nobody else in between.
    pub(crate) fn change_min(
        &self,
        device: &Arc<DeviceInner>,
        change: impl FnOnce(Min) -> Min,
    ) -> Result<(), SetError> {
        self.check_root("io.min")?;
        let node = self.node(device)?;
        let min = self.set("io.min", &node, |tree, now| {
            let min = change(tree.min(node.id)?);
            tree.set_min(node.id, min, now).map(|()| min)
        })?;
        let Min { bps, iops } = min;
        self.told("io.min", device, &format_args!("bps={bps} iops={iops}"));
        Ok(())
    }

    /// Returns the latency that the group is to have on a device, if one was set.
    #[must_use]
    #[doc(alias = "io.latency")]
    pub fn latency(&self, device: &Device) -> Option<Duration> {
        self.latency_on(&device.inner)
    }

    pub(crate) fn latency_on(&self, device: &Arc<DeviceInner>) -> Option<Duration> {
        let node = self.existing(device).flatten()?;
        // Ordering: Relaxed: the word says all there is to know.
        let target = node.target.load(Ordering::Relaxed);
        (target > 0).then(|| Duration::from_nanos(target))
    }

    /// Sets the latency that operations of the group, and of those below, are to have on a device: from 1 µs to 10 s, or
    /// none, the default.
    ///
    /// On a device with a [depth](crate::DeviceBuilder::depth) or a [target](crate::DeviceBuilder::latency_target) of its
    /// own, whose depth falls while they take longer, for everybody. On others nothing comes of it.
    ///
    /// # Errors
    ///
    /// Refuses what is out of range, and a group or device that was removed; nothing is changed.
    #[doc(alias = "iolatency_set_limit")]
    pub fn set_latency(&self, device: &Device, target: Option<Duration>) -> Result<(), SetError> {
        self.change_latency(&device.inner, target)
    }

    pub(crate) fn change_latency(
        &self,
        device: &Arc<DeviceInner>,
        target: Option<Duration>,
    ) -> Result<(), SetError> {
        let is_fine = |target| (Duration::from_micros(1)..=LATENCY_MAX).contains(&target);
        if let Some(target) = target.filter(|target| !is_fine(*target)) {
            let (cgroup, device) = (self.kept_path(), device.name.clone());
            return Err(SetError::Latency { cgroup, device, target });
        }
        let node = self.node(device)?;
        // Ordering: Relaxed: as above.
        node.target.store(target.map_or(0, nanos), Ordering::Relaxed);
        match target {
            Some(target) => self.told("io.latency", device, &target.as_micros()),
            None => self.told("io.latency", device, &"max"),
        }
        Ok(())
    }

    /// Looks at what the tree keeps of the group's node on a device, if there is one.
    fn look<T>(
        &self,
        device: &Device,
        look: impl FnOnce(&IoTree, &Node) -> Option<T>,
    ) -> Option<T> {
        let node = self.existing(&device.inner).flatten()?;
        device.inner.sched.look(|tree, _| look(tree, &node))
    }

    /// Returns the group's node on a device, which is made if need be.
    fn node(&self, device: &Arc<DeviceInner>) -> Result<Arc<Node>, SetError> {
        if !self.shared.device(&device.name).is_some_and(|own| Arc::ptr_eq(&own, device)) {
            let (cgroup, device) = (self.kept_path(), device.name.clone());
            return Err(SetError::DeviceGone { cgroup, device });
        }
        let removed = || self.removed(&device.name);
        let css: CssRef<Self> = self.own.get().and_then(WeakCss::upgrade).ok_or_else(removed)?;
        let css: &Css<Self> = &css;
        device.node(css).ok_or_else(removed)
    }

    /// Changes what the tree has, and lets go on who can.
    fn set<T>(
        &self,
        file: &'static str,
        node: &Arc<Node>,
        set: impl FnOnce(&mut IoTree, u64) -> Result<T, TreeError>,
    ) -> Result<T, SetError> {
        let result = node.device.sched.change(set);
        node.device.call();
        result.map_err(|rule| self.refused(file, node, rule))
    }

    fn check_weight(&self, weight: Option<u32>) -> Result<(), SetError> {
        self.check_root("io.weight")?;
        match weight.filter(|weight| !(WEIGHT_MIN..=WEIGHT_MAX).contains(weight)) {
            Some(weight) => Err(SetError::Weight { cgroup: self.kept_path(), weight }),
            None => Ok(()),
        }
    }

    fn check_root(&self, file: &'static str) -> Result<(), SetError> {
        let css = self.own.get().and_then(WeakCss::upgrade);
        if css.is_some_and(|css| css.parent().is_none()) {
            return Err(SetError::Root { cgroup: self.kept_path(), file });
        }
        Ok(())
    }

    fn removed(&self, device: &str) -> SetError {
        SetError::Removed { cgroup: self.kept_path(), device: device.to_owned() }
    }

    /// Returns what a tree's rule means for groups.
    fn refused(&self, file: &'static str, node: &Node, rule: TreeError) -> SetError {
        let (cgroup, device) = (self.kept_path(), node.device.name.clone());
        match rule {
            TreeError::Rate { dimension, rate } => {
                SetError::Rate { cgroup, device, file, dimension, rate }
            }
            TreeError::Weight { weight, .. } => SetError::Weight { cgroup, weight },
            TreeError::Min { what, min, sum, above, most, .. } => {
                let parent = node.above.as_ref().filter(|parent| parent.id == above);
                let above = parent.map_or_else(|| cgroup.clone(), |parent| parent.path());
                let (sum, above) = (whole(sum), above.into());
                SetError::Min { cgroup, device, what, min, sum, above, most }
            }
            TreeError::MinBelow { what, min, sum, .. } => {
                let sum = whole(sum);
                SetError::MinBelow { cgroup, device, what, min, sum }
            }
            TreeError::Root { .. } => SetError::Root { cgroup, file },
            TreeError::Removed { .. }
            | TreeError::Closed { .. }
            | TreeError::Children { .. }
            | TreeError::Full { .. } => SetError::Removed { cgroup, device },
        }
    }

    fn told(&self, file: &str, device: &DeviceInner, value: &dyn Display) {
        trace::set(file, &device.name, value, self);
    }
}

/// Lets go on who can.
fn pump(node: &Node) {
    node.device.sched.pump_now();
    node.device.call();
}

/// Returns a sum of rates, or the most there is.
fn whole(sum: u128) -> u64 {
    u64::try_from(sum).unwrap_or(u64::MAX)
}
