//! Runs a script on a real registry.
//!
//! Deterministic: releases happen in `reap` only ([`Reclaimer::Manual`]), one thread runs
//! everything, and nothing that is printed holds an address, a time or an id, but for the tasks' ids
//! that `cgroup.tasks` shows: those are the registry's own, from 1.

mod files;
mod members;
mod notices;
mod observe;
mod rebind;
mod run;

use std::{cell::RefCell, collections::BTreeMap};

use fief_core::{
    Barrier, Controller, CssId, CssRef, Hierarchy, Notice, Reclaimer, Registry, Subsystem, Task,
    Watch, WeakCss,
};

pub(crate) use self::{members::answer, notices::told};
use crate::{
    recorder::{Log, Recorder, Recording},
    refusal::{Failure, Refusal},
    script::{Command, parse},
};

/// Runs `script` and returns what it printed.
///
/// A command that fails prints itself and the error: `rmdir a: / of hierarchy h has no child "a"`. The script goes on,
/// as a shell does. A script that does not parse prints the parser's error and does nothing.
#[must_use]
pub fn check(script: &str) -> String {
    Session::new().run_text(script)
}

/// As [`check`], after a script whose callbacks are not of interest.
#[must_use]
pub fn check_after(before: &str, script: &str) -> String {
    let mut session = Session::new();
    let mut out = session.run_text(before);
    session.log.drain().clear();
    out.push_str(&session.run_text(script));
    out
}

/// Runs `command` after a script, and returns what it printed and called.
///
/// # Panics
///
/// If anything that a script can see was changed by it, or by what was reaped after it.
#[must_use]
pub fn check_unchanged(before: &str, command: &str) -> String {
    let mut session = Session::new();
    session.run_text(before);
    session.run_text("reap; events");
    let was = session.everything();
    let mut out = session.run_text(command);
    out.push_str(&session.drain_events());
    assert_eq!(session.everything(), was, "after {command}: {out}");
    session.run_text("reap");
    assert_eq!(session.everything(), was, "after {command} and a reap: {out}");
    out
}

/// A registry and the names that a script has given to things in it.
#[derive(Debug)]
pub struct Session {
    // Declared, and so dropped, before the registry that they belong to.
    references: BTreeMap<String, CssRef<Recording>>,
    weaks: BTreeMap<String, WeakCss<Recording>>,
    tasks: Vec<Task>,
    /// Received, oldest first.
    received: Vec<(Hierarchy, Notice)>,
    notices: BTreeMap<String, Notice>,
    watches: BTreeMap<String, Watch>,
    /// The ids of css that were looked at, by their numbers.
    ids: RefCell<BTreeMap<u32, CssId>>,
    /// In order of registration.
    controllers: Vec<Controller<Recorder>>,
    current: Option<Hierarchy>,
    log: Log,
    registry: Registry,
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

impl Session {
    /// Makes an empty registry with the default fence.
    #[must_use]
    pub fn new() -> Self {
        Self::with_barrier(Barrier::Auto)
    }

    /// Makes an empty registry.
    #[must_use]
    pub fn with_barrier(barrier: Barrier) -> Self {
        let registry = Registry::builder().barrier(barrier).reclaimer(Reclaimer::Manual).build();
        Self {
            references: BTreeMap::new(),
            weaks: BTreeMap::new(),
            tasks: Vec::new(),
            received: Vec::new(),
            notices: BTreeMap::new(),
            watches: BTreeMap::new(),
            ids: RefCell::default(),
            controllers: Vec::new(),
            current: None,
            log: Log::default(),
            registry,
        }
    }

    /// Runs a script and returns what it printed, errors included.
    pub fn run_text(&mut self, script: &str) -> String {
        match parse(script) {
            Err(error) => format!("{error}\n"),
            Ok(commands) => self.run(&commands),
        }
    }

    fn run(&mut self, commands: &[Command]) -> String {
        let mut out = String::new();
        for command in commands {
            match self.apply(command) {
                Ok(text) => out.push_str(&text),
                Err(failure) => out.push_str(&format!("{command}: {}\n", failure.text)),
            }
        }
        out
    }

