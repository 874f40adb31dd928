//! Migration: members change css together, all or none, in two phases.
//!
//! Every controller is asked about every member first (`can_attach`); one refusal, and those that had
//! agreed are told that nothing comes of it (`cancel_attach`). From then on nothing can fail: places are
//! set, and each controller sees each member that has arrived (`attach`, and `post_attach` under no lock).
//! The same goes for members that stay where they are while a controller moves (`rebind.rs`): what counts
//! is that their css changes.

use std::collections::{HashMap, HashSet};

use crate::{
    cgroup::{Node, arm},
    controller::{Instance, Move, Places},
    css::{Pin, cells::CssId},
    error::{AttachError, HookError, Veto},
    freeze::group as freeze,
    registry::{Engine, Tree, engine::Structure},
    sync::Arc,
    task::{Task, TaskShared},
    units::TaskId,
    world::column::ROOT,
};

/// Members on their way from css to css.
#[derive(Default)]
pub(crate) struct Transfers {
    ways: Vec<Way>,
    by_ends: HashMap<(CssId, CssId), usize>,
    tasks: Vec<Arc<TaskShared>>,
    /// Which of them goes, and which way, in the order in which controllers are asked.
    moved: Vec<(usize, usize)>,
    /// Who is asked to freeze, or no longer, as it went from group to group.
    asked: Vec<Arc<TaskShared>>,
}

/// From one css to another of the same controller.
struct Way {
    ends: (CssId, CssId),
    instance: Arc<dyn Instance>,
    source: Pin,
    target: Pin,
}

impl Way {
    fn run(&self, step: Move, task: &TaskShared) -> Result<(), HookError> {
        let places = Places { source: self.source.css(), target: self.target.css() };
        self.instance.migrate(step, &task.member, places)
    }
}

impl Transfers {
    /// Adds a member that goes from one css to another, unless they are the same.
    pub(crate) fn add(
        &mut self,
        tree: &Tree,
        instance: &Arc<dyn Instance>,
        task: &Arc<TaskShared>,
        ends: (CssId, CssId),
    ) {
        if ends.0 == ends.1 {
            return;
        }
        let way = self.likely_way(ends).or_else(|| self.by_ends.get(&ends).copied());
        let way = way.or_else(|| {
            let (source, target) = (Pin::new(tree.css(ends.0)?), Pin::new(tree.css(ends.1)?));
            self.ways.push(Way { ends, instance: Arc::clone(instance), source, target });
            self.by_ends.insert(ends, self.ways.len() - 1);
            Some(self.ways.len() - 1)
        });
        let Some(way) = way else { return };
        if !self.tasks.last().is_some_and(|last| Arc::ptr_eq(last, task)) {
            self.tasks.push(Arc::clone(task));
        }
        self.moved.push((self.tasks.len() - 1, way));
    }

    /// Returns the way after the last one, the first again after all: members that go together take the
    /// ways of their controllers in turn.
    fn likely_way(&self, ends: (CssId, CssId)) -> Option<usize> {
        let (_, last) = self.moved.last()?;
        let next = if last + 1 < self.ways.len() { last + 1 } else { 0 };
        (self.ways.get(next)?.ends == ends).then_some(next)
    }

    /// Asks every controller; on a refusal cancels those that had agreed, in order.
    pub(crate) fn agree(&self, engine: &Engine) -> Result<(), Veto> {
        for (index, (task, way)) in self.moved.iter().enumerate() {
            let way = &self.ways[*way];
            if let Err(cause) = way.run(Move::Can, &self.tasks[*task]) {
                self.cancel_first(engine, index);
                let cgroup = way.target.css().core().group().path();
                let subsystem = way.instance.identity().name.clone();
                return Err(Veto { cgroup, subsystem, hook: "can_attach", cause });
            }
        }
        Ok(())
    }

    fn cancel_first(&self, engine: &Engine, count: usize) {
        for (task, way) in &self.moved[..count] {
            engine.tolerate("cancel", self.ways[*way].run(Move::Cancel, &self.tasks[*task]));
        }
    }

    /// Tells every controller, which has agreed, that nothing comes of it.
    pub(crate) fn cancel(&self, engine: &Engine) {
        self.cancel_first(engine, self.moved.len());
    }

    /// Takes references to the css: they are kept until the last hook has run.
    ///
    /// Comes when nothing can be refused any more, and before any of them that counts in cells counts exactly.
    pub(crate) fn hold(&mut self) {
        for way in &mut self.ways {
            way.source.hold();
            way.target.hold();
        }
    }

    /// Tells every controller that its members have arrived; the caller holds the structural lock.
    pub(crate) fn attach(&self, engine: &Engine) {
        self.run(engine, "attach", Move::Attach);
    }

    /// The last step, under no lock.
    pub(crate) fn finish(self, engine: &Engine) {
        self.run(engine, "post_attach", Move::Post);
        freeze::tell_each(engine, self.asked);
        // Perhaps the last to hold a subsystem or a task that has gone meanwhile.
        engine.drop_each(self.tasks);
        engine.drop_each(self.ways);
    }

