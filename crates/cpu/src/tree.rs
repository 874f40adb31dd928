//! Who is next: hierarchical start-time fair queueing, as a data structure.
//!
//! [`CpuTree`] says which group runs next, for how long, and keeps account of what it used. It takes
//! no lock, reads no clock, runs nothing and has no unsafe code, so it can be used alone: by another
//! scheduler, or in a simulation.
//!
//! ```
//! use fief_cpu::tree::{CpuTree, TreeSettings};
//!
//! # fn main() -> Result<(), fief_cpu::tree::TreeError> {
//! let mut tree = CpuTree::new(TreeSettings::default());
//! let (light, heavy) = (tree.add(tree.root())?, tree.add(tree.root())?);
//! tree.set_weight(heavy, 300, 0)?;
//! tree.activate(light, 0)?;
//! tree.activate(heavy, 0)?;
//! let mut now = 0;
//! while now < 1_000_000_000 && let Some(pick) = tree.pick(now) {
//!     let used = pick.slice(); // run the work of pick.node() here
//!     now += used;
//!     tree.settle(pick, used, now);
//! }
//! assert_eq!(tree.stats(heavy)?.usage, 3 * tree.stats(light)?.usage);
//! # Ok(())
//! # }
//! ```
//!
//! # Algorithm
//!
//! Every node has a *tag*, the virtual time at which its next slice starts: CPU time divided by
//! weight. Every queue (the children of a node that wait) has a *clock*: the tag of the child picked
//! last. It never goes back.
//!
//! 1. **Activation.** A node comes to its queue with the tag it had, but not more than one slice
//!    behind the clock (a credit, so that who wakes is soon served) and not further ahead than the
//!    greatest debt. Debt is kept through naps. Once nobody waits and nobody runs in a queue, its
//!    clock goes on to the last tag that was reached: what took nothing from anybody is owed to
//!    nobody.
//! 2. **Pick.** From the root down, the child with the smallest key. A node's own work is one more
//!    child, of weight 100. Children of the idle class have a queue of their own, which is looked at
//!    when the other one is empty. A latency setting moves the key ahead, not the tag, so it moves
//!    the group by a constant.
//! 3. **Charge ahead.** The leaf's usual cost (a moving average) is added to all tags on the path, so
//!    that a second worker does not pick the same group as if it had had nothing.
//! 4. **Settle.** The estimate is replaced by what was used. What brings a tag further ahead of the
//!    clock than the greatest debt is forgotten and counted as an overrun.
//!
//! A leaf stays in its queue while it runs, because others may run it too. The caller deactivates a
//! leaf that it finds empty, so the clock follows those who wait. That is how a weight that no worker
//! can serve (10,000 with one job on two workers) does not pile up a claim.
//!
//! A quota is a token bucket with debt: see `quota.rs`. A node whose bucket is empty leaves its
//! parent's queue; who has nothing else below leaves its own, and so on. Releases are in a heap by
//! time.
//!
//! # Bounds
//!
//! `L` is the longest slice of a group: the tree's slice, or its longest poll and what came before in
//! the same slice. `m` is the number of slices that run at once, `W` the sum of the weights that wait
//! in a queue.
//!
//! * *Fairness*: for siblings `i` and `j` that wait all the time, over any time and with one worker,
//!   `|S_i / w_i - S_j / w_j| <= L_i / w_i + L_j / w_j`. With `m` workers it is `2m` times that: each
//!   tag is within `m` slices of the clock on either side. Who has just come back has a slice of
//!   credit more, who has a latency setting that much more, once.
//! * *Starvation*: between two slices of a child that waits, its queue gives out at most
//!   `W / w · (X + L) + Σ L` (times `m`), where `X` is what the child's own queue has to give out
//!   before it is the grandchild's turn, and the sum is over all siblings. For a leaf, `X` is zero.
//! * *Quota*: in any window of length `t`, a node and all below it use at most
//!   `rate · t + max(burst, c · slice) + m · L`, of a quota worth c CPUs, rounded up. Whoever releases late adds what came in meanwhile, of
//!   2 ms at most. A node that always waits gets 99 % of `rate · t` and more if it is released in
//!   time and that is no more than 80 % of the workers; nearer to all of them, what comes while a
//!   worker is waited for is lost in part.
//! * *Debt*: against siblings at most [`TreeSettings::debt`]; in a bucket without a limit.
//! * *Accounts*: the usage of a node is what its own work and its children were charged, those that
//!   are gone included, exactly.
//! * *Wrap*: tags wrap, and are compared by distance. Up to 65,536 slices may run at once.
//!
//! # Cost
//!
//! Pick and settle are O(depth · log of the siblings); together about 60 ns with ten groups, 90 ns
//! with 10,000 and 200 ns at depth 8 (6,561 groups at depth 8 miss the caches: 300 ns). A node takes
//! less than 192 bytes, and a quota one allocation more.
//!
//! # Sources
//!
//! * P. Goyal, H. M. Vin, H. Cheng, "Start-time fair queueing", 1996, and P. Goyal, X. Guo, H. M.
//!   Vin, "A hierarchical CPU scheduler for multimedia operating systems", 1996: the tags, the clock,
//!   its jump at the end of a busy period, the bounds.
//! * K. J. Duda, D. R. Cheriton, "Borrowed-virtual-time (BVT) scheduling", 1999: the latency setting.
//! * The quota's rules and files are those of Linux's `cpu.max`; its mechanism is not.
//!
//! # Tests
//!
//! `tree/tests` compares it with a naive reference by random scripts, also near the wrap of virtual
//! time; `tests/tree_rules` has the bounds on simulated time.

