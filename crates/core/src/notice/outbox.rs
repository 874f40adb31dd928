//! The notice, and the way it takes: a line, then a channel.

use std::fmt;

use crossbeam_channel::{Receiver, Sender};

use crate::{
    cgroup::{Cgroup, Node},
    error::RenotifyError,
    hierarchy::Hierarchy,
    notice::line::{Line, Told},
    stat::Count,
    sync::{Arc, Mutex, fork},
};

/// Notices that the channel of a hierarchy has room for.
const ROOM: usize = 64;

/// The word that a group is in use no more.
///
/// For each group there is at most one on its way: edges that follow before it is accepted or dropped
/// are what it is about, too.
///
/// Dropping it unaccepted ends it: the group was told.
#[must_use = "dropped unaccepted, it counts as told"]
pub struct Notice {
    /// `None` once it is ended.
    node: Option<Arc<Node>>,
}

/// The notices of one hierarchy on their way.
pub(crate) struct Outbox {
    state: Mutex<State>,
    /// The registry's count of notices that were sent.
    sent: Arc<Count>,
    /// The process it was made in.
    forks: u32,
}

struct State {
    /// Made when first needed. The receiver keeps what nobody has received yet.
    channel: Option<(Sender<Notice>, Receiver<Notice>)>,
    /// Groups that the channel has no room for.
    line: Line<Node>,
    is_closed: bool,
}

impl Notice {
    /// Returns the path of the group as of now; after its removal, the last one.
    #[must_use]
    pub fn path(&self) -> String {
        self.node.as_ref().map_or_else(String::new, |node| node.path())
    }

    /// Ends the notice: the next edge makes another. Returns the group if it is still in use no more;
    /// `None` if it is used again, or removed.
    ///
    /// What is returned may be used again at any time: [`Removal::Strict`](crate::Removal::Strict)
    /// decides.
    ///
    /// # Concurrency
    ///
    /// Takes a short lock of the hierarchy's; allowed anywhere. In a forked child there is never a group.
    #[must_use]
    pub fn accept(mut self) -> Option<Cgroup> {
        let node = self.node.take()?;
        if node.hierarchy.outbox.end(&node) { Cgroup::from_node(node) } else { None }
    }
}

impl Drop for Notice {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            node.hierarchy.outbox.end(&node);
        }
    }
}

impl fmt::Debug for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Notice").field(&self.path()).finish()
    }
}

impl Outbox {
    pub(crate) fn new(sent: Arc<Count>) -> Self {
        let state = State { channel: None, line: Line::new(), is_closed: false };
        Self { state: Mutex::new(state), sent, forks: fork::generation() }
    }

    /// Returns whether this is the process that it was made in.
    fn is_here(&self) -> bool {
        fork::generation() == self.forks
    }

    /// Tells that an armed group is in use no more; returns false if a notice of it is on its way.
    pub(crate) fn tell(&self, node: &Arc<Node>) -> bool {
        let mut state = self.state.lock();
        if state.is_closed || !state.line.join(node) {
            return false;
        }
        state.move_on(&self.sent);
        drop(state);
        // Not under the outbox's lock, as it runs a subscriber.
        crate::trace::event!("notice", cgroup = %node.path(), "releasable");
        true
    }

    /// Forgets a group that is removed, as far as nobody can receive its notice yet.
    pub(crate) fn forget(&self, node: &Node) {
        self.state.lock().line.forget(node);
    }

    /// Ends the notice of `node`, and moves on what waits; returns whether there is still something to tell.
    ///
    /// Does nothing in a forked child, where the lock may be held by a thread that is not there.
    fn end(&self, node: &Node) -> bool {
        if !self.is_here() {
            return false;
        }
        let mut state = self.state.lock();
        let is_releasable = state.line.end(node);
        state.move_on(&self.sent);
        is_releasable
    }

    /// Runs `step` while no notice begins or ends.
    pub(crate) fn hold(&self, step: impl FnOnce()) {
        let state = self.state.lock();
        step();
        drop(state);
    }

    /// Returns one more receiver.
    fn receiver(&self) -> Receiver<Notice> {
        let mut state = self.state.lock();
        if state.is_closed {
            return crossbeam_channel::bounded(0).1;
        }
        state.channel().1.clone()
    }

    /// Ends the channel: receivers get what is in it, and then hear that it is over.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        let ended = (state.channel.take(), std::mem::replace(&mut state.line, Line::new()));
        drop(state);
        // Not under the outbox's lock, which notices want that nobody receives and that end here.
        drop(ended);
    }
}

impl State {
    fn channel(&mut self) -> &(Sender<Notice>, Receiver<Notice>) {
        self.channel.get_or_insert_with(|| crossbeam_channel::bounded(ROOM))
    }

    /// Fills the channel with what waits and is still true.
    fn move_on(&mut self, sent: &Count) {
        while let Some(node) = self.line.next() {
            let notice = Notice { node: Some(node) };
            if let Err(full) = self.channel().0.try_send(notice) {
                // Taken back, not dropped: its end would want the lock that we are under.
                if let Some(node) = full.into_inner().node.take() {
                    self.line.put_back(node);
                }
                return;
            }
            sent.add(1);
        }
    }
}

impl Hierarchy {
    /// Returns a receiver of the notices that groups with `notify_on_release` are in use no more.
    ///
    /// All receivers of a hierarchy share one queue: each notice goes to exactly one of them, whenever
    /// it comes. A notice is made at each edge of a group whose flag is set: it has no members, no
    /// children, and no css with references, after it had. Nothing is destroyed by that; see
    /// [`Notice::accept`]. The channel is disconnected when the hierarchy is destroyed, or its registry
    /// ends.
    ///
    /// # Concurrency
    ///
    /// Notices are made by the reclaimer, see [`Reclaimer`](crate::Reclaimer). Up to 64 are in the
    /// channel; more wait outside it, until one that was received is accepted or dropped.
    #[must_use]
    #[doc(alias = "release_agent")]
    pub fn notices(&self) -> Receiver<Notice> {
        self.hier().outbox.receiver()
    }

    /// Makes a notice of every group that would get one at an edge, and is in use no more as of now.
    ///
    /// For those whose notices were dropped, or whose agents have failed. Groups with a notice on its
    /// way keep that one. Returns how many were made.
    ///
    /// # Errors
    ///
    /// Refuses a destroyed hierarchy.
    pub fn renotify(&self) -> Result<usize, RenotifyError> {
        let engine = &self.owner().engine;
        let tree = engine.structure("renotify", || self.name())?;
        if self.is_destroyed() {
            return Err(RenotifyError::Destroyed { hierarchy: self.name() });
        }
        let nodes = self.hier().nodes();
        let releasable = nodes.iter().filter(|node| node.is_releasable());
        let count = releasable.filter(|node| self.hier().outbox.tell(node)).count();
        drop(tree);
        Ok(count)
    }
}
