//! Members: created at every root or where another sits, moved all or nothing.

use std::collections::BTreeMap;

use super::{GroupId, Model, Outcome, Task, TreeId, rebind::Way};
use crate::{hook::Hook, script::Command};

/// A subsystem, and what it is asked or told of.
pub(super) type Seat = (usize, String);

impl Model {
    pub(super) fn apply_members(&mut self, command: &Command) -> Outcome {
        match command {
            Command::Task(name) => {
                self.check_free(name)?;
                self.bear_task(name, BTreeMap::new())
            }
            Command::Join { task, path } => self.join_all(path, std::slice::from_ref(task)),
            Command::JoinAll { path, tasks } => self.join_all(path, tasks),
            Command::Leave { task, hierarchy } => self.leave(task, hierarchy.as_deref()),
            Command::Exit(name) => self.exit(name),
            Command::Spawn { spawner, task, paths } => self.spawn(spawner, task, paths),
            Command::Freeze { path, on } => self.freeze(path, *on),
            Command::Frozen { task, on } => self.frozen(task, *on),
            Command::Kill(path) => self.kill(path),
            _ => self.apply_notices(command),
        }
    }

    fn check_free(&self, name: &str) -> Result<(), &'static str> {
        if self.task_named(name).is_ok() { Err("Taken") } else { Ok(()) }
    }

    fn spawn(&mut self, spawner: &str, name: &str, paths: &[String]) -> Outcome {
        let spawner = self.task_named(spawner)?;
        self.check_free(name)?;
        let groups = paths.iter().map(|path| self.lookup(path)).collect::<Result<Vec<_>, _>>()?;
        if groups.windows(2).any(|two| two[0] != two[1]) {
            return Err("Ambiguous".to_owned());
        }
        let mut places = self.tasks[spawner].places.clone();
        places.extend(groups.into_iter().map(|group| (self.groups[group].tree, group)));
        // The root is where a task is that sits nowhere else.
        places.retain(|_, group| self.groups[*group].parent.is_some());
        self.bear_task(name, places)
    }

    /// Makes a task at these places, if every subsystem agrees.
    fn bear_task(&mut self, name: &str, places: BTreeMap<TreeId, GroupId>) -> Outcome {
        let all = self.registered();
        let at = |index: usize| {
            let place = self.subsystems[index].tree.and_then(|tree| places.get(&tree));
            let css = place.and_then(|&group| self.shared_css(group, index));
            let path = self.css_path(css.unwrap_or(self.subsystems[index].root));
            (index, format!("{name} at {path}"))
        };
        let seats: Vec<Seat> = all.into_iter().map(at).collect();
        self.all_or_none(&seats, Hook::CanFork, Hook::CancelFork)?;
        places.values().for_each(|&group| self.disarm(group));
        let name = name.to_owned();
        self.tasks.push(Task { name, places, is_asked: false, has_stopped: false });
        for (index, what) in &seats {
            self.call(*index, Hook::Fork, what).ok();
        }
        self.tell_asked(&[self.tasks.len() - 1]);
        Ok(String::new())
    }

    pub(super) fn exit(&mut self, name: &str) -> Outcome {
        let task = self.task_named(name)?;
        for index in self.registered() {
            let place = self.css_path(self.seat(task, index));
            self.call(index, Hook::Exit, &format!("{name} at {place}")).ok();
        }
        let places = self.tasks.remove(task).places;
        places.into_values().for_each(|group| self.note_emptied(group));
        Ok(String::new())
    }

    fn join_all(&mut self, path: &str, names: &[String]) -> Outcome {
        let tasks = self.tasks_named(names)?;
        let group = self.lookup(path)?;
        self.attach(&tasks, group)
    }

    fn leave(&mut self, name: &str, hierarchy: Option<&str>) -> Outcome {
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

    fn kill(&mut self, path: &str) -> Outcome {
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
        let ways = self.ways_to(tasks, to);
        self.agree(&ways)?;
        self.carry_out(tasks, to, &ways);
        Ok(String::new())
    }

    /// Moves tasks that every subsystem lets go.
    pub(super) fn carry_out(&mut self, tasks: &[usize], to: GroupId, ways: &[Way]) {
        let tree = self.groups[to].tree;
        for &task in tasks {
            let from = self.place(task, tree);
            if from != to {
                self.disarm(to);
                self.tasks[task].places.insert(tree, to);
                self.note_emptied(from);
            }
        }
        self.tell_all(ways, Hook::Attach);
        self.tell_all(ways, Hook::PostAttach);
        self.tell_asked(tasks);
    }

    /// Who is asked whether tasks may move: task by task, where its css changes.
    pub(super) fn ways_to(&self, tasks: &[usize], group: GroupId) -> Vec<Way> {
        let tree = self.groups[group].tree;
        let mut ways = Vec::new();
        for &task in tasks {
            for index in self.bound_to(tree) {
                let from = self.shared_css(self.place(task, tree), index);
                let ends = from.zip(self.shared_css(group, index));
                let ends = ends.filter(|(from, to)| from != to);
                ways.extend(ends.map(|(from, to)| Way { index, task, from, to }));
            }
        }
        ways
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

    /// The tasks of these names, each once.
    pub(super) fn tasks_named(&self, names: &[String]) -> Result<Vec<usize>, &'static str> {
        let mut tasks = Vec::new();
        for task in names.iter().map(|name| self.task_named(name)).collect::<Result<Vec<_>, _>>()? {
            if !tasks.contains(&task) {
                tasks.push(task);
            }
        }
        Ok(tasks)
    }

    pub(super) fn task_named(&self, name: &str) -> Result<usize, &'static str> {
        self.tasks.iter().position(|task| task.name == name).ok_or("UnknownTask")
    }
}