use heap::{Heap, NONE};
use node::{Node, State};

pub use bandwidth::{Bandwidth, BandwidthError};
pub use error::{SettingsError, TreeError};
pub use node::NodeId;
pub use pick::Pick;
pub use settings::TreeSettings;
pub use stats::NodeStats;

mod settings;
mod bandwidth;
mod stats;
mod error;
mod node;
mod pick;
mod change;
mod path;
mod queue;
mod quota;
mod heap;
mod tag;
#[cfg(test)]
mod tests;

/// The least weight.
pub const WEIGHT_MIN: u16 = 1;
/// The greatest weight.
pub const WEIGHT_MAX: u16 = 10_000;
/// The greatest latency setting, in nanoseconds: 10 ms.
pub const LATENCY_MAX: u64 = 10_000_000;

/// What came of an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Activation {
    /// It did not wait before.
    pub is_new: bool,
    /// A quota of the node or above it holds it back: no worker can run it now.
    pub is_throttled: bool,
}

/// A tree of groups that share CPU time: says who is next, and keeps account.
///
/// A data structure: it takes no lock, reads no clock and runs nothing. `now` is the time in
/// nanoseconds since any origin; a `now` before the last one counts as the last one.
#[derive(Debug)]
pub struct CpuTree {
    nodes: Vec<Node>,
    /// Where each node is in its parent's queue.
    places: Vec<u32>,
    /// The nodes that are held back and have something that waits, by when they are released.
    due: Heap,
    due_places: Vec<u32>,
    free: Vec<u32>,
    count: usize,
    settings: TreeSettings,
    now: u64,
    /// Where virtual times begin.
    origin: u64,
}

impl CpuTree {
    /// A tree with a root.
    pub fn new(settings: TreeSettings) -> Self {
        Self::with_origin(settings, 0)
    }

    fn with_origin(settings: TreeSettings, origin: u64) -> Self {
        Self {
            nodes: vec![Node::new(0, NONE, origin, origin, settings.slice())],
            places: vec![NONE],
            due: Heap::default(),
            due_places: vec![NONE],
            free: Vec::new(),
            count: 1,
            settings,
            now: 0,
            origin,
        }
    }

