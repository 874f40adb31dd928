//! Members: a task has one place in every hierarchy.
//!
//! A place is a group index in a word of the task's own, 0 (the root) until it joins. Whoever
//! resolves a css for a task loads the word; attaching stores it once.
//!
//! # Orderings
//!
//! Edge `place`: see `world/column.rs`.

use std::fmt;

use crate::{
    cgroup::{Cgroup, Node, arm, name, walk::next_pre},
    controller::{Birth, Move, Places, caught},
    css::{AnyCss, Pin},
    error::{AttachError, CreateTaskError, HookError, KillError, Veto},
    hierarchy::{Hierarchy, MAX_HIERARCHIES},
    registry::{
        Engine, Owner, Tree,
        engine::{Bound, Structure, is_in_structure},
    },
    sync::{Arc, Mutex},
    units::TaskId,
    world::{
        column::{Place, ROOT},
        guard,
        publish::Views,
    },
};

/// A member of exactly one group of every hierarchy: of the root until it joins another.
///
/// Dropping it ends its membership everywhere: it takes the structural lock and runs the `exit` hooks.
/// Where the lock cannot be taken, in a hook or under a read guard, the next structural call or the
/// reclaimer does that.
pub struct Task {
    owner: Arc<Owner>,
    /// `None` once it was handed over by the drop.
    shared: Option<Arc<TaskShared>>,
}

/// Which task something is about: an id and a name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Member {
    /// The id: unique in the registry, never reused.
    pub id: TaskId,
    /// The name, as given.
    pub name: String,
}

/// A task as the core keeps it.
pub(crate) struct TaskShared {
    pub(crate) member: Member,
    /// Group indexes, by hierarchy index.
    places: [Place; MAX_HIERARCHIES],
    cancel: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
    /// The task's place in its registry's arena.
    arena: usize,
}

impl Task {
    /// Returns the id: unique in the registry, never reused.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.shared().member.id
    }

    /// Returns the name, as given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared().member.name
    }

    /// Returns the group where the task sits in `hierarchy`; `None` if that is of another registry
    /// or destroyed.
    #[must_use]
    pub fn cgroup(&self, hierarchy: &Hierarchy) -> Option<Cgroup> {
        if !Arc::ptr_eq(&self.owner, hierarchy.owner()) || hierarchy.is_destroyed() {
            return None;
        }
        loop {
            let place = self.place(hierarchy.hier().index);
            let node = hierarchy.hier().group(place);
            // The index may have been reused in between: then the task is somewhere else.
            if let Some(node) = node.filter(|_| self.place(hierarchy.hier().index) == place) {
                return Some(Cgroup::new(Arc::clone(&self.owner), node));
            }
            if hierarchy.is_destroyed() {
                return None;
            }
        }
    }

    /// Moves the task to `cgroup`; the same as [`Cgroup::attach`].
    ///
    /// # Errors
    ///
    /// As [`Cgroup::attach`].
    pub fn join(&self, cgroup: &Cgroup) -> Result<(), AttachError> {
        attach(self, cgroup)
    }

    /// Moves the task to the root of `hierarchy`.
    ///
    /// # Errors
    ///
    /// As [`Cgroup::attach`].
    pub fn leave(&self, hierarchy: &Hierarchy) -> Result<(), AttachError> {
        attach(self, &hierarchy.root())
    }

    /// Sets what [`Cgroup::kill`] runs for this task, in place of what was set before.
    ///
    /// It runs on the thread that kills, under no lock, once for each kill. It is to make the task's
    /// owner stop and drop the task, and to return soon. A handle that it keeps, keeps the registry alive
    /// as long as the task.
    pub fn on_cancel(&self, cancel: impl Fn() + Send + Sync + 'static) {
        let before = self.shared().cancel.lock().replace(Arc::new(cancel));
        drop(before);
    }

    #[inline]
    fn shared(&self) -> &Arc<TaskShared> {
        self.shared.as_ref().expect("handed over only by the drop")
    }

    /// Returns the task's place in the hierarchy of that index; the root where it has none.
    #[inline]
    pub(crate) fn place(&self, hierarchy: u32) -> u32 {
        self.shared().place(hierarchy)
    }

    pub(crate) fn views(&self) -> &Arc<Views> {
        &self.owner.engine.views
    }
}

