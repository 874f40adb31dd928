//! Hierarchies and groups: names, paths, limits.

use std::collections::BTreeSet;

use super::{Group, GroupId, Model, Outcome, Tree, TreeId, rebind::Change};
use crate::names::split;

impl Model {
    pub(super) fn hierarchy(&mut self, name: &str) -> Outcome {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        if name.is_empty() || name.len() > 63 || !name.bytes().all(legal) {
            return Err("Name".to_owned());
        }
        if self.tree_named(name).is_some() {
            return Err("Exists".to_owned());
        }
        let (tree, root) = (self.trees.len(), self.groups.len());
        self.trees.push(Tree { name: name.to_owned(), root, destroyed: false });
        self.groups.push(new_group(tree, None, ""));
        self.current = Some(tree);
        Ok(String::new())
    }

    pub(super) fn select(&mut self, name: &str) -> Outcome {
        self.current = Some(self.tree_named(name).ok_or("UnknownHierarchy")?);
        Ok(String::new())
    }

    pub(super) fn destroy(&mut self, name: &str) -> Outcome {
        let tree = self.tree_named(name).ok_or("UnknownHierarchy")?;
        if !self.children(self.trees[tree].root).is_empty() {
            return Err("Busy".to_owned());
        }
        let inactive: Vec<_> =
            self.bound_to(tree).into_iter().map(|index| (index, Change::Bind(None))).collect();
        self.change(&inactive)?;
        self.trees[tree].destroyed = true;
        self.groups[self.trees[tree].root].removed = true;
        for task in &mut self.tasks {
            task.places.remove(&tree);
        }
        Ok(String::new())
    }

    pub(super) fn mkdir(&mut self, path: &str) -> Outcome {
        let group = self.bear(path, false)?;
        self.show_up(group);
        Ok(String::new())
    }

    pub(super) fn mkdir_with(&mut self, path: &str, names: &[String]) -> Outcome {
        let tasks = self.tasks_named(names)?;
        let group = self.bear(path, true)?;
        let ways = self.ways_to(&tasks, group);
        if let Err(veto) = self.agree(&ways) {
            let csses = self.live_css(group);
            self.drain(&csses);
            self.bury(&csses);
            self.groups[group].removed = true;
            return Err(veto.to_owned());
        }
        self.show_up(group);
        self.carry_out(&tasks, group, &ways);
        Ok(String::new())
    }

