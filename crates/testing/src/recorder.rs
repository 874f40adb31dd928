//! A subsystem that writes down every callback, and fails where it is told to.
//!
//! Its control files keep what is written and do nothing with it: `max` (a size; not on the root),
//! `weight`, `stat` (how often the two were written), `reset` (`1` forgets that) and `capacity` (the
//! root's alone).

use fief_core::{
    ControlFile, Css, HookError, Limit, Member, Migration, Subsystem,
    file::{InputError, parse, render},
};

use crate::{
    hook::Hook,
    inject::{Action, Plan, event},
    sync::{Arc, Mutex, lock},
};

/// The recorded callbacks of all subsystems of a session, in order.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    recorded: Vec<String>,
    /// Css made so far.
    made: u32,
}

impl Log {
    /// Appends a line.
    pub fn push(&self, line: String) {
        lock(&self.0).recorded.push(line);
    }

    /// Numbers a css, from 1.
    fn count(&self) -> u32 {
        let mut lines = lock(&self.0);
        lines.made += 1;
        lines.made
    }

    /// Takes all lines.
    #[must_use]
    pub fn drain(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.0).recorded)
    }
}

/// The recording subsystem.
#[derive(Debug)]
pub struct Recorder {
    name: String,
    log: Log,
    plan: Arc<Mutex<Plan>>,
}

/// A css's state: a number and a usage of its own, and its last path, so that its drop can be recorded.
#[derive(Debug)]
pub struct Recording {
    number: u32,
    usage: Mutex<u64>,
    subsystem: String,
    path: Mutex<String>,
    settings: Mutex<Settings>,
    log: Log,
    plan: Arc<Mutex<Plan>>,
}

/// What the control files hold.
#[derive(Debug)]
struct Settings {
    max: Limit,
    weight: u16,
    writes: u64,
}

const FILES: &[ControlFile] = &[
    ControlFile::read_write("max").not_on_root(),
    ControlFile::read_write("weight"),
    ControlFile::read_only("stat"),
    ControlFile::write_only("reset"),
    ControlFile::read_only("capacity").only_on_root(),
];

impl Default for Settings {
    fn default() -> Self {
        Self { max: Limit::Max, weight: 100, writes: 0 }
    }
}

impl Settings {
    fn read(&self, file: &str) -> Result<String, HookError> {
        Ok(match file {
            "max" => render::value(self.max),
            "weight" => render::value(self.weight),
            "stat" => render::flat([("writes", self.writes)]),
            "capacity" => render::value(Limit::Max),
            _ => return Err(format!("{file} is not listed").into()),
        })
    }

    fn write(&mut self, file: &str, input: &str) -> Result<(), HookError> {
        match file {
            "max" => self.max = parse::size_limit(input)?,
            "weight" => self.weight = parse::weight(input)?,
            "reset" if parse::flag(input) == Ok(true) => self.writes = 0,
            "reset" => return Err(InputError::new(input, "1").into()),
            _ => return Err(format!("{file} is not listed").into()),
        }
        self.writes += u64::from(file != "reset");
        Ok(())
    }
}

impl Recorder {
    /// Makes a subsystem that records into `log`.
    #[must_use]
    pub fn new(name: &str, log: &Log) -> Self {
        Self { name: name.to_owned(), log: log.clone(), plan: Arc::default() }
    }

    /// Plans a failure for the `nth` call of `hook` from now, from 1.
    pub fn inject(&self, hook: Hook, nth: u32, action: Action) {
        lock(&self.plan).add(hook, nth, action);
    }

    fn call(&self, hook: Hook, what: &str) -> Result<(), HookError> {
        record(&self.name, &self.log, &self.plan, hook, what)
    }

    fn tell(&self, hook: Hook, css: &Css<Recording>) {
        let path = path(css);
        path.clone_into(&mut lock(&css.path));
        self.call(hook, &path).ok();
    }
}

impl Recording {
    /// Returns the name of the subsystem.
    #[must_use]
    pub fn subsystem(&self) -> &str {
        &self.subsystem
    }

    /// Returns the css's number: one more for each that is made in a session.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Returns what was charged to this css.
    #[must_use]
    pub fn usage(&self) -> u64 {
        *lock(&self.usage)
    }

    /// Charges `amount`; stops at the greatest number.
    pub fn charge(&self, amount: u64) {
        let mut usage = lock(&self.usage);
        *usage = usage.saturating_add(amount);
    }
}

