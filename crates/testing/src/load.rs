//! Scripts under load: each command runs while real threads look up, charge and give back.
//!
//! The commands are those of [`script`](crate::script) that change trees, members and control files, with
//! a few more that only make sense here. A subsystem that is registered is a real one: it counts units
//! in a [`Counter`](fief_core::Counter), with a file `max` (`load/units.rs`). The threads begin with the
//! script. Each takes a task, finds its css in one of the three ways there are, charges a few units, and
//! gives back older ones, its own or another thread's (`load/worker.rs`).
//!
//! `register tasks` registers [`Tasks`], which counts tasks. From then on the threads also spawn tasks of
//! those of the script, create some at the roots, move them to others, and end them (`load/staff.rs`).
//!
//! `register memory` registers [`Memory`]. The threads charge bytes for the tasks of the script, and give back
//! older ones, their own or another thread's (`load/till.rs`).
//!
//! `register cpu` registers [`Cpu`], with workers. The threads have jobs run for the tasks of the script
//! (`load/yard.rs`).
//!
//! `register io` registers [`Io`], with two devices, `disk` and `net`. The threads read and write there for the
//! tasks of the script, or wait for that (`load/dock.rs`).
//!
//! | command | what it does |
//! |---|---|
//! | `charge memory G N`, `uncharge memory G N` | bytes that the script itself has charged to a group |
//! | `repeat N` … `end` | the commands between, so many times; not within another |
//! | `refused COMMAND` | goes on if the command is refused |
//! | `work N` | goes on when the threads have made `N` more charges |
//! | `rest` | stops the threads for a moment, and compares all sums |
//!
//! At rest, for each controller, the units that the threads hold must be what the root's counter shows,
//! and the sum of what css hold for themselves; what they ever charged, what the root has tallied; and no
//! group that had room when its max was set may be above it. What each group shows in `tasks.current` must
//! be how many members it and those below it have; what it shows in `memory.current`, once what is charged ahead
//! is called in, what is held there and below, removed groups included. All jobs have ended, each after as many
//! polls as it asked for, or cancelled, and was dropped once. All operations on devices were granted or refused,
//! and the root shows in `io.stat` what the threads used. At the end the threads give everything
//! back, everything is unbound, unregistered and destroyed, and nothing may be left.

mod dock;
mod staff;
mod step;
mod till;
mod units;
mod worker;
mod yard;

use std::fmt;

use fief_core::{
    AnyController, BindError, Cgroup, Controller, Hierarchy, MemberPolicy, RebindOptions, Registry,
    Removal, Task,
};
use fief_cpu::Cpu;
use fief_io::Io;
use fief_memory::Memory;
use fief_tasks::Tasks;
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
    pub tasks_made: u64,
    pub tasks_refused: u64,
    pub bytes_charged: u64,
    pub bytes_refused: u64,
    pub jobs: u64,
    pub jobs_cancelled: u64,
    pub operations: u64,
    pub operations_refused: u64,
}

/// A registry, and what a script has made there.
struct Field<'c> {
    registry: Registry,
    current: Option<Hierarchy>,
    crew: &'c Crew,
    summary: Summary,
}