    fn run(&self, engine: &Engine, hook: &'static str, step: Move) {
        for (task, way) in &self.moved {
            engine.tolerate(hook, self.ways[*way].run(step, &self.tasks[*task]));
        }
    }
}

/// A migration that every controller agreed to.
#[derive(Default)]
pub(crate) struct Moves {
    steps: Vec<Step>,
    transfers: Transfers,
}

/// A task that goes from the group of that index to another of the same hierarchy.
struct Step {
    task: Arc<TaskShared>,
    source: u32,
    target: Arc<Node>,
}

impl Step {
    fn has_target_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.target, &other.target)
    }
}

/// Refuses tasks of another registry.
pub(crate) fn check_native(
    engine: &Engine,
    tasks: &[&Task],
    cgroup: impl Fn() -> String,
) -> Result<(), AttachError> {
    let foreign = tasks.iter().find(|task| !std::ptr::eq(task.engine(), engine));
    foreign.map_or(Ok(()), |task| {
        Err(AttachError::Foreign { task: task.name().to_owned(), cgroup: cgroup() })
    })
}

/// Has every controller agree to the joins, or none; nobody has moved yet.
///
/// The groups are online, or about to be. A task that is named twice for a hierarchy goes where it is
/// named first.
pub(crate) fn prepare(
    engine: &Engine,
    tree: &mut Tree,
    joins: Vec<(Arc<TaskShared>, Arc<Node>)>,
) -> Result<Moves, Veto> {
    let again = named_again(&joins);
    let mut steps = Vec::with_capacity(joins.len());
    let steps_of = joins.into_iter().enumerate().filter(|(number, _)| !again.contains(number));
    for (_, (task, target)) in steps_of {
        let source = task.place(target.hierarchy.index);
        if source != target.index {
            steps.push(Step { task, source, target });
        }
    }
    let mut transfers = Transfers::default();
    for steps in steps.chunk_by(Step::has_target_of) {
        let Some(Step { target, .. }) = steps.first() else { continue };
        let bound = tree.bound_to(&target.hierarchy);
        for Step { task, source, .. } in steps {
            for bound in &*bound {
                let ends = bound.column.get(*source).zip(bound.column.get(target.index));
                if let Some(ends) = ends {
                    transfers.add(tree, &bound.instance, task, ends);
                }
            }
        }
    }
    transfers.agree(engine)?;
    Ok(Moves { steps, transfers })
}

/// Returns the numbers of the joins whose task is named before for the same hierarchy.
fn named_again(joins: &[(Arc<TaskShared>, Arc<Node>)]) -> HashSet<usize> {
    let named = joins.iter().enumerate();
    let mut named: Vec<_> = named
        .map(|(number, (task, node))| (task.member.id, node.hierarchy.index, number))
        .collect();
    // Mostly in order already, and all different.
    named.sort_unstable();
    let is_again =
        |pair: &&[(TaskId, u32, usize)]| (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1);
    named.windows(2).filter(is_again).map(|pair| pair[1].2).collect()
}

/// Takes a migration back that every controller agreed to.
pub(crate) fn cancel(engine: &Engine, moves: &Moves) {
    moves.transfers.cancel(engine);
}

/// Carries a migration out; the caller holds the structural lock, and finishes when it does no more.
pub(crate) fn commit(engine: &Engine, tree: &mut Tree, moves: Moves) -> Transfers {
    let Moves { steps, mut transfers } = moves;
    let moves = engine.moves.lock();
    for steps in steps.chunk_by(Step::has_target_of) {
        let Some(Step { target, .. }) = steps.first() else { continue };
        arm::disarm(engine, tree, target);
        let hier = &target.hierarchy;
        // Members that go together mostly come from one group.
        let mut left: (u32, Option<Arc<Node>>) = (ROOT, None);
        for Step { task, source, .. } in steps {
            task.move_to(hier.index, target.index);
            // First there, then not here: a common ancestor is populated all the while.
            if target.index != ROOT {
                target.add_member(task);
            }
            if left.0 != *source {
                left = (*source, hier.group(*source).filter(|_| *source != ROOT));
            }
            let old = left.1.as_ref();
            let was_asked = old.is_some_and(|old| old.freeze.is_in_effect());
            let is_asked = target.freeze.is_in_effect();
            if is_asked != was_asked && task.freezing.ask(is_asked) {
                transfers.asked.push(Arc::clone(task));
            }
            if let Some(old) = old {
                old.remove_member(task);
                arm::emptied(tree, old);
            }
        }
    }
    drop(moves);
    transfers.hold();
    transfers.attach(engine);
    for Step { task: _task, target: _target, .. } in &steps {
        crate::trace::event!("attach", task = _task.member.name, cgroup = %_target.path(), "moved");
    }
    transfers
}

/// Lets the structural lock go, wakes the reclaimer if it has groups to arm, and runs the last hooks.
pub(crate) fn finish(engine: &Arc<Engine>, tree: Structure<'_>, transfers: Transfers) {
    engine.let_go(tree);
    transfers.finish(engine);
}
