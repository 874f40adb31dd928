//! The commands about members.

use fief_core::Task;

use super::{Session, done};
use crate::{
    refusal::{Failure, Refusal},
    script::Command,
};

type Outcome = Result<String, Failure>;

impl Session {
    pub(super) fn apply_members(&mut self, command: &Command) -> Outcome {
        match command {
            Command::Task(name) => self.task(name),
            Command::Join { task, path } => Ok(done(self.member(task)?.join(&self.group(path)?)?)),
            Command::JoinAll { path, tasks } => self.join_all(path, tasks),
            Command::Leave { task, hierarchy } => self.leave(task, hierarchy.as_deref()),
            Command::Exit(name) => self.exit(name),
            Command::Spawn { spawner, task, paths } => self.spawn(spawner, task, paths),
            Command::Freeze { path, on: true } => Ok(done(self.group(path)?.freeze()?)),
            Command::Freeze { path, on: false } => Ok(done(self.group(path)?.thaw()?)),
            Command::Frozen { task, on } => Ok(answer(self.member(task)?.set_frozen(*on))),
            Command::Kill(path) => Ok(format!("{} killed\n", self.group(path)?.kill()?)),
            _ => self.apply_notices(command),
        }
    }

    fn task(&mut self, name: &str) -> Outcome {
        self.check_free(name)?;
        let task = self.registry.create_task(name)?;
        Ok(self.admit(task))
    }

    fn spawn(&mut self, spawner: &str, name: &str, paths: &[String]) -> Outcome {
        let spawner = self.member(spawner)?;
        self.check_free(name)?;
        let groups = paths.iter().map(|path| self.group(path)).collect::<Result<Vec<_>, _>>()?;
        let groups: Vec<_> = groups.iter().collect();
        let task =
            if groups.is_empty() { spawner.spawn(name) } else { spawner.spawn_into(name, &groups) };
        Ok(self.admit(task?))
    }

    fn check_free(&self, name: &str) -> Result<(), Refusal> {
        let is_free = self.member(name).is_err();
        if is_free { Ok(()) } else { Err(Refusal::Taken(name.to_owned())) }
    }

    /// Has a new task write down what it is told.
    fn admit(&mut self, task: Task) -> String {
        let (log, line) = (self.log.clone(), format!("cancel {}", task.name()));
        task.on_cancel(move || log.push(line.clone()));
        let (log, name) = (self.log.clone(), task.name().to_owned());
        task.on_freeze(move |asked| {
            log.push(format!("{} {name}", if asked { "freeze" } else { "thaw" }));
        });
        self.tasks.push(task);
        String::new()
    }

    fn join_all(&self, path: &str, tasks: &[String]) -> Outcome {
        let tasks = tasks.iter().map(|task| self.member(task)).collect::<Result<Vec<_>, _>>()?;
        Ok(done(self.group(path)?.attach_all(&tasks)?))
    }

    fn leave(&self, task: &str, hierarchy: Option<&str>) -> Outcome {
        let task = self.member(task)?;
        match hierarchy {
            Some(hierarchy) => task.leave(&self.named(hierarchy)?)?,
            None => task.leave(self.current()?)?,
        }
        Ok(String::new())
    }

    fn exit(&mut self, name: &str) -> Outcome {
        let at = self.tasks.iter().position(|task| task.name() == name);
        let at = at.ok_or_else(|| Refusal::UnknownTask(name.to_owned()))?;
        drop(self.tasks.remove(at));
        Ok(String::new())
    }
}

/// What is printed of what a task is asked, as it says whether it has stopped.
pub(crate) fn answer(is_asked: bool) -> String {
    if is_asked { "asked to freeze\n" } else { "" }.to_owned()
}
