//! Requests of a freeze, what tasks are asked, and what they say.

use crate::{
    cgroup::{Cgroup, Node},
    controller::caught,
    error::FreezeError,
    freeze::teller::Teller,
    registry::Engine,
    sync::{Arc, AtomicBool, AtomicU32, Ordering},
    task::TaskShared,
    world::column::ROOT,
};

/// How one task stands with freezing.
pub(crate) struct Freezing {
    /// In how many hierarchies a freeze is in effect for its group. Written under the structural lock and
    /// that of moves.
    asks: AtomicU32,
    /// Whether it said that it has stopped. Written under the lock of moves.
    has_stopped: AtomicBool,
    teller: Teller<Callback>,
}

pub(crate) type Callback = Arc<dyn Fn(bool) + Send + Sync>;

impl Freezing {
    /// Returns how a new task stands in groups of which `asks` have a freeze in effect.
    pub(crate) fn new(asks: u32) -> Self {
        let (asks, has_stopped) = (AtomicU32::new(asks), AtomicBool::new(false));
        Self { asks, has_stopped, teller: Teller::new() }
    }

    pub(crate) fn is_asked(&self) -> bool {
        // Ordering: Relaxed: nothing was done for who is asked; who tells has it by the teller's lock.
        self.asks.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn has_stopped(&self) -> bool {
        // Ordering: Relaxed: written under the lock of moves, read as a statistic.
        self.has_stopped.load(Ordering::Relaxed)
    }

    /// Counts a group with a freeze in effect more or less; returns whether what is asked has changed.
    /// Callers hold the structural lock and that of moves.
    pub(crate) fn ask(&self, is_more: bool) -> bool {
        // Ordering: Relaxed: written under the structural lock.
        if is_more {
            self.asks.fetch_add(1, Ordering::Relaxed) == 0
        } else {
            self.asks.fetch_sub(1, Ordering::Relaxed) == 1
        }
    }

    /// Takes the callback, for a drop of its own.
    pub(crate) fn take(&self) -> Option<Callback> {
        self.teller.take()
    }
}

/// Requests a freeze of a group, or no longer.
pub(crate) fn request(cgroup: &Cgroup, is_requested: bool) -> Result<(), FreezeError> {
    let (engine, node) = (&cgroup.owner().engine, cgroup.node());
    let operation = if is_requested { "freeze" } else { "thaw" };
    let tree = engine.structure(operation, || node.path())?;
    if !node.is_online() {
        return Err(FreezeError::Removed { cgroup: node.path() });
    }
    let Some(parent) = &node.parent else {
        return Err(FreezeError::Root { hierarchy: node.hierarchy.name().to_owned() });
    };
    node.freeze.set_requested(is_requested);
    let mut asked = Vec::new();
    if is_requested || !parent.freeze.is_in_effect() {
        let _moves = engine.moves.lock();
        spread(node, is_requested, &mut asked);
    }
    crate::trace::event!(operation, cgroup = %node.path(), members = asked.len(), "requested");
    drop(tree);
    tell_each(engine, asked);
    Ok(())
}

/// Carries what is requested of `top` to the groups below for which that decides; notes the members to
/// tell.
fn spread(top: &Arc<Node>, is_in_effect: bool, asked: &mut Vec<Arc<TaskShared>>) {
    let mut nodes = vec![Arc::clone(top)];
    while let Some(node) = nodes.pop() {
        let is_its_own = !is_in_effect && node.freeze.is_requested();
        if is_its_own || node.freeze.is_in_effect() == is_in_effect {
            continue;
        }
        node.freeze.set_in_effect(is_in_effect);
        node.bells.ring();
        let members = node.members(Arc::clone).into_iter();
        asked.extend(members.filter(|task| task.freezing.ask(is_in_effect)));
        let next = |last: &Arc<Node>| node.child_after(last.id);
        nodes.extend(std::iter::successors(node.child_after(0), next));
    }
}

/// Sets what a task is told by, and tells it if it is asked already.
pub(crate) fn listen(engine: &Engine, task: &TaskShared, callback: Callback) {
    let before = task.freezing.teller.set(callback);
    tell(engine, task);
    drop(before);
}

/// Tells tasks what is asked of them now; the caller holds no lock.
pub(crate) fn tell_each(engine: &Engine, tasks: Vec<Arc<TaskShared>>) {
    for task in tasks {
        tell(engine, &task);
        // The callback may have ended the task: then this is the last to hold it.
        engine.drop_each([task]);
    }
}

fn tell(engine: &Engine, task: &TaskShared) {
    let run = |callback: Callback, asked: bool| {
        engine.tolerate("freeze", caught(|| callback(asked)));
        engine.drop_each([callback]);
    };
    task.freezing.teller.tell(|| task.freezing.is_asked(), run);
}

/// Takes down what a task says of itself; returns whether it is asked to freeze.
pub(crate) fn say(engine: &Engine, task: &TaskShared, has_stopped: bool) -> bool {
    if engine.is_forked() {
        return false; // the lock below may be held for ever
    }
    let moves = engine.moves.lock();
    let is_asked = task.freezing.is_asked();
    let has_stopped = has_stopped && is_asked;
    // Ordering: Relaxed: written under the lock of moves, which we hold.
    if task.freezing.has_stopped.swap(has_stopped, Ordering::Relaxed) != has_stopped {
        for hier in &*engine.directory.read() {
            let place = task.place(hier.index);
            let Some(node) = hier.group(place).filter(|_| place != ROOT) else { continue };
            node.count_running(!has_stopped);
        }
    }
    drop(moves);
    is_asked
}
