//! Several creations, joins and removals, in any hierarchies, as one step.
//!
//! What is to be done is recorded first, under no lock. Then everything that can be refused comes before
//! anything that can be seen: names and limits, the css of new groups, the controllers' agreement to the
//! joins, and last the strict removals, which are decided for all groups at one instant. What follows
//! cannot fail: groups are shown, members move, groups go.
//!
//! # Tests
//!
//! `crates/testing/tests/edit.rs`.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    cgroup::{
        Cgroup, Node, create,
        remove::{self, Removal},
    },
    error::{AttachError, CreateError, EditError, RemoveError},
    migrate::{self, Moves},
    registry::{Engine, Owner, Tree, engine::Bound},
    sync::{Arc, AtomicU64, Ordering},
    task::Task,
};

/// How many edits there were in the process: drafts are told apart by it.
static EDITS: AtomicU64 = AtomicU64::new(0);

/// What an edit is to do: from [`Registry::edit`](crate::Registry::edit).
#[derive(Debug)]
pub struct Edit<'t> {
    number: u64,
    creations: Vec<(Whereabouts, String)>,
    joins: Vec<(&'t Task, Whereabouts)>,
    removals: Vec<(Cgroup, Removal)>,
}

/// A group that an edit is to create.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Draft {
    edit: u64,
    index: usize,
}

/// A group that is there, or one that the same edit creates.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Whereabouts {
    /// A group that is there.
    Cgroup(Cgroup),
    /// A group that the same edit creates.
    Draft(Draft),
}

/// What an edit created.
#[derive(Clone, Debug)]
pub struct Edited {
    number: u64,
    cgroups: Vec<Cgroup>,
}

impl<'t> Edit<'t> {
    fn new() -> Self {
        // Ordering: Relaxed: a number that nobody else has.
        let number = EDITS.fetch_add(1, Ordering::Relaxed);
        Self { number, creations: Vec::new(), joins: Vec::new(), removals: Vec::new() }
    }

    /// Creates a child of `parent`, as [`Cgroup::create_child`].
    ///
    /// The name has to be free before: that of a group which goes by the same edit is not.
    pub fn create(&mut self, parent: impl Into<Whereabouts>, name: &str) -> Draft {
        self.creations.push((parent.into(), name.to_owned()));
        Draft { edit: self.number, index: self.creations.len() - 1 }
    }

    /// Moves `task` to `cgroup`, as [`Cgroup::attach`].
    ///
    /// One that is named twice for a hierarchy goes where it is named last.
    pub fn join(&mut self, task: &'t Task, cgroup: impl Into<Whereabouts>) {
        self.joins.push((task, cgroup.into()));
    }

    /// Removes `cgroup`, as [`Cgroup::remove`], once the joins of this edit are done.
    ///
    /// Its children have to go by the same edit, in whatever order. A strict removal is decided before
    /// members leave: what their controllers hold for them counts.
    pub fn remove(&mut self, cgroup: &Cgroup, removal: Removal) {
        self.removals.push((cgroup.clone(), removal));
    }
}

impl From<&Cgroup> for Whereabouts {
    fn from(cgroup: &Cgroup) -> Self {
        Self::Cgroup(cgroup.clone())
    }
}

impl From<Cgroup> for Whereabouts {
    fn from(cgroup: Cgroup) -> Self {
        Self::Cgroup(cgroup)
    }
}

impl From<Draft> for Whereabouts {
    fn from(draft: Draft) -> Self {
        Self::Draft(draft)
    }
}

impl Edited {
    /// Returns the group that was created for `draft`; `None` for a draft of another edit.
    #[must_use]
    pub fn cgroup(&self, draft: Draft) -> Option<&Cgroup> {
        self.cgroups.get(draft.index).filter(|_| draft.edit == self.number)
    }

    /// Returns every group that was created, in order of creation.
    #[must_use]
    pub fn cgroups(&self) -> &[Cgroup] {
        &self.cgroups
    }
}

/// Groups that leave one hierarchy, and the controllers bound to it.
type OfHierarchy<'l> = (Vec<&'l Arc<Node>>, Arc<[Bound]>);

/// Everything that is agreed on, and seen by nobody yet.
struct Agreed {
    born: Vec<Arc<Node>>,
    moves: Moves,
    /// Children before their parents; by hierarchy.
    leaving: Vec<(Arc<Node>, Removal)>,
}