    /// Makes a group that is not there yet, and its css; or nothing.
    fn bear(&mut self, path: &str, has_members: bool) -> Result<GroupId, &'static str> {
        let (parent, name) = split(path);
        let parent = self.lookup(parent)?;
        self.check_name(parent, name)?;
        self.check_limits(parent)?;
        let group = self.groups.len();
        self.groups.push(new_group(self.groups[parent].tree, Some(parent), name));
        self.groups[group].enabled = self.groups[parent].enabled.clone();
        if let Err(veto) = self.create_css(group) {
            self.groups[group].removed = true;
            return Err(veto);
        }
        let notifies = self.groups[parent].notifies;
        self.groups[group].notifies = notifies;
        self.groups[group].armed = notifies && !has_members;
        Ok(group)
    }

    /// Makes a group known that was made.
    fn show_up(&mut self, group: GroupId) {
        self.groups[group].born = true;
        if let Some(parent) = self.groups[group].parent {
            self.disarm(parent);
        }
    }

    pub(super) fn mv(&mut self, path: &str, name: &str) -> Outcome {
        let group = self.lookup(path)?;
        let parent = self.groups[group].parent.ok_or("Root")?;
        if self.groups[group].name == name {
            return Ok(String::new());
        }
        self.check_name(parent, name)?;
        name.clone_into(&mut self.groups[group].name);
        Ok(String::new())
    }

    pub(super) fn max_depth(&mut self, path: &str, limit: Option<u64>) -> Outcome {
        let group = self.lookup(path)?;
        check_range(limit)?;
        self.groups[group].max_depth = limit;
        Ok(String::new())
    }

    pub(super) fn max_descendants(&mut self, path: &str, limit: Option<u64>) -> Outcome {
        let group = self.lookup(path)?;
        check_range(limit)?;
        self.groups[group].max_descendants = limit;
        Ok(String::new())
    }

    pub(super) fn tree_named(&self, name: &str) -> Option<TreeId> {
        self.trees.iter().position(|tree| !tree.destroyed && tree.name == name)
    }

    /// Finds a group by its path from the current root.
    pub(super) fn lookup(&self, path: &str) -> Result<GroupId, &'static str> {
        self.lookup_in(self.current()?, path)
    }

    /// Finds a group by its path from a root.
    pub(super) fn lookup_in(&self, tree: TreeId, path: &str) -> Result<GroupId, &'static str> {
        let tree = &self.trees[tree];
        if tree.destroyed {
            return Err("Destroyed");
        }
        let mut group = tree.root;
        let relative = path.strip_prefix('/').unwrap_or(path);
        for name in relative.split('/').filter(|_| !relative.is_empty()) {
            if name.is_empty() {
                return Err("Path");
            }
            group = self.child(group, name).ok_or("NotFound")?;
        }
        Ok(group)
    }

    pub(super) fn child(&self, group: GroupId, name: &str) -> Option<GroupId> {
        self.children(group).into_iter().find(|&child| self.groups[child].name == name)
    }

    /// Live children, in order of creation.
    pub(super) fn children(&self, group: GroupId) -> Vec<GroupId> {
        let live = |&child: &GroupId| {
            !self.groups[child].removed && self.groups[child].parent == Some(group)
        };
        (0..self.groups.len()).filter(live).collect()
    }

    /// The group and its ancestors, the root last.
    pub(super) fn ancestors(&self, group: GroupId) -> Vec<GroupId> {
        std::iter::successors(Some(group), |&group| self.groups[group].parent).collect()
    }

    /// Live groups below.
    pub(super) fn descendants(&self, group: GroupId) -> Vec<GroupId> {
        let below = |&other: &GroupId| {
            let removed = self.groups[other].removed;
            !removed && other != group && self.ancestors(other).contains(&group)
        };
        (0..self.groups.len()).filter(below).collect()
    }

    /// The group and all below, parents first, siblings in order of creation.
    pub(super) fn preorder(&self, group: GroupId) -> Vec<GroupId> {
        let below = self.children(group).into_iter().flat_map(|child| self.preorder(child));
        std::iter::once(group).chain(below).collect()
    }

    pub(super) fn path(&self, group: GroupId) -> String {
        let names: Vec<&str> =
            self.ancestors(group).iter().rev().skip(1).map(|&g| &*self.groups[g].name).collect();
        format!("/{}", names.join("/"))
    }

    fn check_name(&self, parent: GroupId, name: &str) -> Result<(), &'static str> {
        let taken =
            |prefix: &str| name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'));
        let bad = name.is_empty()
            || matches!(name, "." | ".." | "notify_on_release")
            || name.contains(['/', '\n', '\0'])
            || name.len() > 255
            || taken("cgroup")
            || self.registered().iter().any(|&index| taken(&self.subsystems[index].name));
        if bad {
            return Err("Name");
        }
        if self.child(parent, name).is_some() { Err("Exists") } else { Ok(()) }
    }

    /// A new child of `parent` has to fit every ancestor's limits.
    fn check_limits(&self, parent: GroupId) -> Result<(), &'static str> {
        for (ancestor, depth) in self.ancestors(parent).into_iter().zip(1..) {
            let Group { max_depth, max_descendants, .. } = self.groups[ancestor];
            if max_depth.is_some_and(|limit| depth > limit) {
                return Err("MaxDepth");
            }
            let descendants = self.descendants(ancestor).len() as u64;
            if max_descendants.is_some_and(|limit| descendants >= limit) {
                return Err("MaxDescendants");
            }
        }
        Ok(())
    }
}

fn check_range(limit: Option<u64>) -> Result<(), &'static str> {
    if limit.is_some_and(|limit| limit > 0x7fff_ffff) { Err("Range") } else { Ok(()) }
}

fn new_group(tree: TreeId, parent: Option<GroupId>, name: &str) -> Group {
    let name = name.to_owned();
    Group {
        tree,
        parent,
        name,
        born: parent.is_none(),
        removed: false,
        max_depth: None,
        max_descendants: None,
        freezes: false,
        ended_frozen: false,
        notifies: false,
        armed: false,
        notice: 0,
        told: None,
        rests: 0,
        enabled: BTreeSet::new(),
    }
}