    /// The root. It can have own work and a quota; it has no weight, class or latency.
    pub const fn root(&self) -> NodeId {
        NodeId { index: 0, generation: 0 }
    }

    /// The settings it was made with.
    pub const fn settings(&self) -> TreeSettings {
        self.settings
    }

    /// How many nodes there are, with the root and those that are removed but not yet gone.
    pub const fn node_count(&self) -> usize {
        self.count
    }

    /// Adds a child: weight 100, no quota, not idle, no latency setting.
    ///
    /// It begins where its parent's queue is now: it owes nothing, and nothing is owed to it.
    /// O(1), amortised.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`], [`TreeError::Full`].
    pub fn add(&mut self, parent: NodeId) -> Result<NodeId, TreeError> {
        let parent = self.live(parent)?;
        let tag = self.node(parent).normal.clock;
        let node =
            |generation| Node::new(generation, parent, tag, self.origin, self.settings.slice());
        let id = match self.free.pop() {
            Some(index) => {
                let generation = self.nodes[index as usize].generation;
                self.nodes[index as usize] = node(generation);
                NodeId { index, generation }
            }
            None => {
                let most = NONE - 1;
                let index = u32::try_from(self.nodes.len()).ok().filter(|index| *index < most);
                let index = index.ok_or(TreeError::Full { most })?;
                self.nodes.push(node(0));
                self.places.push(NONE);
                self.due_places.push(NONE);
                NodeId { index, generation: 0 }
            }
        };
        self.node_mut(parent).child_count += 1;
        self.count += 1;
        Ok(id)
    }

    /// Removes a node: it can be given no work, no children and no settings any more.
    ///
    /// Its place is taken in when nothing runs or waits there and no child is left; until then it
    /// competes as before, what waits can be picked and [`deactivate`](Self::deactivate) works, and
    /// slices in flight are charged to it and all above it.
    ///
    /// # Errors
    ///
    /// [`TreeError::Root`], [`TreeError::Removed`].
    pub fn remove(&mut self, node: NodeId) -> Result<(), TreeError> {
        let at = self.below_root(node, "end")?;
        self.node_mut(at).state = State::Dying;
        self.bury(at);
        Ok(())
    }

    /// The node's own work waits.
    ///
    /// The node, and every ancestor in which nothing waited, takes its place in the queue above: at
    /// most one slice behind the others, and as far ahead as it was (debt is kept, see the module).
    /// O(depth · log of the siblings), less if something waited already.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`].
    pub fn activate(&mut self, node: NodeId, now: u64) -> Result<Activation, TreeError> {
        let at = self.live(node)?;
        self.advance(now);
        let is_new = !self.node(at).is_own_active;
        if is_new {
            let (credit, debt) = (self.settings.slice(), self.settings.debt());
            let node = self.node_mut(at);
            let debt = debt + node.in_flight;
            node.own_tag = tag::clamp(node.own_tag, node.normal.clock, node::WEIGHT, credit, debt);
            node.is_own_active = true;
            self.wake(at);
        }
        Ok(Activation { is_new, is_throttled: self.is_held_back(at) })
    }

    /// The node's own work waits no longer. Ignored if it did not, or if the node is gone.
    pub fn deactivate(&mut self, node: NodeId, now: u64) {
        self.advance(now);
        let Some(at) = self.present(node).filter(|at| self.node(*at).is_own_active) else { return };
        self.node_mut(at).is_own_active = false;
        self.sleep(at);
        self.bury(at);
    }

    /// Whether [`pick`](Self::pick) would find something now, as far as is known since the last call.
    pub fn has_waiting(&self) -> bool {
        self.node(0).is_waiting() && !self.node(0).is_throttled()
    }

    /// When the next node that is held back has enough tokens; `None` if nothing is held back.
    ///
    /// Somebody should [`pick`](Self::pick) or [`release`](Self::release) then.
    pub fn next_release(&self) -> Option<u64> {
        self.due.first().map(|first| first.key)
    }