impl TaskShared {
    #[inline]
    fn place(&self, hierarchy: u32) -> u32 {
        self.places.get(hierarchy as usize).map_or(ROOT, Place::get)
    }
}

pub(crate) fn create(owner: &Arc<Owner>, name: &str) -> Result<Task, CreateTaskError> {
    if !name::is_task(name) {
        return Err(CreateTaskError::Name { name: name.to_owned() });
    }
    let engine = &owner.engine;
    let mut tree = engine.structure("create_task", || name.to_owned())?;
    let member = Member { id: TaskId(tree.next_id("task")), name: name.to_owned() };
    let roots = everywhere(&tree, |_| ROOT);
    agree(
        engine,
        &roots,
        |(css, bound), step| bound.instance.bear(step.birth(), &member, &**css),
        "can_fork",
    )?;
    let mut tasks = engine.tasks.lock();
    let entry = tasks.vacant_entry();
    let shared = Arc::new(TaskShared {
        member,
        places: [const { Place::new() }; MAX_HIERARCHIES],
        cancel: Mutex::new(None),
        arena: entry.key(),
    });
    entry.insert(Arc::clone(&shared));
    drop(tasks);
    for (css, bound) in &roots {
        engine.tolerate("fork", bound.instance.bear(Birth::Fork, &shared.member, &**css));
    }
    drop(roots);
    drop(tree);
    Ok(Task { owner: Arc::clone(owner), shared: Some(shared) })
}

/// A css and its controller, for every registered controller.
type Seats = Vec<(Arc<dyn AnyCss>, Bound)>;

/// Returns the css of every controller, in order of registration, at the task's `place` in the hierarchy it is bound to.
fn everywhere(tree: &Tree, place: impl Fn(u32) -> u32) -> Seats {
    let bound = tree.registered().into_iter();
    bound
        .filter_map(|bound| {
            let css = bound.css(tree, place(bound.hierarchy.index))?;
            Some((Arc::clone(css), bound))
        })
        .collect()
}

/// A step of a decision that several controllers take together.
#[derive(Clone, Copy)]
enum Step {
    Can,
    Cancel,
}

impl Step {
    const fn birth(self) -> Birth {
        match self {
            Self::Can => Birth::Can,
            Self::Cancel => Birth::Cancel,
        }
    }

    const fn movement(self) -> Move {
        match self {
            Self::Can => Move::Can,
            Self::Cancel => Move::Cancel,
        }
    }
}

/// Asks every seat's controller; on a refusal cancels those that had agreed, in order.
fn agree<Seat: Sits>(
    engine: &Engine,
    seats: &[Seat],
    ask: impl Fn(&Seat, Step) -> Result<(), HookError>,
    hook: &'static str,
) -> Result<(), Veto> {
    for (index, seat) in seats.iter().enumerate() {
        if let Err(cause) = ask(seat, Step::Can) {
            for agreed in &seats[..index] {
                engine.tolerate("cancel", ask(agreed, Step::Cancel));
            }
            let (cgroup, subsystem) = (seat.path(), seat.subsystem());
            return Err(Veto { cgroup, subsystem, hook, cause });
        }
    }
    Ok(())
}

/// What a refusal is about.
trait Sits {
    fn path(&self) -> String;
    fn subsystem(&self) -> String;
}

impl Sits for (Arc<dyn AnyCss>, Bound) {
    fn path(&self) -> String {
        self.0.core().group().path()
    }

    fn subsystem(&self) -> String {
        self.1.identity().name.clone()
    }
}

/// One controller's part in a migration; its css are kept until the last hook has run.
struct Transfer {
    task: Arc<TaskShared>,
    bound: Bound,
    source: Pin,
    target: Pin,
}

impl Transfer {
    fn run(&self, step: Move) -> Result<(), HookError> {
        let places = Places { source: self.source.css(), target: self.target.css() };
        self.bound.instance.migrate(step, &self.task.member, places)
    }
}

