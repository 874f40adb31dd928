//! What an idle group does without: made when it is first needed, and kept then.
//!
//! A process may have tens of thousands of groups, most of them with nothing but a usage. So a node has
//! what every charge looks at, and one pointer for all the rest.

use fief_core::Pressure;

use crate::{
    css::MemoryCss,
    events::Events,
    high::Throttling,
    line::Line,
    node::Node,
    oom::standing::Callbacks,
    peak::Readers,
    reclaim::registration::Givers,
    sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, OnceLock, Weak},
    wait::Sleeper,
};

/// What most groups have not.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    /// Nodes of groups below that live; those that are gone are cleared as others come.
    pub(crate) children: Mutex<Vec<Weak<Node>>>,
    /// `memory.low` and `memory.min`, or `NONE` for all there is.
    pub(crate) low: AtomicU64,
    pub(crate) min: AtomicU64,
    pub(crate) is_oom_group: AtomicBool,
    /// Of a signed number.
    pub(crate) priority: AtomicU32,
    pub(crate) events: Events,
    pub(crate) readers: Readers,
    /// Made when somebody stalls first, or asks.
    pub(crate) pressure: OnceLock<Box<Pressure>>,
    /// Those who wait for room here; made by the first.
    pub(crate) line: OnceLock<Box<Line<Sleeper>>>,
    /// Who is told when the group is a victim.
    pub(crate) callbacks: Callbacks,
    /// Who gives memory back.
    pub(crate) givers: Givers,
    /// What was charged above high, and who pays for it.
    pub(crate) throttling: Throttling,
}

impl Node {
    /// Returns what the group has beyond the usual; makes it.
    pub(crate) fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }
}

/// What a group of its own costs: the node with the counts of its `Arc`, the account with those of its, a
/// place for it in the node's list, one in the parent's list of children, and the state in the css.
const A_GROUP: usize = {
    let node = size_of::<Node>() + align_of::<Node>();
    let account = size_of::<crate::account::Account>() + 2 * size_of::<usize>();
    let places = 4 * size_of::<usize>() + 2 * size_of::<usize>();
    node + account + places + size_of::<MemoryCss>()
};

const _: () = assert!(size_of::<Node>() <= 256, "four lines");
const _: () = assert!(A_GROUP <= 448, "what an idle group may cost");