    /// Runs one command.
    ///
    /// # Errors
    ///
    /// The core's error, or the script's own; nothing has changed then.
    pub fn apply(&mut self, command: &Command) -> Result<String, Failure> {
        match command {
            Command::Hierarchy(name) => self.hierarchy(name),
            Command::Use(name) => self.select(name),
            Command::Destroy(name) => Ok(done(self.named(name)?.destroy()?)),
            Command::Register(name) => self.register(name),
            Command::Unregister(name) => self.unregister(name),
            Command::Mkdir(path) => self.mkdir(path),
            Command::MkdirWith { path, tasks } => self.mkdir_with(path, tasks),
            Command::Mv { path, name } => Ok(done(self.group(path)?.rename(name)?)),
            Command::Rmdir { path, strict, subtree } => self.rmdir(path, *strict, *subtree),
            Command::Get { path, subsystem, name } => self.get(path, subsystem, name.as_deref()),
            Command::Root { subsystem, name } => self.root(subsystem, name.as_deref()),
            Command::Clone { reference, name } => self.clone_reference(reference, name.as_deref()),
            Command::Put(name) => self.put(name),
            Command::Weak { reference, name } => self.weak(reference, name.as_deref()),
            Command::Upgrade { weak, name } => self.upgrade(weak, name.as_deref()),
            Command::MaxDepth { path, limit } => {
                Ok(done(self.group(path)?.set_max_depth(run::limit(*limit))?))
            }
            Command::MaxDescendants { path, limit } => {
                Ok(done(self.group(path)?.set_max_descendants(run::limit(*limit))?))
            }
            Command::Fail { subsystem, hook, nth } => self.inject(subsystem, *hook, *nth, false),
            Command::Panic { subsystem, hook, nth } => self.inject(subsystem, *hook, *nth, true),
            Command::Reap => Ok(done(self.registry.wait_reclaimed()?)),
            Command::Ls(path) => self.ls(path.as_deref()),
            Command::Cat(path) => self.cat(path),
            Command::Echo { value, path } => self.echo(value, path),
            Command::Show(path) => self.show(path.as_deref()),
            Command::Events => Ok(self.drain_events()),
            _ => self.apply_binding(command),
        }
    }

    /// Drops every task, in order of creation, and every reference.
    pub fn let_go(&mut self) {
        self.tasks.drain(..).for_each(drop);
        self.references.clear();
        self.weaks.clear();
        self.notices.clear();
        self.watches.clear();
    }

    /// Returns how many notices were made, and how many strict removals refused.
    #[must_use]
    pub fn told_and_refused(&self) -> (u64, u64) {
        let stats = self.registry.stats();
        (stats.notices, stats.removals_refused)
    }

    fn drain_events(&self) -> String {
        self.log.drain().into_iter().map(|event| event + "\n").collect()
    }

    fn current(&self) -> Result<&Hierarchy, Refusal> {
        self.current.as_ref().ok_or(Refusal::NothingSelected)
    }

    fn named(&self, hierarchy: &str) -> Result<Hierarchy, Refusal> {
        let unknown = || Refusal::UnknownHierarchy(hierarchy.to_owned());
        self.registry.hierarchy(hierarchy).ok_or_else(unknown)
    }

    fn controller(&self, name: &str) -> Result<&Controller<Recorder>, Refusal> {
        let mut controllers = self.controllers.iter();
        let unknown = || Refusal::UnknownSubsystem(name.to_owned());
        controllers.find(|controller| controller.subsystem().name() == name).ok_or_else(unknown)
    }

    fn member(&self, name: &str) -> Result<&Task, Refusal> {
        let unknown = || Refusal::UnknownTask(name.to_owned());
        self.tasks.iter().find(|task| task.name() == name).ok_or_else(unknown)
    }

    fn held(&self, name: &str) -> Result<&CssRef<Recording>, Refusal> {
        self.references.get(name).ok_or_else(|| Refusal::UnknownReference(name.to_owned()))
    }
}

/// A command that succeeds prints nothing.
fn done((): ()) -> String {
    String::new()
}