    /// Lets in the nodes whose quota has come, and says how many. [`pick`](Self::pick) does it too.
    pub fn release(&mut self, now: u64) -> usize {
        self.advance(now);
        self.release_due()
    }

    /// Goes on to `now`, without releasing anybody, and returns what time it is: `now`, or the last one
    /// if that was later.
    pub fn go_on(&mut self, now: u64) -> u64 {
        self.advance(now);
        self.now
    }

    /// Whether the node is still there: not removed, or removed but not yet gone.
    pub fn contains(&self, node: NodeId) -> bool {
        self.present(node).is_some()
    }

    /// Whether the node's own work waits.
    pub fn is_active(&self, node: NodeId) -> bool {
        self.present(node).is_some_and(|at| self.node(at).is_own_active)
    }

    /// Whether a quota of the node or above it holds it back.
    pub fn is_throttled(&self, node: NodeId) -> bool {
        self.present(node).is_some_and(|at| self.is_held_back(at))
    }

    /// The parent; `None` for the root.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`] if it is gone.
    pub fn parent(&self, node: NodeId) -> Result<Option<NodeId>, TreeError> {
        let parent = self.node(self.there(node)?).parent();
        Ok(parent.map(|index| NodeId { index, generation: self.node(index).generation }))
    }

    /// The weight.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`] if it is gone.
    pub fn weight(&self, node: NodeId) -> Result<u16, TreeError> {
        Ok(self.node(self.there(node)?).weight)
    }

    /// Whether it is of the idle class.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`] if it is gone.
    pub fn is_idle(&self, node: NodeId) -> Result<bool, TreeError> {
        Ok(self.class_of(self.there(node)?) == node::Class::Idle)
    }

    /// The latency setting, in nanoseconds.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`] if it is gone.
    pub fn latency(&self, node: NodeId) -> Result<u64, TreeError> {
        Ok(u64::from(self.node(self.there(node)?).latency))
    }

    /// The most it may use.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`] if it is gone.
    pub fn bandwidth(&self, node: NodeId) -> Result<Bandwidth, TreeError> {
        let quota = &self.node(self.there(node)?).quota;
        Ok(quota.as_ref().map_or(Bandwidth::MAX, |quota| quota.bandwidth()))
    }

    /// Its figures, as of the last `now`.
    ///
    /// # Errors
    ///
    /// [`TreeError::Removed`] if it is gone.
    pub fn stats(&self, node: NodeId) -> Result<NodeStats, TreeError> {
        let node = self.node(self.there(node)?);
        let mut stats = NodeStats {
            usage: node.usage,
            own_usage: node.own_usage,
            slices: node.slices,
            overruns: u64::from(node.overruns),
            ..NodeStats::default()
        };
        if let Some(quota) = &node.quota {
            quota.add_to(&mut stats, self.now);
        }
        Ok(stats)
    }

    fn is_held_back(&self, at: u32) -> bool {
        self.path(at).any(|at| self.node(at).is_throttled())
    }

    /// Where a node is that is not gone.
    fn present(&self, node: NodeId) -> Option<u32> {
        let found = self.nodes.get(node.index())?;
        let is_present = found.generation == node.generation && found.state != State::Free;
        is_present.then_some(node.index)
    }

    fn there(&self, node: NodeId) -> Result<u32, TreeError> {
        self.present(node).ok_or(TreeError::Removed { node })
    }

    /// Where a node is that is not removed.
    fn live(&self, node: NodeId) -> Result<u32, TreeError> {
        let at = self.present(node).filter(|at| self.node(*at).state == State::Live);
        at.ok_or(TreeError::Removed { node })
    }

    fn below_root(&self, node: NodeId, what: &'static str) -> Result<u32, TreeError> {
        let at = self.live(node)?;
        if at == 0 { Err(TreeError::Root { what }) } else { Ok(at) }
    }
}
