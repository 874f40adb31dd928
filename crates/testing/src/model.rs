//! The reference model: what the core is to do, in plain single-threaded data.
//!
//! Nothing is ever taken out of the lists and nothing is counted ahead: whether a css is held, a
//! group populated or a name free is looked up when asked. `tests/model.rs` runs the same scripts
//! here and on a real registry and compares results, trees and callbacks.

mod attach;
mod css;
mod freeze;
mod notices;
mod rebind;
mod shape;
mod references;
mod remove;
mod subsystem;
mod tree;
mod view;

use std::collections::{BTreeMap, BTreeSet};

use self::notices::Watching;
use crate::{inject::Plan, script::Command};

/// What a command printed, or the kind of its error; of a refused strict removal, its text.
pub type Outcome = Result<String, String>;

/// The whole universe of a script.
#[derive(Debug, Default)]
pub struct Model {
    trees: Vec<Tree>,
    groups: Vec<Group>,
    css: Vec<Css>,
    /// In order of registration.
    subsystems: Vec<Subsystem>,
    /// The living ones, in order of creation.
    tasks: Vec<Task>,
    references: BTreeMap<String, CssId>,
    weaks: BTreeMap<String, CssId>,
    current: Option<TreeId>,
    /// Css ever made.
    made: u32,
    /// Css whose last reference is gone, in the order in which that happened; each is in it once.
    unheld: Vec<CssId>,
    /// Groups whose last member or child is gone, until the reclaimer looks at them.
    emptied: Vec<GroupId>,
    /// Groups that rest since css left them, until the reclaimer has gone by.
    resting: Vec<GroupId>,
    /// Css that a migration keeps until its last hook has run.
    pinned: Vec<CssId>,
    /// Groups that were told and not yet received, in the order in which they were told.
    outbox: Vec<GroupId>,
    /// Notices that the script holds.
    notices: BTreeMap<String, GroupId>,
    watches: BTreeMap<String, Watching>,
    /// Notices ever made.
    told: u64,
    /// Strict removals refused.
    refused: u64,
    events: Vec<String>,
}

type TreeId = usize;
type GroupId = usize;
type CssId = usize;

#[derive(Debug)]
struct Tree {
    name: String,
    root: GroupId,
    destroyed: bool,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Group {
    tree: TreeId,
    parent: Option<GroupId>,
    name: String,
    /// False for one whose creation was undone.
    born: bool,
    removed: bool,
    max_depth: Option<u64>,
    max_descendants: Option<u64>,
    /// A freeze is requested of it.
    freezes: bool,
    /// It was frozen as it was removed.
    ended_frozen: bool,
    /// `notify_on_release`.
    notifies: bool,
    /// Its css count exactly, and an edge is told.
    armed: bool,
    /// The number of its notice that is on its way, or 0.
    notice: u64,
    /// It was in use no more as it was let rest, and nothing has happened since: the number that its
    /// notice had then.
    told: Option<u64>,
    /// How often it was let rest, and has not stood up since.
    rests: usize,
    /// Controllers that the groups below have css of.
    enabled: BTreeSet<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Made,
    Online,
    Offline,
    Released,
    Freed,
}

#[derive(Debug)]
struct Css {
    subsystem: usize,
    parent: Option<CssId>,
    /// `None` is the root of the hidden default hierarchy.
    group: Option<GroupId>,
    stage: Stage,
    /// It was used since its group was armed, and nobody has looked since the last reference went.
    busy: bool,
    /// False for one whose creation was undone: no hook but the drop sees it again.
    came_online: bool,
    /// Where it was when a hook last saw it.
    seen_at: String,
    /// The how-manyeth it is.
    number: u32,
    /// What was charged to it.
    usage: u64,
}

#[derive(Debug)]
struct Subsystem {
    name: String,
    registered: bool,
    root: CssId,
    /// `None` is inactive.
    tree: Option<TreeId>,
    plan: Plan,
}

#[derive(Debug)]
struct Task {
    name: String,
    /// Where it sits, for trees where that is not the root.
    places: BTreeMap<TreeId, GroupId>,
    /// What it was told last of a freeze.
    is_asked: bool,
    /// What it said last.
    has_stopped: bool,
}

impl Model {
    /// Runs one command.
    ///
    /// # Errors
    ///
    /// The kind of the error that the core is to give, or its text; nothing has changed then.
    pub fn apply(&mut self, command: &Command) -> Outcome {
        match command {
            Command::Hierarchy(name) => self.hierarchy(name),
            Command::Use(name) => self.select(name),
            Command::Destroy(name) => self.destroy(name),
            Command::Register(name) => self.register(name),
            Command::Unregister(name) => self.unregister(name),
            Command::Mkdir(path) => self.mkdir(path),
            Command::MkdirWith { path, tasks } => self.mkdir_with(path, tasks),
            Command::Mv { path, name } => self.mv(path, name),
            Command::Rmdir { path, strict, subtree } => self.rmdir(path, *strict, *subtree),
            Command::Get { path, subsystem, name } => self.get(path, subsystem, name.as_deref()),
            Command::Root { subsystem, name } => self.root(subsystem, name.as_deref()),
            Command::Clone { reference, name } => self.clone_reference(reference, name.as_deref()),
            Command::Put(name) => self.put(name),
            Command::Weak { reference, name } => self.weak(reference, name.as_deref()),
            Command::Upgrade { weak, name } => self.upgrade(weak, name.as_deref()),
            Command::MaxDepth { path, limit } => self.max_depth(path, *limit),
            Command::MaxDescendants { path, limit } => self.max_descendants(path, *limit),
            Command::Fail { subsystem, hook, nth } => self.inject(subsystem, *hook, *nth, false),
            Command::Panic { subsystem, hook, nth } => self.inject(subsystem, *hook, *nth, true),
            Command::Reap => self.reap(),
            Command::Show(path) => self.show(path.as_deref()),
            Command::Events => Ok(self.drain_events()),
            _ => self.apply_binding(command),
        }
    }

    /// Gives up every task and reference, so that only groups and roots hold something.
    pub fn let_go(&mut self) {
        while let Some(task) = self.tasks.first() {
            let name = task.name.clone();
            self.exit(&name).ok();
        }
        while let Some(name) = self.references.keys().next().cloned() {
            self.put(&name).ok();
        }
        self.weaks.clear();
        self.forget_notices();
    }

    /// Returns how many notices were made, and how many strict removals refused.
    #[must_use]
    pub fn told_and_refused(&self) -> (u64, u64) {
        (self.told, self.refused)
    }

    fn drain_events(&mut self) -> String {
        self.events.drain(..).map(|event| event + "\n").collect()
    }

    fn current(&self) -> Result<TreeId, &'static str> {
        self.current.ok_or("NothingSelected")
    }
}
