//! Several creations, joins and removals, in any hierarchies, as one step.
//!
//! What is to be done is recorded first, under no lock. Then everything that can be refused comes before
//! anything that can be seen: names and limits, the css of new groups, the controllers' agreement to the
//! joins, and last the strict removals, which are decided for all groups at one instant. What follows
//! cannot fail: groups are shown, members move, groups go.
//!
//! # Tests
//!
//! `tests/edit.rs`.

use std::collections::{HashMap, HashSet};

use crate::{
    cgroup::{
        Cgroup, Node, create,
        remove::{self, Removal},
    },
    error::{AttachError, CreateError, EditError, RemoveError},
    lifecycle::{self, Owned},
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
    let going = leaving.iter().map(|(node, _)| node.id).collect();
    let mut draft = Drafting { owner, edit, going, born: Vec::new() };
    let moves = draft.bear_all(tree).and_then(|()| draft.agree(tree, &leaving));
    let Drafting { born, .. } = draft;
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
    let mut named = HashSet::with_capacity(edit.removals.len());
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

/// An edit on its way to be agreed on.
struct Drafting<'e> {
    owner: &'e Arc<Owner>,
    edit: &'e Edit<'e>,
    /// The ids of the groups that go.
    going: HashSet<u64>,
    /// The groups that were made, in order; nobody can find them yet.
    born: Vec<Arc<Node>>,
}

impl Drafting<'_> {
    /// Returns the group that is meant, which stays.
    fn find(&self, whereabouts: &Whereabouts) -> Result<Arc<Node>, EditError> {
        match whereabouts {
            Whereabouts::Cgroup(cgroup) => {
                check_native(self.owner, cgroup)?;
                if self.going.contains(&cgroup.node().id) {
                    return Err(EditError::Leaving { cgroup: cgroup.path() });
                }
                Ok(Arc::clone(cgroup.node()))
            }
            Whereabouts::Draft(draft) => {
                let node = self.born.get(draft.index).filter(|_| draft.edit == self.edit.number);
                node.cloned().ok_or(EditError::Draft)
            }
        }
    }

    /// Makes the new groups; the caller undoes those that were made if one is refused.
    fn bear_all(&mut self, tree: &mut Tree) -> Result<(), EditError> {
        let is_used = used(self.edit);
        let mut names: HashSet<(u64, &str)> = HashSet::new();
        // How many groups come below each.
        let mut below: HashMap<u64, u64> = HashMap::new();
        for ((parent, name), is_used) in self.edit.creations.iter().zip(is_used) {
            let parent = self.find(parent)?;
            let more = |above: &Node| below.get(&above.id).copied().unwrap_or(0);
            create::check_child(tree, &parent, name, more)?;
            if !names.insert((parent.id, name)) {
                let cgroup = create::path_of(&parent, name);
                return Err(CreateError::Exists { cgroup }.into());
            }
            let controllers = tree.bound_to(&parent.hierarchy);
            let with = (&*controllers, is_used);
            let (child, _) = create::bear(&self.owner.engine, tree, &parent, name, with)?;
            parent.ancestors().for_each(|above| *below.entry(above.id).or_default() += 1);
            self.born.push(child);
        }
        Ok(())
    }

    /// Has every controller agree to the joins, once it is known that what leaves is left.
    fn agree(&self, tree: &mut Tree, leaving: &[(Arc<Node>, Removal)]) -> Result<Moves, EditError> {
        // The last one for a task and a hierarchy counts, in the order of the first.
        let mut order: HashMap<(u64, u64), usize> = HashMap::new();
        let mut joins = Vec::with_capacity(self.edit.joins.len());
        for (task, whereabouts) in &self.edit.joins {
            let node = self.find(whereabouts)?;
            if !node.is_online() {
                let (task, cgroup) = (task.name().to_owned(), node.path());
                return Err(AttachError::Removed { task, cgroup }.into());
            }
            let whose = (task.id().get(), node.hierarchy.id());
            let place = *order.entry(whose).or_insert(joins.len());
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
            let stays = |child: &&Arc<Node>| !self.going.contains(&child.id);
            let children = node.children().iter().filter(stays).count();
            if members + children > 0 {
                return Err(RemoveError::Busy { cgroup: node.path(), members, children }.into());
            }
        }
        let moves = migrate::prepare(&self.owner.engine, tree, joins);
        moves.map_err(|veto| AttachError::from(veto).into())
    }
}

/// Returns, for each group that is to be created, whether it will have members or children.
fn used(edit: &Edit<'_>) -> Vec<bool> {
    let mut hierarchies: Vec<Option<u64>> = Vec::with_capacity(edit.creations.len());
    let mut is_used = vec![false; edit.creations.len()];
    let index = |it: &Whereabouts| match it {
        Whereabouts::Draft(draft) if draft.edit == edit.number => Some(draft.index),
        _ => None,
    };
    let hierarchy = |known: &[Option<u64>], it: &Whereabouts| match it {
        Whereabouts::Cgroup(cgroup) => Some(cgroup.node().hierarchy.id()),
        Whereabouts::Draft(_) => index(it).and_then(|index| *known.get(index)?),
    };
    for (parent, _) in &edit.creations {
        hierarchies.push(hierarchy(&hierarchies, parent));
        if let Some(parent) = index(parent).and_then(|index| is_used.get_mut(index)) {
            *parent = true;
        }
    }
    // From the last on: who is named before for the same hierarchy goes elsewhere.
    let mut placed = HashSet::with_capacity(edit.joins.len());
    for (task, target) in edit.joins.iter().rev() {
        let is_last = placed.insert((task.id(), hierarchy(&hierarchies, target)));
        if let Some(target) = index(target).filter(|_| is_last)
            && let Some(target) = is_used.get_mut(target)
        {
            *target = true;
        }
    }
    is_used
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
        lifecycle::drain(engine, &owned);
        csses.push(owned);
    }
    let strict = leaving.iter().filter(|(_, removal)| *removal == Removal::Strict);
    let nodes: Vec<&Arc<Node>> = strict.map(|(node, _)| node).collect();
    let strictly: HashSet<u64> = nodes.iter().map(|node| node.id).collect();
    let is_strict = |owned: &&Owned<'_>| strictly.contains(&owned.0.core().group().id);
    let exact: Vec<Owned<'_>> = csses.iter().flatten().filter(is_strict).cloned().collect();
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