impl Subsystem for Recorder {
    type State = Recording;

    fn name(&self) -> &str {
        &self.name
    }

    fn new_css(&self, parent: Option<&Css<Recording>>) -> Result<Recording, HookError> {
        let under = parent.map_or_else(|| "root".to_owned(), |css| format!("under {}", path(css)));
        self.call(Hook::NewCss, &under)?;
        let (log, plan) = (self.log.clone(), Arc::clone(&self.plan));
        let (number, usage, subsystem) = (log.count(), Mutex::new(0), self.name.clone());
        let (path, settings) = (Mutex::new(under), Mutex::default());
        Ok(Recording { number, usage, subsystem, path, settings, log, plan })
    }

    fn online(&self, css: &Css<Recording>) -> Result<(), HookError> {
        let path = path(css);
        path.clone_into(&mut lock(&css.path));
        self.call(Hook::Online, &path)
    }

    fn killed(&self, css: &Css<Recording>) {
        self.tell(Hook::Killed, css);
    }

    fn offline(&self, css: &Css<Recording>) {
        self.tell(Hook::Offline, css);
    }

    fn released(&self, css: &Css<Recording>) {
        self.tell(Hook::Released, css);
    }

    fn drain(&self, css: &Css<Recording>) {
        self.tell(Hook::Drain, css);
    }

    fn bound(&self, root: &Css<Recording>) {
        self.tell(Hook::Bound, root);
    }

    fn rebound(&self, root: &Css<Recording>) {
        self.tell(Hook::Rebound, root);
    }

    fn can_attach(&self, migration: &Migration<'_, Recording>) -> Result<(), HookError> {
        self.call(Hook::CanAttach, &moves(migration))
    }

    fn cancel_attach(&self, migration: &Migration<'_, Recording>) {
        self.call(Hook::CancelAttach, &moves(migration)).ok();
    }

    fn attach(&self, migration: &Migration<'_, Recording>) {
        self.call(Hook::Attach, &moves(migration)).ok();
    }

    fn post_attach(&self, migration: &Migration<'_, Recording>) {
        self.call(Hook::PostAttach, &moves(migration)).ok();
    }

    fn can_fork(&self, css: &Css<Recording>, member: &Member) -> Result<(), HookError> {
        self.call(Hook::CanFork, &place(css, member))
    }

    fn cancel_fork(&self, css: &Css<Recording>, member: &Member) {
        self.call(Hook::CancelFork, &place(css, member)).ok();
    }

    fn fork(&self, css: &Css<Recording>, member: &Member) {
        self.call(Hook::Fork, &place(css, member)).ok();
    }

    fn exit(&self, css: &Css<Recording>, member: &Member) {
        self.call(Hook::Exit, &place(css, member)).ok();
    }

    fn files(&self) -> &[ControlFile] {
        FILES
    }

    fn read_file(&self, css: &Css<Recording>, file: &str) -> Result<String, HookError> {
        self.call(Hook::ReadFile, &format!("{file} of {}", path(css)))?;
        lock(&css.settings).read(file)
    }

    fn write_file(&self, css: &Css<Recording>, file: &str, input: &str) -> Result<(), HookError> {
        self.call(Hook::WriteFile, &format!("{file} of {}", path(css)))?;
        lock(&css.settings).write(file, input)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let path = lock(&self.path).clone();
        record(&self.subsystem, &self.log, &self.plan, Hook::Free, &path).ok();
    }
}

fn record(
    subsystem: &str,
    log: &Log,
    plan: &Mutex<Plan>,
    hook: Hook,
    what: &str,
) -> Result<(), HookError> {
    let action = lock(plan).call(hook);
    log.push(event(subsystem, hook, what, action));
    match action {
        None => Ok(()),
        Some(Action::Veto) => Err("injected".into()),
        // Past the panic hook, so that a test prints nothing.
        Some(Action::Panic) => std::panic::resume_unwind(Box::new("injected")),
    }
}

fn path(css: &Css<Recording>) -> String {
    css.path()
}

fn moves(migration: &Migration<'_, Recording>) -> String {
    let (from, to) = (path(migration.source), path(migration.target));
    format!("{} {from} -> {to}", migration.task.name)
}

fn place(css: &Css<Recording>, member: &Member) -> String {
    format!("{} at {}", member.name, path(css))
}
