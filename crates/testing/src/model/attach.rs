//! Members: created at every root, moved all or nothing.

use super::{GroupId, Model, Outcome, Task, TreeId};
use crate::hook::Hook;

/// A subsystem, and what it is asked or told of.
pub(super) type Seat = (usize, String);

impl Model {
    pub(super) fn task(&mut self, name: &str) -> Outcome {
        if self.tasks.iter().any(|task| task.name == name) {
            return Err("Taken".to_owned());
        }
        let at = format!("{name} at /");
        let all = self.registered();
        let seats: Vec<Seat> = all.iter().map(|&index| (index, at.clone())).collect();
        self.all_or_none(&seats, Hook::CanFork, Hook::CancelFork)?;
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
        let places = self.tasks.remove(task).places;
        places.into_values().for_each(|group| self.note_emptied(group));
        Ok(String::new())
    }

    pub(super) fn join(&mut self, name: &str, path: &str) -> Outcome {
        let task = self.task_named(name)?;
        let group = self.lookup(path)?;
        self.attach(&[task], group)
    }

    pub(super) fn leave(&mut self, name: &str, hierarchy: Option<&str>) -> Outcome {
        let task = self.task_named(name)?;
        let tree = match hierarchy {
            Some(hierarchy) => self.tree_named(hierarchy).ok_or("UnknownHierarchy")?,
            None => self.current()?,
        };
        if self.trees[tree].destroyed {
            return Err("Removed".to_owned());
        }
        self.attach(&[task], self.trees[tree].root)
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

    fn attach(&mut self, tasks: &[usize], to: GroupId) -> Outcome {
        let seats = self.seats(tasks, to);
        self.all_or_none(&seats, Hook::CanAttach, Hook::CancelAttach)?;
        self.carry_out(tasks, to, &seats);
        Ok(String::new())
    }

    /// Moves tasks that every subsystem lets go.
    pub(super) fn carry_out(&mut self, tasks: &[usize], to: GroupId, seats: &[Seat]) {
        let tree = self.groups[to].tree;
        for &task in tasks {
            let from = self.place(task, tree);
            if from != to {
                self.disarm(to);
                self.tasks[task].places.insert(tree, to);
                self.note_emptied(from);
            }
        }
        for hook in [Hook::Attach, Hook::PostAttach] {
            for (index, what) in seats {
                self.call(*index, hook, what).ok();
            }
        }
    }

    /// Who is asked whether tasks may move, and what it is told: task by task.
    pub(super) fn seats(&self, tasks: &[usize], to: GroupId) -> Vec<Seat> {
        let tree = self.groups[to].tree;
        let mut seats = Vec::new();
        for &task in tasks.iter().filter(|&&task| self.place(task, tree) != to) {
            let (from, name) = (self.path(self.place(task, tree)), &self.tasks[task].name);
            let what = format!("{name} {from} -> {}", self.path(to));
            seats.extend(self.bound_to(tree).into_iter().map(|index| (index, what.clone())));
        }
        seats
    }

    /// Asks every seat's subsystem; when one refuses, those that had agreed are told, in order.
    pub(super) fn all_or_none(
        &mut self,
        seats: &[Seat],
        ask: Hook,
        cancel: Hook,
    ) -> Result<(), &'static str> {
        for (agreed, (index, what)) in seats.iter().enumerate() {
            if self.call(*index, ask, what).is_err() {
                for (index, what) in &seats[..agreed] {
                    self.call(*index, cancel, what).ok();
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

    pub(super) fn task_named(&self, name: &str) -> Result<usize, &'static str> {
        self.tasks.iter().position(|task| task.name == name).ok_or("UnknownTask")
    }
}