/// A controller by the name in the script.
enum Named {
    Units(Payee),
    Tasks(Controller<Tasks>),
    Memory(Controller<Memory>),
    Cpu(Controller<Cpu>),
    Io(Controller<Io>),
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
    let (tasks_made, tasks_refused) = crew.staff.counts();
    let (bytes_charged, bytes_refused) = crew.till.counts();
    let summary = Summary { lookups, charged, refused, tasks_made, tasks_refused, ..field.summary };
    let (jobs, jobs_cancelled) = crew.yard.counts();
    let summary = Summary { bytes_charged, bytes_refused, jobs, jobs_cancelled, ..summary };
    let (operations, operations_refused) = crew.dock.counts();
    Ok(Summary { operations, operations_refused, ..summary })
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
                self.crew.compare(&self.registry)
            }
            Step::Repeat(..) => Ok(()),
            Step::Refused(command) => match self.command(command) {
                Ok(()) => Err(refuse(format!("`{command}` was not refused"))),
                Err(_) => Ok(()),
            },
            Step::Uncharge(path, bytes) => {
                let group = self.group(path)?;
                self.crew.till.uncharge(&group, *bytes)
            }
        }
    }

    fn command(&mut self, command: &Command) -> Outcome {
        match command {
            Command::Hierarchy(name) => {
                self.current = Some(self.registry.create_hierarchy(name)?);
            }
            Command::Use(name) => self.current = Some(self.hierarchy(name)?),
            Command::Register(name) if name == "tasks" => {
                self.crew.staff.set(self.registry.register(Tasks::new())?);
            }
            Command::Register(name) if name == "memory" => {
                self.crew.till.set(self.registry.register(Memory::new())?);
            }
            Command::Register(name) if name == "cpu" => {
                let cpu = self.registry.register(Cpu::builder().cpus(2).build())?;
                self.crew.yard.open(cpu).map_err(|error| refuse(error.to_string()))?;
            }
            Command::Register(name) if name == "io" => {
                let io = self.registry.register(Io::new())?;
                self.crew.dock.open(io).map_err(|error| refuse(error.to_string()))?;
            }
            Command::Register(name) => {
                let controller = self.registry.register(Units::new(name))?;
                self.crew.add_payee(Payee::new(controller));
            }
            Command::Bind { subsystem, hierarchy } => {
                self.named(subsystem)?.bind(&self.hierarchy(hierarchy)?)?;
            }
            Command::Remount { hierarchy, subsystems } => {
                let named = self.all_named(subsystems)?;
                self.hierarchy(hierarchy)?.remount(&controllers(&named))?;
            }
            Command::Rebind { subsystems, hierarchy, mapping, moves } => {
                let options = self.options(subsystems, hierarchy, mapping, *moves)?;
                let (named, target) = (self.all_named(subsystems)?, self.hierarchy(hierarchy)?);
                self.registry.rebind(&controllers(&named), &target, &options)?;
                self.summary.rebinds += 1;
            }
            Command::Charge { subsystem, path, amount } if subsystem == "memory" => {
                let group = self.group(path)?;
                self.crew.till.charge(&group, *amount)?;
            }
            Command::Unbind(name) => self.named(name)?.unbind()?,
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
        let (named, target) = (self.all_named(subsystems)?, self.hierarchy(target)?);
        let source = named.first().and_then(Named::hierarchy);
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
        self.crew.compare(&self.registry)?;
        self.crew.end_all_tasks();
        self.crew.compare(&self.registry)?;
        if let Some(tasks) = self.crew.staff.take() {
            if tasks.hierarchy().is_some() {
                tasks.unbind()?;
            }
            tasks.unregister()?;
        }
        self.crew.yard.settle()?;
        self.crew.dock.settle()?;
        self.crew.till.settle()?;
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

    fn named(&self, name: &str) -> Result<Named, Refusal> {
        let tasks = self.crew.staff.controller().filter(|tasks| tasks.name() == name);
        let memory = self.crew.till.controller().filter(|memory| memory.name() == name);
        let found = self.crew.payee(name).map(Named::Units).or(tasks.map(Named::Tasks));
        let cpu = self.crew.yard.controller().filter(|cpu| cpu.name() == name);
        let found = found.or(memory.map(Named::Memory)).or(cpu.map(Named::Cpu));
        let io = self.crew.dock.controller().filter(|io| io.name() == name);
        let found = found.or(io.map(Named::Io));
        found.ok_or_else(|| Refusal::UnknownSubsystem(name.to_owned()))
    }

    fn all_named(&self, names: &[String]) -> Result<Vec<Named>, Refusal> {
        names.iter().map(|name| self.named(name)).collect()
    }
}

impl Named {
    fn any(&self) -> &dyn AnyController {
        match self {
            Self::Units(payee) => &payee.controller,
            Self::Tasks(tasks) => tasks,
            Self::Memory(memory) => memory,
            Self::Cpu(cpu) => cpu,
            Self::Io(io) => io,
        }
    }

    fn hierarchy(&self) -> Option<Hierarchy> {
        match self {
            Self::Units(payee) => payee.controller.hierarchy(),
            Self::Tasks(tasks) => tasks.hierarchy(),
            Self::Memory(memory) => memory.hierarchy(),
            Self::Cpu(cpu) => cpu.hierarchy(),
            Self::Io(io) => io.hierarchy(),
        }
    }

    fn bind(&self, hierarchy: &Hierarchy) -> Result<(), BindError> {
        match self {
            Self::Units(payee) => payee.controller.bind(hierarchy),
            Self::Tasks(tasks) => tasks.bind(hierarchy),
            Self::Memory(memory) => memory.bind(hierarchy),
            Self::Cpu(cpu) => cpu.bind(hierarchy),
            Self::Io(io) => io.bind(hierarchy),
        }
    }

    fn unbind(&self) -> Outcome {
        match self {
            Self::Units(payee) => Ok(payee.controller.unbind()?),
            Self::Tasks(tasks) => Ok(tasks.unbind()?),
            Self::Memory(memory) => Ok(memory.unbind()?),
            Self::Cpu(cpu) => Ok(cpu.unbind()?),
            Self::Io(io) => Ok(io.unbind()?),
        }
    }
}

fn controllers(named: &[Named]) -> Vec<&dyn AnyController> {
    named.iter().map(Named::any).collect()
}

/// Every group of a hierarchy, from its root down.
fn below(hierarchy: Hierarchy) -> impl Iterator<Item = Cgroup> {
    hierarchy.root().descendants_pre()
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
        let Self { threads, lookups, charged, refused, rebinds, rests, .. } = self;
        let Self { tasks_made, tasks_refused, bytes_charged, bytes_refused, .. } = self;
        let Self { jobs, jobs_cancelled, operations, operations_refused, .. } = self;
        write!(
            f,
            "{threads} threads, {rebinds} rebinds, {lookups} lookups, {charged} units charged, \
             {refused} charges refused, {tasks_made} tasks made, {tasks_refused} refused, {bytes_charged} charges of bytes, \
             {bytes_refused} refused, {jobs} jobs, {jobs_cancelled} cancelled, {operations} operations, \
             {operations_refused} refused, sums agree at {rests} rests and the end"
        )
    }
}
