//! An external command as agent.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{ledger::Ledger, wait};
use crate::{
    cgroup::Cgroup,
    controller::caught,
    error::{AgentError, AgentFailure},
    notice::line::Told,
    sync::{Arc, Mutex},
    units::CgroupId,
};

/// The most commands at once.
const AT_MOST: usize = 64;

/// A command for [`ReleaseAgent::command`](crate::ReleaseAgent::command), and how it is run.
///
/// It is run for one group at a time, with the group's path as one argument after all others. There is
/// no shell in between: whatever a name holds reaches the program as it is. A path begins with `/`, so
/// that no name is taken for an option.
///
/// Its standard input is empty; output, environment and working directory are the process's own. It
/// leads a process group of its own, on Unix, so that Ctrl-C in a terminal does not reach it; it runs as
/// the process's user, and may outlive the process.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use fief_core::{AgentCommand, Registry, ReleaseAgent};
///
/// let registry = Registry::new();
/// let tenants = registry.create_hierarchy("by-tenant")?;
/// let archive = AgentCommand::new("/usr/local/bin/archive-tenant")
///     .args(["--hierarchy", "by-tenant"])
///     .at_most(2)
///     .timeout(Duration::from_secs(30));
/// let agent = ReleaseAgent::command(&tenants, archive)?;
/// let failures = agent.failures();
/// # drop(agent);
/// for failure in failures {
///     eprintln!("{failure}"); // names the program and the group
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a command is run by an agent"]
pub struct AgentCommand {
    program: OsString,
    args: Vec<OsString>,
    at_most: usize,
    timeout: Duration,
}

impl AgentCommand {
    /// Returns a command without arguments but the group's path: at most 4 at once, 10 s for each.
    ///
    /// A program without a slash is looked up in `PATH`.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let program = program.as_ref().to_owned();
        Self { program, args: Vec::new(), at_most: 4, timeout: Duration::from_secs(10) }
    }

    /// Adds an argument before the group's path.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments before the group's path.
    pub fn args(self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Sets how many commands may run at once: 1 to 64, default 4.
    ///
    /// Each takes a thread for as long as the agent lives. What ends is counted out before the next
    /// begins.
    pub fn at_most(self, at_most: usize) -> Self {
        Self { at_most, ..self }
    }

    /// Sets how long a command may take; default 10 s, and more than there is time is for ever.
    ///
    /// After that it is killed with every process of its group (on Unix; elsewhere it alone), and
    /// reaped. What left the group lives on.
    ///
    /// A command that ends in time is not asked what it leaves behind: that is not waited for, killed or
    /// counted.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Refuses a number that is out of range.
    pub(super) fn check(&self) -> Result<(), AgentError> {
        if (1..=AT_MOST).contains(&self.at_most) {
            return Ok(());
        }
        Err(AgentError::AtMost { program: self.program_name(), at_most: self.at_most })
    }

    fn program_name(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }

    fn spawn(&self, path: &str) -> io::Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(&self.args).arg(path).stdin(Stdio::null());
        lead_a_group(&mut command);
        command.spawn()
    }

    /// Runs the command to its end, one way or the other.
    fn run(&self, cgroup: String) -> Result<(), AgentFailure> {
        let program = self.program_name();
        let mut child = match self.spawn(&cgroup) {
            Ok(child) => child,
            Err(source) => return Err(AgentFailure::Spawn { program, cgroup, source }),
        };
        match wait::wait(&mut child, Instant::now().checked_add(self.timeout)) {
            Ok(Some(status)) if status.success() => Ok(()),
            Ok(Some(status)) => Err(AgentFailure::Exit { program, cgroup, status }),
            Ok(None) => {
                wait::kill(&mut child);
                Err(AgentFailure::TimedOut { program, cgroup, timeout: self.timeout })
            }
            // It is gone, and its number perhaps another's: there is nothing left to kill.
            Err(source) => Err(AgentFailure::Lost { program, cgroup, source }),
        }
    }
}

/// Runs the command of one agent, on several threads.
#[derive(Debug)]
pub(super) struct Runner {
    command: AgentCommand,
    /// Groups whose command runs, and whether they were told of again meanwhile.
    running: Mutex<BTreeMap<CgroupId, bool>>,
}

/// What a thread that comes with a group finds.
enum Entered {
    /// Nobody else has it.
    First,
    /// Another thread has it, and will look again.
    Second,
    /// Another thread has it, and was to look again already.
    More,
}

impl Runner {
    pub(super) fn new(command: AgentCommand) -> Self {
        Self { command, running: Mutex::default() }
    }

    pub(super) const fn at_most(&self) -> usize {
        self.command.at_most
    }

    /// Runs the command for `cgroup`, unless another thread does: then that one runs it again.
    ///
    /// Once the agent `has_ended` it runs no other: what was told meanwhile is left to others.
    pub(super) fn tell(&self, cgroup: Cgroup, ledger: &Ledger, has_ended: &dyn Fn() -> bool) {
        let (id, node) = (cgroup.id(), Arc::clone(cgroup.node()));
        match self.enter(id) {
            Entered::First => {}
            Entered::Second => return,
            Entered::More => return ledger.moot(),
        }
        let mut next = Some(cgroup);
        loop {
            // Caught, so that the group is let go: a subscriber of `tracing` may panic.
            let done = caught(|| match next.take() {
                Some(cgroup) if !has_ended() => self.tell_once(cgroup, ledger),
                Some(_) => {
                    node.hierarchy.outbox.tell(&node);
                    ledger.moot();
                }
                None => ledger.moot(),
            });
            if done.is_err() {
                ledger.panicked();
            }
            if self.leave(id) {
                return;
            }
            next = Cgroup::from_node(Arc::clone(&node)).filter(|_| node.is_releasable());
        }
    }

    fn tell_once(&self, cgroup: Cgroup, ledger: &Ledger) {
        ledger.told();
        let (path, node) = (cgroup.path(), Arc::clone(cgroup.node()));
        // The registry may end while the command runs.
        drop(cgroup);
        if let Err(failure) = self.command.run(path) {
            return ledger.report(failure);
        }
        match Cgroup::from_node(node) {
            Some(cgroup) => ledger.remove(&cgroup, Some(&self.command.program_name())),
            None => ledger.removed(),
        }
    }

    /// Takes a group for the calling thread; if another has it, has that one look again.
    fn enter(&self, id: CgroupId) -> Entered {
        let mut running = self.running.lock();
        let before = running.get(&id).copied();
        running.insert(id, before.is_some());
        match before {
            None => Entered::First,
            Some(false) => Entered::Second,
            Some(true) => Entered::More,
        }
    }

    /// Lets a group go, unless it is to be looked at again.
    fn leave(&self, id: CgroupId) -> bool {
        let mut running = self.running.lock();
        let is_to_go = running.insert(id, false) == Some(false);
        if is_to_go {
            running.remove(&id);
        }
        is_to_go
    }
}

#[cfg(unix)]
fn lead_a_group(command: &mut Command) {
    std::os::unix::process::CommandExt::process_group(command, 0);
}

#[cfg(not(unix))]
fn lead_a_group(_command: &mut Command) {}