pub(crate) fn edit<'t, R>(
    owner: &Arc<Owner>,
    record: impl FnOnce(&mut Edit<'t>) -> R,
) -> Result<(Edited, R), EditError> {
    let mut edit = Edit::new();
    let recorded = record(&mut edit);
    let engine = &owner.engine;
    let mut tree = engine.structure("edit", || "the registry".to_owned())?;
    let done = prepare(owner, &mut tree, &edit).and_then(|agreed| {
        let born = agreed.born.clone();
        Ok((born, commit(engine, &mut tree, agreed)?))
    });
    drop(tree);
    // Css have gone offline, of what was removed or of what came to nothing; or groups are armed.
    engine.wake();
    let (born, transfers) = done?;
    transfers.finish(engine);
    let cgroups = born.into_iter().map(|node| Cgroup::new(Arc::clone(owner), node)).collect();
    Ok((Edited { number: edit.number, cgroups }, recorded))
}

/// Makes and agrees on everything that can be refused, but for strict removals; or nothing.
fn prepare(owner: &Arc<Owner>, tree: &mut Tree, edit: &Edit<'_>) -> Result<Agreed, EditError> {
    let engine = &owner.engine;
    let leaving = check_removals(owner, edit)?;
    let tasks: Vec<&Task> = edit.joins.iter().map(|(task, _)| *task).collect();
    migrate::check_native(engine, &tasks, || "a group of the edit".to_owned())?;
    let mut born = Vec::with_capacity(edit.creations.len());
    let moves = bear_all(owner, tree, edit, &leaving, &mut born)
        .and_then(|()| agree(owner, tree, edit, &leaving, &born));
    match moves {
        Ok(moves) => Ok(Agreed { born, moves, leaving }),
        Err(error) => {
            undo(engine, tree, &born);
            Err(error)
        }
    }
}

fn undo(engine: &Engine, tree: &mut Tree, born: &[Arc<Node>]) {
    born.iter().rev().for_each(|node| create::undo(engine, tree, node));
}

/// Returns the groups that go, children before their parents, those of a hierarchy together.
fn check_removals(
    owner: &Arc<Owner>,
    edit: &Edit<'_>,
) -> Result<Vec<(Arc<Node>, Removal)>, EditError> {
    let mut named = BTreeSet::new();
    let mut leaving = Vec::with_capacity(edit.removals.len());
    for (cgroup, removal) in &edit.removals {
        check_native(owner, cgroup)?;
        remove::check(cgroup.node())?;
        if !named.insert(cgroup.node().id) {
            return Err(EditError::Twice { cgroup: cgroup.path() });
        }
        leaving.push((Arc::clone(cgroup.node()), *removal));
    }
    leaving.sort_by_key(|(node, _)| (node.hierarchy.id(), std::cmp::Reverse(node.depth)));
    Ok(leaving)
}

fn check_native(owner: &Arc<Owner>, cgroup: &Cgroup) -> Result<(), EditError> {
    if Arc::ptr_eq(cgroup.owner(), owner) {
        return Ok(());
    }
    Err(EditError::Foreign { cgroup: cgroup.path() })
}

/// Returns the group that is meant, which stays.
fn find(
    owner: &Arc<Owner>,
    edit: &Edit<'_>,
    leaving: &[(Arc<Node>, Removal)],
    born: &[Arc<Node>],
    whereabouts: &Whereabouts,
) -> Result<Arc<Node>, EditError> {
    match whereabouts {
        Whereabouts::Cgroup(cgroup) => {
            check_native(owner, cgroup)?;
            if leaving.iter().any(|(node, _)| Arc::ptr_eq(node, cgroup.node())) {
                return Err(EditError::Leaving { cgroup: cgroup.path() });
            }
            Ok(Arc::clone(cgroup.node()))
        }
        Whereabouts::Draft(draft) => {
            let node = born.get(draft.index).filter(|_| draft.edit == edit.number);
            node.cloned().ok_or(EditError::Draft)
        }
    }
}

