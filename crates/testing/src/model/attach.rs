//! Members: created at every root, moved all or nothing.

use super::{GroupId, Model, Outcome, Task, TreeId};
use crate::hook::Hook;

impl Model {
    pub(super) fn task(&mut self, name: &str) -> Outcome {
        if self.tasks.iter().any(|task| task.name == name) {
            return Err("Taken");
        }
        let at = format!("{name} at /");
        let all = self.registered();
        self.all_or_none(&all, &at, Hook::CanFork, Hook::CancelFork)?;
        self.tasks.push(Task { name: name.to_owned(), places: Default::default() });
        for &index in &all {
            self.call(index, Hook::Fork, &at).ok();
        }
        Ok(String::new())
    }

    pub(super) fn exit(&mut self, name: &str) -> Outcome {
        let task = self.task_named(name)?;
        for index in self.registered() {
            let tree = self.subsystems[index].tree;
            let place =
                tree.map_or_else(|| "/".to_owned(), |tree| self.path(self.place(task, tree)));
            self.call(index, Hook::Exit, &format!("{name} at {place}")).ok();
        }
        self.tasks.remove(task);
        Ok(String::new())
    }

    pub(super) fn join(&mut self, name: &str, path: &str) -> Outcome {
        let task = self.task_named(name)?;
        let group = self.lookup(path)?;
        self.attach(task, group)
    }

    pub(super) fn leave(&mut self, name: &str, hierarchy: Option<&str>) -> Outcome {
        let task = self.task_named(name)?;
        let tree = match hierarchy {
            Some(hierarchy) => self.tree_named(hierarchy).ok_or("UnknownHierarchy")?,
            None => self.current()?,
        };
        if self.trees[tree].destroyed {
            return Err("Removed");
        }
        self.attach(task, self.trees[tree].root)
    }

    pub(super) fn kill(&mut self, path: &str) -> Outcome {
        let group = self.lookup(path)?;
        let mut killed = 0;
        for group in self.preorder(group) {
            for task in self.members(group) {
                self.events.push(format!("cancel {}", self.tasks[task].name));
                killed += 1;
            }
        }
        Ok(format!("{killed} killed\n"))
    }

    fn attach(&mut self, task: usize, to: GroupId) -> Outcome {
        let tree = self.groups[to].tree;
        let from = self.place(task, tree);
        if from == to {
            return Ok(String::new());
        }
        let what = format!("{} {} -> {}", self.tasks[task].name, self.path(from), self.path(to));
        let bound = self.bound_to(tree);
        self.all_or_none(&bound, &what, Hook::CanAttach, Hook::CancelAttach)?;
        self.tasks[task].places.insert(tree, to);
        for hook in [Hook::Attach, Hook::PostAttach] {
            for &index in &bound {
                self.call(index, hook, &what).ok();
            }
        }
        Ok(String::new())
    }

    /// Asks every subsystem; when one refuses, those that had agreed are told, in order.
    fn all_or_none(
        &mut self,
        subsystems: &[usize],
        what: &str,
        ask: Hook,
        cancel: Hook,
    ) -> Result<(), &'static str> {
        for (agreed, &index) in subsystems.iter().enumerate() {
            if self.call(index, ask, what).is_err() {
                for &index in &subsystems[..agreed] {
                    self.call(index, cancel, what).ok();
                }
                return Err("Vetoed");
            }
        }
        Ok(())
    }

    /// Where a task sits.
    pub(super) fn place(&self, task: usize, tree: TreeId) -> GroupId {
        self.tasks[task].places.get(&tree).copied().unwrap_or(self.trees[tree].root)
    }

    /// The direct members, in order of creation.
    pub(super) fn members(&self, group: GroupId) -> Vec<usize> {
        let tree = self.groups[group].tree;
        (0..self.tasks.len()).filter(|&task| self.place(task, tree) == group).collect()
    }

    fn task_named(&self, name: &str) -> Result<usize, &'static str> {
        self.tasks.iter().position(|task| task.name == name).ok_or("UnknownTask")
    }
}
