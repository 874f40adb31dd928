//! Scripts under load: each command runs while real threads look up, charge and give back.
//!
//! The commands are those of [`script`](crate::script) that change trees, members and control files, with
//! a few more that only make sense here. A subsystem that is registered is a real one: it counts units
//! in a [`Counter`](fief_core::Counter), with a file `max` (`load/units.rs`). The threads begin with the
//! script. Each takes a task, finds its css in one of the three ways there are, charges a few units, and
//! gives back older ones, its own or another thread's (`load/worker.rs`).
//!
//! | command | what it does |
//! |---|---|
//! | `repeat N` … `end` | the commands between, so many times; not within another |
//! | `work N` | goes on when the threads have made `N` more charges |
//! | `rest` | stops the threads for a moment, and compares all sums |
//!
//! At rest, for each controller, the units that the threads hold must be what the root's counter shows,
//! and the sum of what css hold for themselves; what they ever charged, what the root has tallied; and no
//! group that had room when its max was set may be above it. At the end the threads give everything
//! back, everything is unbound, unregistered and destroyed, and nothing may be left.

mod step;
mod units;
mod worker;

use std::fmt;

use fief_core::{
    AnyController, Cgroup, Hierarchy, MemberPolicy, RebindOptions, Registry, Removal, Task,
};
use thiserror::Error;

use self::{
    step::Step,
    units::Units,
    worker::{Crew, Payee},
};
use crate::{
    names::split,
    refusal::{Failure, Refusal},
    script::Command,
    sync::{Arc, thread},
};

/// A script under load did not go as it should.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {text}")]
#[non_exhaustive]
pub struct LoadError {
    /// From 1; 0 for what comes after the last one.
    pub line: usize,
    /// What was wrong.
    pub text: String,
}

/// What happened while a script ran; its display is one line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the display says what each is")]
pub struct Summary {
    pub threads: usize,
    pub lookups: u64,
    pub charged: u64,
    pub refused: u64,
    pub rebinds: u64,
    pub rests: u64,
}

/// A registry, and what a script has made there.
struct Field<'c> {
    registry: Registry,
    current: Option<Hierarchy>,
    crew: &'c Crew,
    summary: Summary,
}

type Outcome = Result<(), Failure>;

/// Runs `script` while `threads` threads work.
///
/// # Errors
///
/// The first command that does not parse, is refused, or finds sums that do not agree.
pub fn run(script: &str, threads: usize) -> Result<Summary, LoadError> {
    let steps = step::parse(script)?;
    let registry = Registry::new();
    let crew = Crew::new();
    let summary = Summary { threads, ..Summary::default() };
    let mut field = Field { registry, current: None, crew: &crew, summary };
    thread::scope(|scope| {
        for index in 0..threads {
            let (crew, registry) = (&crew, field.registry.clone());
            scope.spawn(move || crew.work(&registry, index as u64));
        }
        let result = field.run(&steps);
        crew.stop();
        result
    })?;
    field.settle().map_err(|failure| LoadError { line: 0, text: failure.text })?;
    let (lookups, charged, refused) = crew.counts();
    Ok(Summary { lookups, charged, refused, ..field.summary })
}

