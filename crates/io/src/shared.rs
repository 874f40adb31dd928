//! What all groups and devices of one controller share.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::Duration,
};

use fief_core::{Clock, TaskId};

use crate::{
    device::DeviceInner,
    stream::StreamInner,
    sync::{Arc, Mutex, Weak, forks},
    ticker::{Ticker, Ticking},
    time::Time,
};

/// What all groups and devices of one controller share.
pub(crate) struct Shared {
    pub(crate) time: Time,
    /// The same clock, for pressures.
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) devices: Mutex<BTreeMap<String, Arc<DeviceInner>>>,
    /// Streams that are to follow a task.
    members: Mutex<HashMap<TaskId, Vec<Weak<StreamInner>>>>,
    ticker: Ticker,
    /// Forks before the process it was made in.
    forks: u32,
}

impl Shared {
    pub(crate) fn new(time: Time) -> Arc<Self> {
        let (devices, members) = (Mutex::default(), Mutex::default());
        let clock = time.clock();
        Arc::new(Self { time, clock, devices, members, ticker: Ticker::default(), forks: forks() })
    }

    /// Returns whether this process is the child of a fork, where locks may be held for ever by
    /// threads that are not there.
    pub(crate) fn is_inherited(&self) -> bool {
        self.forks != forks()
    }

    /// Returns the devices there are.
    pub(crate) fn all_devices(&self) -> Vec<Arc<DeviceInner>> {
        self.devices.lock().values().cloned().collect()
    }

    pub(crate) fn device(&self, name: &str) -> Option<Arc<DeviceInner>> {
        self.devices.lock().get(name).cloned()
    }

    /// Has a stream hear of its task's moves.
    pub(crate) fn follow(&self, task: TaskId, stream: &Arc<StreamInner>) {
        self.members.lock().entry(task).or_default().push(Arc::downgrade(stream));
    }

    /// Forgets a stream that is gone.
    pub(crate) fn unfollow(&self, task: TaskId) {
        let mut members = self.members.lock();
        if let Some(streams) = members.get_mut(&task) {
            streams.retain(|stream| stream.strong_count() > 0);
            if streams.is_empty() {
                members.remove(&task);
            }
        }
    }

    /// Returns the streams that follow a task.
    pub(crate) fn followers(&self, task: TaskId) -> Vec<Arc<StreamInner>> {
        let members = self.members.lock();
        let streams = members.get(&task).into_iter().flatten();
        streams.filter_map(Weak::upgrade).collect()
    }

    /// Has the ticker look in so long, or before, where there is one.
    pub(crate) fn call(self: &Arc<Self>, delay: Option<Duration>) {
        if let Some(delay) = delay.filter(|_| self.time.is_machine()) {
            Ticker::call(self, delay);
        }
    }
}

impl Ticking for Shared {
    fn ticker(&self) -> &Ticker {
        &self.ticker
    }

    fn tick(&self) -> Option<Duration> {
        self.all_devices().iter().filter_map(|device| device.sched.pump_now()).min()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("devices", &self.devices).finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if !self.is_inherited() {
            self.ticker.stop();
        }
    }
}
