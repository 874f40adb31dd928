//! Watching a group: typed events, and the state compared when they are received.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvError, RecvTimeoutError, Sender, TryRecvError};

use crate::{
    cgroup::{Cgroup, Node},
    css::State,
    error::WatchError,
    sync::{Arc, Mutex, fork},
};

/// Something that happened to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Event {
    /// It, or a group below it, has members, and had none.
    #[doc(alias = "cgroup.events")]
    Populated,
    /// Neither it nor a group below it has members any more.
    Emptied,
    /// A freeze is in effect, and every member of it and of the groups below has said that it stopped.
    Frozen,
    /// It is frozen no more: it is thawed, or a member runs.
    Thawed,
    /// It is removed; nothing follows.
    Removed,
}

/// Tells what happens to one group, from the moment it was made.
///
/// An event says that the state differs from what was told before, as it is received. So nothing has to
/// be kept for a slow receiver, the last change is always told, and two that cancel each other out in
/// between are not.
///
/// Keeps neither the registry nor the group from ending; when that happens it is
/// [`Removed`](Event::Removed).
pub struct Watch {
    node: Arc<Node>,
    id: u64,
    bell: Receiver<()>,
    told: Mutex<Told>,
    /// The process it was made in.
    forks: u32,
}

#[derive(Debug)]
struct Told {
    populated: bool,
    frozen: bool,
    removed: bool,
}

/// The bells of those who watch a group, by the number of the watch.
#[derive(Debug)]
pub(crate) struct Bells(Mutex<Option<Box<ByWatch>>>);

type ByWatch = BTreeMap<u64, Sender<()>>;

impl Bells {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// Has every watch look at the group again.
    pub(crate) fn ring(&self) {
        for bell in self.0.lock().iter().flat_map(|bells| bells.values()) {
            // Rung already and not heard is as good.
            bell.try_send(()).ok();
        }
    }

    /// Comes between hearing the bell and looking at the group.
    ///
    /// A ring that finds the bell rung already publishes nothing by that. By the lock it comes either
    /// before, and what it rang for is seen; or after, and finds the bell silent.
    fn settle(&self) {
        drop(self.0.lock());
    }

    /// Ends every watch, once it has looked at the group.
    pub(crate) fn end(&self) {
        let ended = self.0.lock().take();
        drop(ended);
    }

    fn add(&self) -> (u64, Receiver<()>) {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        let mut bells = self.0.lock();
        let bells = bells.get_or_insert_default();
        let id = bells.last_key_value().map_or(0, |(last, _)| last + 1);
        bells.insert(id, sender);
        (id, receiver)
    }

    fn remove(&self, id: u64) {
        let mut bells = self.0.lock();
        let removed = bells.as_mut().and_then(|bells| bells.remove(&id));
        if bells.as_ref().is_some_and(|bells| bells.is_empty()) {
            *bells = None;
        }
        drop(removed);
    }
}

pub(crate) fn watch(cgroup: &Cgroup) -> Result<Watch, WatchError> {
    let node = cgroup.node();
    let tree = cgroup.owner().engine.structure("watch", || node.path())?;
    if !node.is_online() {
        return Err(WatchError::Removed { cgroup: node.path() });
    }
    if node.parent.is_none() {
        return Err(WatchError::Root { hierarchy: node.hierarchy.name().to_owned() });
    }
    let (id, bell) = node.bells.add();
    let (populated, frozen) = (node.is_populated(), node.freeze.is_frozen());
    let told = Mutex::new(Told { populated, frozen, removed: false });
    drop(tree);
    Ok(Watch { node: Arc::clone(node), id, bell, told, forks: fork::generation() })
}

impl Watch {
    /// Returns the path of the group as of now; after its removal, the last one.
    #[must_use]
    pub fn path(&self) -> String {
        self.node.path()
    }

    /// Returns the next event, if there is one.
    ///
    /// # Errors
    ///
    /// Says whether there is none yet, or will be none any more: [`Event::Removed`] was the last.
    pub fn try_recv(&self) -> Result<Event, TryRecvError> {
        // Heard first, then looked: what changes after the look rings again.
        self.bell.try_recv().ok();
        self.look()
    }

    /// Waits for the next event.
    ///
    /// # Errors
    ///
    /// Says that there will be none any more: [`Event::Removed`] was the last.
    pub fn recv(&self) -> Result<Event, RecvError> {
        loop {
            match self.look() {
                Ok(event) => return Ok(event),
                Err(TryRecvError::Disconnected) => return Err(RecvError),
                // An error says that the group is removed: the next look sees it.
                Err(TryRecvError::Empty) => drop(self.bell.recv()),
            }
        }
    }

    /// Waits for the next event, but no longer than `timeout`.
    ///
    /// # Errors
    ///
    /// Says whether none came, or will come any more: [`Event::Removed`] was the last.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Event, RecvTimeoutError> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            match self.look() {
                Ok(event) => return Ok(event),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) => {}
            }
            match deadline {
                None => drop(self.bell.recv()),
                Some(deadline) => {
                    if self.bell.recv_deadline(deadline) == Err(RecvTimeoutError::Timeout) {
                        return Err(RecvTimeoutError::Timeout);
                    }
                }
            }
        }
    }

    /// Returns what is received whenever there may be an event; for waiting for several things at
    /// once, with crossbeam-channel's `select!`.
    ///
    /// Having received from it, call [`Watch::try_recv`] until it has no more. Disconnected once the
    /// group is removed.
    #[must_use]
    pub fn bell(&self) -> &Receiver<()> {
        &self.bell
    }

    /// Returns what differs from what was told.
    fn look(&self) -> Result<Event, TryRecvError> {
        let mut told = self.told.lock();
        if told.removed {
            return Err(TryRecvError::Disconnected);
        }
        self.node.bells.settle();
        // First the end, so that nothing that came before it is missed.
        let is_removed = self.node.state() >= State::Offline;
        let populated = self.node.is_populated();
        if populated != told.populated {
            told.populated = populated;
            return Ok(if populated { Event::Populated } else { Event::Emptied });
        }
        let frozen = self.node.freeze.is_frozen();
        if frozen != told.frozen {
            told.frozen = frozen;
            return Ok(if frozen { Event::Frozen } else { Event::Thawed });
        }
        told.removed = is_removed;
        if is_removed { Ok(Event::Removed) } else { Err(TryRecvError::Empty) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // In a forked child the lock may be held by a thread that is not there.
        if self.forks == fork::generation() {
            self.node.bells.remove(self.id);
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watch").field(&self.path()).finish()
    }
}