/// Makes the new groups, which nobody can find yet; the caller undoes those that were made if one is
/// refused.
fn bear_all(
    owner: &Arc<Owner>,
    tree: &mut Tree,
    edit: &Edit<'_>,
    leaving: &[(Arc<Node>, Removal)],
    born: &mut Vec<Arc<Node>>,
) -> Result<(), EditError> {
    for (index, (parent, name)) in edit.creations.iter().enumerate() {
        let parent = find(owner, edit, leaving, born, parent)?;
        let is_below =
            |node: &Node, above: &Node| node.ancestors().skip(1).any(|it| std::ptr::eq(it, above));
        let more = |above: &Node| born.iter().filter(|node| is_below(node, above)).count() as u64;
        create::check_child(tree, &parent, name, more)?;
        let is_namesake = |node: &&Arc<Node>| {
            node.parent.as_ref().is_some_and(|it| Arc::ptr_eq(it, &parent))
                && *node.name() == **name
        };
        if born.iter().any(|node| is_namesake(&node)) {
            let cgroup = create::path_of(&parent, name);
            return Err(CreateError::Exists { cgroup }.into());
        }
        let draft = Draft { edit: edit.number, index };
        let is_it = |it: &Whereabouts| matches!(it, Whereabouts::Draft(other) if *other == draft);
        let is_used = edit.joins.iter().any(|(_, it)| is_it(it))
            || edit.creations.iter().any(|(it, _)| is_it(it));
        let controllers = tree.bound_to(&parent.hierarchy);
        let (child, _) = create::bear(&owner.engine, tree, &parent, name, (&controllers, is_used))?;
        born.push(child);
    }
    Ok(())
}

/// Has every controller agree to the joins, once it is known that what leaves is left.
fn agree(
    owner: &Arc<Owner>,
    tree: &mut Tree,
    edit: &Edit<'_>,
    leaving: &[(Arc<Node>, Removal)],
    born: &[Arc<Node>],
) -> Result<Moves, EditError> {
    // By task and hierarchy, so that the last one counts; in order of the first.
    let mut order: BTreeMap<(u64, u64), usize> = BTreeMap::new();
    let mut joins = Vec::with_capacity(edit.joins.len());
    for (task, whereabouts) in &edit.joins {
        let node = find(owner, edit, leaving, born, whereabouts)?;
        if !node.is_online() {
            let (task, cgroup) = (task.name().to_owned(), node.path());
            return Err(AttachError::Removed { task, cgroup }.into());
        }
        let place = *order.entry((task.id().get(), node.hierarchy.id())).or_insert(joins.len());
        let join = task.joins(&node);
        if place == joins.len() {
            joins.push(join);
        } else {
            joins[place] = join;
        }
    }
    for (node, _) in leaving {
        let leaves = |task: u64| order.contains_key(&(task, node.hierarchy.id()));
        let members = node.members(|task| task.member.id.get());
        let members = members.into_iter().filter(|task| !leaves(*task)).count();
        let stays = |child: &&Arc<Node>| !leaving.iter().any(|(it, _)| Arc::ptr_eq(it, child));
        let children = node.children().iter().filter(stays).count();
        if members + children > 0 {
            return Err(RemoveError::Busy { cgroup: node.path(), members, children }.into());
        }
    }
    migrate::prepare(&owner.engine, tree, &joins).map_err(|veto| AttachError::from(veto).into())
}

/// Decides the strict removals, or undoes everything; then carries all of it out.
fn commit(
    engine: &Engine,
    tree: &mut Tree,
    agreed: Agreed,
) -> Result<migrate::Transfers, EditError> {
    let Agreed { born, moves, leaving } = agreed;
    let mut by_hierarchy: Vec<OfHierarchy<'_>> = Vec::new();
    for leaving in leaving.chunk_by(|one, other| Arc::ptr_eq(&one.0.hierarchy, &other.0.hierarchy))
    {
        let Some((first, _)) = leaving.first() else { continue };
        by_hierarchy.push((
            leaving.iter().map(|(node, _)| node).collect(),
            tree.bound_to(&first.hierarchy),
        ));
    }
    let mut csses = Vec::with_capacity(by_hierarchy.len());
    for (nodes, bound) in &by_hierarchy {
        let owned = remove::csses(tree, nodes, bound);
        crate::lifecycle::drain(engine, &owned);
        csses.push(owned);
    }
    let strict = |node: &Node| {
        leaving.iter().any(|(it, removal)| it.id == node.id && *removal == Removal::Strict)
    };
    let nodes: Vec<&Arc<Node>> =
        leaving.iter().map(|(node, _)| node).filter(|node| strict(node)).collect();
    let exact: Vec<_> =
        csses.iter().flatten().filter(|(css, _)| strict(&css.core().group())).cloned().collect();
    if let Err(error) = remove::decide(engine, &nodes, &exact) {
        migrate::cancel(engine, &moves);
        drop((exact, csses));
        undo(engine, tree, &born);
        return Err(error.into());
    }
    born.iter().for_each(|node| create::show(engine, tree, node));
    let transfers = migrate::commit(engine, tree, moves);
    for ((nodes, bound), csses) in by_hierarchy.iter().zip(&csses) {
        remove::carry_out(engine, tree, nodes, (bound, csses));
    }
    Ok(transfers)
}
