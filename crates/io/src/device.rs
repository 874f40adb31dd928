//! Devices: named capacities that groups share.

use std::{
    fmt,
    num::{NonZeroU32, NonZeroU64},
    time::Duration,
};

use fief_core::{Cgroup, Controller, Css, CssRef, Task};

use crate::{
    cost::CostModel,
    css::IoCss,
    device_stats::DeviceStats,
    error::{DeviceError, StreamError},
    latency::{self, Governor},
    node::Node,
    sched::Sched,
    shared::Shared,
    stream::Stream,
    subsystem::Io,
    sync::{Arc, Weak},
    time::nanos,
    trace,
    tree::{IoTree, TreeSettings},
};

/// The longest latency target.
const LATENCY_MOST: Duration = Duration::from_secs(10);

/// A named capacity that groups share: a disk, a mount, a network, a bucket.
///
/// Clones are the same device.
#[derive(Clone)]
#[doc(alias = "gendisk")]
pub struct Device {
    pub(crate) inner: Arc<DeviceInner>,
    pub(crate) controller: Controller<Io>,
}

/// A device, as its nodes and the controller know it.
pub(crate) struct DeviceInner {
    pub(crate) name: String,
    pub(crate) cost: CostModel,
    pub(crate) sched: Sched,
    shared: Weak<Shared>,
}

/// How a device is to be.
#[derive(Clone, Debug)]
#[must_use]
pub struct DeviceBuilder {
    name: String,
    cost: CostModel,
    depth: Option<u32>,
    max_cost: Option<Duration>,
    quantum: Option<u64>,
    latency: Option<Duration>,
    patience: Option<Duration>,
}

impl Device {
    /// Returns the settings of a new device of that name: 1 to 64 bytes, no white space and no `=`, and not
    /// `default`, `max` or `process`. It stands so in control files; `253:0` is fine.
    pub fn builder(name: &str) -> DeviceBuilder {
        DeviceBuilder {
            name: name.to_owned(),
            cost: CostModel::default(),
            depth: None,
            max_cost: None,
            quantum: None,
            latency: None,
            patience: None,
        }
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Makes a member of `cgroup` that uses the device: a task named as the group, which is everywhere else at the root.
    ///
    /// What it does is charged to the group where [the task](Stream::task) sits, and what waits there is refused when
    /// the group is [killed](Cgroup::kill).
    ///
    /// # Errors
    ///
    /// Refuses a removed group, one of another registry, and a controller that is unregistered; and what the
    /// controllers' hooks refuse.
    pub fn stream(&self, cgroup: &Cgroup) -> Result<Stream, StreamError> {
        let task = cgroup.create_task(&cgroup.name())?;
        Stream::of(self, task)
    }

    /// Has a task use the device: what the stream does is charged to the group where the task sits at the time.
    ///
    /// The stream does not keep the task; when it is gone, the stream stays where it was.
    ///
    /// # Errors
    ///
    /// Refuses a task of another registry, and a controller that is unregistered.
    pub fn stream_for(&self, task: &Task) -> Result<Stream, StreamError> {
        Stream::following(self, task)
    }

    /// Has a group use the device, whatever is moved, bound or rebound: the stream stays with its css, and refuses
    /// everything once the group is removed.
    ///
    /// # Errors
    ///
    /// Refuses a removed group, and a css of another controller.
    pub fn stream_at(&self, css: &CssRef<IoCss>) -> Result<Stream, StreamError> {
        Stream::at(self, css)
    }

    /// Returns how it is doing.
    ///
    /// # Concurrency
    ///
    /// Takes the device's lock, and looks at all that is in flight.
    #[must_use]
    pub fn stats(&self) -> DeviceStats {
        self.inner.sched.stats()
    }

    /// Sets how many operations may be in flight from now on; see [`DeviceBuilder::depth`]. `None` is any number, or 64
    /// with a [latency target](DeviceBuilder::latency_target).
    ///
    /// Who waits goes on at once if there is room now. If it is less than what is in flight, nobody goes on until enough
    /// have ended. Operations that began while any number could be in flight are not counted.
    pub fn set_depth(&self, depth: Option<NonZeroU32>) {
        self.inner.sched.set_depth(depth);
    }

    /// Removes the device: who waits is refused, what runs is no longer counted when it ends, and its lines in
    /// control files are gone.
    pub fn remove(&self) {
        let shared = self.controller.subsystem().shared();
        let mut devices = shared.devices.lock();
        if devices.get(&self.inner.name).is_some_and(|device| Arc::ptr_eq(device, &self.inner)) {
            devices.remove(&self.inner.name);
        }
        drop(devices);
        self.inner.sched.close();
        // Its groups' settings and figures go with it.
        let node = self.controller.root().and_then(|root| root.existing(&self.inner).flatten());
        for css in node.iter().flat_map(Node::groups).filter_map(|node| node.css()) {
            css.forget(&self.inner);
        }
        trace::event!("device_removed", device = %self.inner.name);
    }
}

impl DeviceBuilder {
    /// Sets how many operations may be in flight, 1 to 2^32 − 1, and has the device share by weights: who waits is
    /// served when others end. Default: any number, and weights count only where a limit above is short.
    pub fn depth(self, depth: u32) -> Self {
        Self { depth: Some(depth), ..self }
    }

    /// Sets how much time what is in flight may cost by the [model](Self::cost), together; one operation is always let
    /// through. Default: any.
    pub fn max_in_flight(self, cost: Duration) -> Self {
        Self { max_cost: Some(cost), ..self }
    }