impl Sits for Transfer {
    fn path(&self) -> String {
        self.target.css().core().group().path()
    }

    fn subsystem(&self) -> String {
        self.bound.identity().name.clone()
    }
}

/// A migration that every controller agreed to.
pub(crate) struct Moves {
    /// The tasks that are somewhere else, and the index of that group.
    tasks: Vec<(Arc<TaskShared>, u32)>,
    transfers: Vec<Transfer>,
}

pub(crate) fn attach(task: &Task, cgroup: &Cgroup) -> Result<(), AttachError> {
    let (engine, node) = (&task.owner.engine, cgroup.node());
    check_native(&cgroup.owner().engine, &[task], || node.path())?;
    let mut tree = engine.structure("attach", || node.path())?;
    if !node.is_online() {
        let (task, cgroup) = (task.name().to_owned(), node.path());
        return Err(AttachError::Removed { task, cgroup });
    }
    let moves = prepare(engine, &mut tree, &[task], node)?;
    commit(engine, tree, moves, node);
    Ok(())
}

/// Refuses tasks of another registry.
pub(crate) fn check_native(
    engine: &Engine,
    tasks: &[&Task],
    cgroup: impl Fn() -> String,
) -> Result<(), AttachError> {
    let is_foreign = |task: &&&Task| !std::ptr::eq(Arc::as_ptr(&task.owner.engine), engine);
    let foreign = tasks.iter().find(is_foreign);
    foreign.map_or(Ok(()), |task| {
        Err(AttachError::Foreign { task: task.name().to_owned(), cgroup: cgroup() })
    })
}

/// Has every controller agree to move `tasks` to `node`, or none; nobody has moved yet.
pub(crate) fn prepare(
    engine: &Engine,
    tree: &mut Tree,
    tasks: &[&Task],
    node: &Arc<Node>,
) -> Result<Moves, AttachError> {
    let mut moves = Moves { tasks: Vec::with_capacity(tasks.len()), transfers: Vec::new() };
    for task in tasks {
        let shared = task.shared();
        let source = shared.place(node.hierarchy.index);
        let is_named_before = moves.tasks.iter().any(|(moved, _)| Arc::ptr_eq(moved, shared));
        if source != node.index && !is_named_before {
            moves.tasks.push((Arc::clone(shared), source));
            moves.transfers.extend(transfers(tree, shared, node, source));
        }
    }
    agree(engine, &moves.transfers, |transfer, step| transfer.run(step.movement()), "can_attach")?;
    Ok(moves)
}

/// Carries a migration out, and lets the structural lock go.
pub(crate) fn commit(
    engine: &Arc<Engine>,
    mut tree: Structure<'_>,
    moves: Moves,
    node: &Arc<Node>,
) {
    let hier = &node.hierarchy;
    if !moves.tasks.is_empty() {
        arm::disarm(engine, &mut tree, node);
    }
    for (task, source) in &moves.tasks {
        task.places[hier.index as usize].set(node.index);
        // First there, then not here: a common ancestor is populated all the while.
        if node.index != ROOT {
            node.add_member(task);
        }
        if let Some(old) = hier.group(*source).filter(|_| *source != ROOT) {
            old.remove_member(task);
            arm::emptied(&mut tree, &old);
        }
    }
    for transfer in &moves.transfers {
        engine.tolerate("attach", transfer.run(Move::Attach));
    }
    for (_task, _) in &moves.tasks {
        crate::trace::event!("attach", task = _task.member.name, cgroup = %node.path(), "moved");
    }
    finish(engine, tree);
    for transfer in &moves.transfers {
        engine.tolerate("post_attach", transfer.run(Move::Post));
    }
    // Perhaps the last to hold a subsystem that has gone meanwhile.
    engine.drop_each(moves.transfers);
}

/// Lets the structural lock go, and wakes the reclaimer if it has groups to arm.
fn finish(engine: &Arc<Engine>, tree: Structure<'_>) {
    let has_emptied = !tree.emptied.is_empty();
    drop(tree);
    if has_emptied {
        engine.wake();
    }
}