impl Field<'_> {
    fn run(&mut self, steps: &[(usize, Step)]) -> Result<(), LoadError> {
        for (line, step) in steps {
            if let Step::Repeat(times, steps) = step {
                (0..*times).try_for_each(|_| self.run(steps))?;
            } else {
                self.apply(step)
                    .map_err(|failure| LoadError { line: *line, text: failure.text })?;
            }
            if let Some(text) = self.crew.complaint() {
                return Err(LoadError { line: *line, text });
            }
        }
        Ok(())
    }

    fn apply(&mut self, step: &Step) -> Outcome {
        match step {
            Step::Command(command) => self.command(command),
            Step::Work(charges) => self.crew.wait(*charges),
            Step::Rest => {
                self.summary.rests += 1;
                self.crew.compare()
            }
            Step::Repeat(..) => Ok(()),
        }
    }

    fn command(&mut self, command: &Command) -> Outcome {
        match command {
            Command::Hierarchy(name) => {
                self.current = Some(self.registry.create_hierarchy(name)?);
            }
            Command::Use(name) => self.current = Some(self.hierarchy(name)?),
            Command::Register(name) => {
                let controller = self.registry.register(Units::new(name))?;
                self.crew.add_payee(Payee::new(controller));
            }
            Command::Bind { subsystem, hierarchy } => {
                self.payee(subsystem)?.controller.bind(&self.hierarchy(hierarchy)?)?;
            }
            Command::Remount { hierarchy, subsystems } => {
                let payees = self.payees(subsystems)?;
                self.hierarchy(hierarchy)?.remount(&controllers(&payees))?;
            }
            Command::Rebind { subsystems, hierarchy, mapping, moves } => {
                let options = self.options(subsystems, hierarchy, mapping, *moves)?;
                let (payees, target) = (self.payees(subsystems)?, self.hierarchy(hierarchy)?);
                self.registry.rebind(&controllers(&payees), &target, &options)?;
                self.summary.rebinds += 1;
            }
            Command::Unbind(name) => self.payee(name)?.controller.unbind()?,
            Command::Mkdir(path) => {
                let (parent, name) = split(path);
                self.group(parent)?.create_child(name)?;
            }
            Command::Rmdir { path, strict, subtree } => {
                let removal = if *strict { Removal::Strict } else { Removal::Detach };
                match subtree {
                    true => drop(self.group(path)?.remove_subtree(removal)?),
                    false => self.group(path)?.remove(removal)?,
                }
            }
            Command::Task(name) => self.crew.add_task(self.registry.create_task(name)?),
            Command::Join { task, path } => self.task(task)?.join(&self.group(path)?)?,
            Command::Leave { task, hierarchy } => {
                let hierarchy = match hierarchy {
                    Some(name) => self.hierarchy(name)?,
                    None => self.current()?.clone(),
                };
                self.task(task)?.leave(&hierarchy)?;
            }
            Command::Exit(name) => self.crew.end_task(self.task(name)?),
            Command::Echo { value, path } => {
                let (group, file) = split(path);
                self.group(group)?.write(file, &format!("{value}\n"))?;
            }
            other => return Err(refuse(format!("`{other}` is not for scripts under load"))),
        }
        Ok(())
    }

    /// The options of a rebind; paths on the left are of the hierarchy that the first controller leaves.
    fn options(
        &self,
        subsystems: &[String],
        target: &str,
        mapping: &[(String, String)],
        moves: bool,
    ) -> Result<RebindOptions, Failure> {
        let (payees, target) = (self.payees(subsystems)?, self.hierarchy(target)?);
        let source = payees.first().and_then(|payee| payee.controller.hierarchy());
        let mut pairs = Vec::with_capacity(mapping.len());
        for (from, to) in mapping {
            let from = source.as_ref().map(|source| find(source, from)).transpose()?;
            pairs.extend(from.zip(Some(find(&target, to)?)));
        }
        let members = if moves { MemberPolicy::Move } else { MemberPolicy::Refuse };
        Ok(RebindOptions::new().mapping(pairs).members(members))
    }

    /// Takes everything down, now that no thread works, and sees that nothing is left.
    fn settle(&mut self) -> Outcome {
        self.crew.compare()?;
        self.crew.end_all_tasks();
        let freed = self.crew.take_payees();
        for payee in &freed {
            if payee.held() != 0 {
                return Err(refuse(format!("{} units were not given back", payee.held())));
            }
            if payee.controller.hierarchy().is_some() {
                payee.controller.unbind()?;
            }
            payee.controller.unregister()?;
        }
        for hierarchy in self.registry.hierarchies() {
            hierarchy
                .root()
                .children()
                .try_for_each(|child| child.remove_subtree(Removal::Detach).map(drop))?;
            hierarchy.destroy()?;
        }
        self.registry.wait_reclaimed()?;
        let stats = self.registry.stats();
        let left = stats.css_online + stats.css_dying + stats.cgroups_dying + stats.tasks;
        if left + stats.hook_panics > 0 {
            return Err(refuse(format!("something is left, or panicked: {stats:?}")));
        }
        freed.iter().try_for_each(Payee::ended)
    }

    fn current(&self) -> Result<&Hierarchy, Refusal> {
        self.current.as_ref().ok_or(Refusal::NothingSelected)
    }

    fn hierarchy(&self, name: &str) -> Result<Hierarchy, Refusal> {
        let found = self.registry.hierarchy(name);
        found.ok_or_else(|| Refusal::UnknownHierarchy(name.to_owned()))
    }

    fn group(&self, path: &str) -> Result<Cgroup, Failure> {
        find(self.current()?, path)
    }

    fn task(&self, name: &str) -> Result<Arc<Task>, Refusal> {
        self.crew.task(name).ok_or_else(|| Refusal::UnknownTask(name.to_owned()))
    }

    fn payee(&self, name: &str) -> Result<Payee, Refusal> {
        self.crew.payee(name).ok_or_else(|| Refusal::UnknownSubsystem(name.to_owned()))
    }

    fn payees(&self, names: &[String]) -> Result<Vec<Payee>, Refusal> {
        names.iter().map(|name| self.payee(name)).collect()
    }
}

fn controllers(payees: &[Payee]) -> Vec<&dyn AnyController> {
    payees.iter().map(|payee| &payee.controller as &dyn AnyController).collect()
}

fn find(hierarchy: &Hierarchy, path: &str) -> Result<Cgroup, Failure> {
    let relative = path.strip_prefix('/').unwrap_or(path);
    Ok(hierarchy.lookup(&format!("/{relative}"))?)
}

fn refuse(text: String) -> Failure {
    Failure { kind: "Load".to_owned(), text }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { threads, lookups, charged, refused, rebinds, rests } = self;
        write!(
            f,
            "{threads} threads, {rebinds} rebinds, {lookups} lookups, {charged} units charged, \
             {refused} charges refused, sums agree at {rests} rests and the end"
        )
    }
}