    /// Sets what operations cost. Default: [`CostModel::default`].
    pub fn cost(self, cost: CostModel) -> Self {
        Self { cost, ..self }
    }

    /// Sets how many bytes of a large operation are charged in one turn, 512 to 2^30. [Wrappers](crate::Limited) move no
    /// more than that at a time. Default: 64 KiB.
    pub fn quantum(self, bytes: u64) -> Self {
        Self { quantum: Some(bytes), ..self }
    }

    /// Sets a latency that nine of ten operations are to keep to, from grant to end, 1 ns to 10 s: while they do not, fewer
    /// are let in flight, down to one; never more than the [depth](Self::depth), or than 64 if none is set.
    /// Default: none.
    ///
    /// Looked at every 20 ms, or two targets, if 16 operations have ended; the depth falls to 0.7 of what it was once
    /// the target was missed for 100 ms, and grows by one while nine of ten take less than 0.75 of it and others
    /// wait. A group may have [a target of its own](crate::IoCss::set_latency).
    #[doc(alias = "wbt_lat_usec")]
    pub fn latency_target(self, latency: Duration) -> Self {
        Self { latency: Some(latency), ..self }
    }

    /// Sets after what time an operation in flight is overdue, and a waiter that could go on forgotten: both are only
    /// [counted](DeviceStats). More than nothing. Default: 10 s.
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }

    /// Makes the device known to the controller.
    ///
    /// # Errors
    ///
    /// Refuses a name that is taken or cannot stand in a control file, and settings out of their ranges.
    pub fn register(self, io: &Controller<Io>) -> Result<Device, DeviceError> {
        let settings = self.check()?;
        let shared = io.subsystem().shared();
        let inner = Arc::new(DeviceInner {
            sched: self.sched(settings, shared),
            shared: Arc::downgrade(shared),
            cost: self.cost,
            name: self.name,
        });
        let mut devices = shared.devices.lock();
        if devices.contains_key(&inner.name) {
            return Err(DeviceError::Taken { name: inner.name.clone() });
        }
        devices.insert(inner.name.clone(), Arc::clone(&inner));
        drop(devices);
        trace::event!("device_registered", device = %inner.name);
        Ok(Device { inner, controller: io.clone() })
    }

    fn sched(&self, settings: TreeSettings, shared: &Arc<Shared>) -> Sched {
        let governor =
            settings.depth().map(|_| Governor::new(self.latency.map(nanos), settings.depth()));
        let weak = Arc::downgrade(shared);
        let alarm = move |delay| {
            if let Some(shared) = weak.upgrade() {
                shared.call(Some(delay));
            }
        };
        let sched =
            Sched::new(IoTree::new(settings), governor, shared.time.clone(), Box::new(alarm));
        if let Some(patience) = self.patience {
            sched.set_patience(nanos(patience));
        }
        sched
    }

    fn check(&self) -> Result<TreeSettings, DeviceError> {
        let name = &self.name;
        let is_odd = |c: char| c.is_whitespace() || c.is_control() || c == '=';
        let is_taken = ["default", "max", "process"].contains(&name.as_str());
        if name.is_empty() || name.len() > 64 || name.contains(is_odd) || is_taken {
            return Err(DeviceError::Name { name: name.clone() });
        }
        let refuse = |setting, value, rule| DeviceError::Setting {
            name: name.clone(),
            setting,
            value,
            rule,
        };
        let mut settings = TreeSettings::default();
        if let Some(depth) = self.depth {
            let depth = NonZeroU32::new(depth).ok_or_else(|| refuse("depth", 0, "1 or more"))?;
            settings = settings.with_depth(Some(depth));
        }
        if let Some(cost) = self.max_cost {
            let nanos = u64::try_from(cost.as_nanos()).unwrap_or(u64::MAX);
            let cost = NonZeroU64::new(nanos);
            let cost = cost.ok_or_else(|| refuse("time in flight", 0, "more than nothing"))?;
            settings = settings.with_max_cost(Some(cost));
        }
        if let Some(quantum) = self.quantum {
            let checked = settings.with_quantum(quantum);
            settings = checked.map_err(|_| refuse("quantum", quantum, "512 to 2^30"))?;
        }
        if self.patience.is_some_and(|patience| patience.is_zero()) {
            return Err(refuse("patience", 0, "more than nothing"));
        }
        if let Some(latency) = self.latency {
            if latency.is_zero() || latency > LATENCY_MOST {
                return Err(refuse(
                    "latency target in nanoseconds",
                    nanos(latency),
                    "1 ns to 10 s",
                ));
            }
            settings = settings.with_depth(Some(settings.depth().unwrap_or(latency::DEPTH)));
        }
        Ok(settings)
    }
}

impl DeviceInner {
    /// Returns the node of a group, which is made if need be, with those above; `None` for a removed group.
    pub(crate) fn node(self: &Arc<Self>, css: &Css<IoCss>) -> Option<Arc<Node>> {
        let mut missing = Vec::new();
        let mut at = Some(css);
        let mut above = None;
        while let Some(css) = at {
            above = css.existing(self)?;
            if above.is_some() {
                break;
            }
            missing.push(css);
            at = css.parent();
        }
        for css in missing.into_iter().rev() {
            above = Some(css.make(self, above)?);
        }
        above
    }

    /// Has the ticker look when time alone may let somebody go on.
    pub(crate) fn call(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.call(self.sched.next());
        }
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Debug for DeviceInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Device").field("name", &self.name).field("sched", &self.sched).finish()
    }
}