/// Returns what moves for each controller bound to the hierarchy of `target`.
fn transfers(tree: &mut Tree, task: &Arc<TaskShared>, target: &Node, source: u32) -> Vec<Transfer> {
    let bound = tree.bound_to(&target.hierarchy);
    bound
        .iter()
        .filter_map(|bound| {
            let source = Pin::new(bound.css(tree, source)?);
            let target = Pin::new(bound.css(tree, target.index)?);
            Some(Transfer { task: Arc::clone(task), bound: bound.clone(), source, target })
        })
        .collect()
}

/// Ends a task's membership everywhere; callers hold the structural lock.
pub(crate) fn depart(engine: &Engine, tree: &mut Tree, task: &Arc<TaskShared>) {
    let seats = everywhere(tree, |hierarchy| task.place(hierarchy));
    let hierarchies = tree.hierarchies.iter().map(|(_, hier)| hier);
    let places = hierarchies.map(|hier| (task.place(hier.index), hier));
    let groups: Vec<_> = places
        .filter(|(place, _)| *place != ROOT)
        .filter_map(|(place, hier)| hier.group(place))
        .collect();
    for node in &groups {
        node.remove_member(task);
        arm::emptied(tree, node);
    }
    let ended = engine.tasks.lock().try_remove(task.arena);
    drop(ended);
    for (css, bound) in &seats {
        engine.tolerate("exit", bound.instance.bear(Birth::Exit, &task.member, &**css));
    }
}

/// Returns what `of` makes of each direct member of `cgroup`, oldest first.
pub(crate) fn members<R>(cgroup: &Cgroup, mut of: impl FnMut(&Arc<TaskShared>) -> R) -> Vec<R> {
    let node = cgroup.node();
    if node.index != ROOT || !node.is_online() {
        return node.members(of);
    }
    // The root's members are those that are nowhere else.
    let hierarchy = node.hierarchy.index;
    let tasks = cgroup.owner().engine.tasks.lock();
    let at_root = tasks.iter().filter(|(_, task)| task.place(hierarchy) == ROOT);
    let mut members: Vec<_> = at_root.map(|(_, task)| (task.member.id, of(task))).collect();
    members.sort_by_key(|(id, _)| *id);
    members.into_iter().map(|(_, member)| member).collect()
}

pub(crate) fn kill(cgroup: &Cgroup) -> Result<usize, KillError> {
    let (engine, top) = (&cgroup.owner().engine, cgroup.node());
    let tree = engine.structure("kill", || top.path())?;
    if !top.is_online() {
        return Err(KillError::Removed { cgroup: top.path() });
    }
    let mut killed = members(cgroup, Arc::clone);
    let mut last = Arc::clone(top);
    while let Some(node) = next_pre(top, &last) {
        killed.extend(node.members(Arc::clone));
        last = node;
    }
    crate::trace::event!("kill", cgroup = %top.path(), members = killed.len(), "cancelling");
    drop(tree);
    let count = killed.len();
    for task in killed {
        let cancel = task.cancel.lock().clone();
        let run = || cancel.iter().for_each(|cancel| cancel());
        engine.tolerate("cancel", caught(run));
        // The callback may have ended the task: then these are the last to hold it.
        engine.drop_each(cancel);
        engine.drop_each([task]);
    }
    Ok(count)
}

impl Drop for Task {
    fn drop(&mut self) {
        let Some(shared) = self.shared.take() else { return };
        let engine = &self.owner.engine;
        if engine.is_forked() {
            return;
        }
        if is_in_structure() || guard::is_held() {
            // Handed over, not shared: the cancel callback is not to be dropped here.
            engine.departed.lock().push(shared);
            engine.wake();
            return;
        }
        let mut tree = engine.lock();
        depart(engine, &mut tree, &shared);
        finish(engine, tree);
    }
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").field("id", &self.id()).field("name", &self.name()).finish()
    }
}

impl fmt::Debug for TaskShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TaskShared").field(&self.member).finish()
    }
}
