//! Freezing: what is asked follows from requests and places, each time anew.

use super::{GroupId, Model, Outcome};
use crate::check::answer;

impl Model {
    pub(super) fn freeze(&mut self, path: &str, on: bool) -> Outcome {
        let group = self.lookup(path)?;
        self.groups[group].parent.ok_or("Root")?;
        self.groups[group].freezes = on;
        let below = self.tasks_below(group);
        self.tell_asked(&below);
        Ok(String::new())
    }

    pub(super) fn frozen(&mut self, name: &str, on: bool) -> Outcome {
        let task = self.task_named(name)?;
        let is_asked = self.tasks[task].is_asked;
        self.tasks[task].has_stopped = on && is_asked;
        Ok(answer(is_asked))
    }

    /// Tells tasks what is asked of them, where that has changed.
    pub(super) fn tell_asked(&mut self, tasks: &[usize]) {
        for &task in tasks {
            let is_asked = self.tasks[task].places.values().any(|&group| self.is_in_effect(group));
            if self.tasks[task].is_asked != is_asked {
                self.tasks[task].is_asked = is_asked;
                let what = if is_asked { "freeze" } else { "thaw" };
                self.events.push(format!("{what} {}", self.tasks[task].name));
            }
        }
    }

    fn is_in_effect(&self, group: GroupId) -> bool {
        self.ancestors(group).into_iter().any(|group| self.groups[group].freezes)
    }

    pub(super) fn is_frozen(&self, group: GroupId) -> bool {
        if self.groups[group].removed {
            return self.groups[group].ended_frozen;
        }
        let has_stopped = |task: usize| self.tasks[task].has_stopped;
        self.is_in_effect(group) && self.tasks_below(group).into_iter().all(has_stopped)
    }

    /// The members of the group and of those below, in the order in which they are told: the group that
    /// was made last first.
    fn tasks_below(&self, group: GroupId) -> Vec<usize> {
        let mut tasks = self.members(group);
        for child in self.children(group).into_iter().rev() {
            tasks.extend(self.tasks_below(child));
        }
        tasks
    }

    /// The direct members that are asked; with a star, if they have stopped.
    pub(super) fn asked(&self, group: GroupId) -> Vec<String> {
        let asked = self.members(group).into_iter().map(|task| &self.tasks[task]);
        let asked = asked.filter(|task| task.is_asked);
        let star = |is_frozen| if is_frozen { "*" } else { "" };
        let mut asked: Vec<String> =
            asked.map(|task| format!("{}{}", task.name, star(task.has_stopped))).collect();
        asked.sort();
        asked
    }
}
