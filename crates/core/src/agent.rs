//! Release agents: they are told of each group that is in use no more, and act.
//!
//! An agent is a few threads that take a hierarchy's notices one by one, and run a closure or a
//! command for the group of each. Agents of one hierarchy share its notices: each goes to one.
//!
//! While it waits, a thread holds the queue and nothing of the registry. So the registry can end under
//! it; that disconnects the queue, and the thread ends. A thread whose command is under way holds the
//! group's node, which keeps no registry either.

pub(crate) mod command;
pub(crate) mod ledger;
mod wait;

use std::{convert::Infallible, fmt};

use crossbeam_channel::{Receiver, Select, Sender, TryRecvError, bounded};

use self::{
    command::{AgentCommand, Runner},
    ledger::{AgentStats, Counts, Ledger},
};
use crate::{
    cgroup::Cgroup,
    controller::caught,
    error::{AgentError, AgentFailure, StructuralError},
    hierarchy::Hierarchy,
    notice::Notice,
    reclaim,
    registry::engine::is_in_structure,
    sync::{Arc, fork, thread},
    world::guard,
};

/// Takes a hierarchy's notices, and acts on each group that is in use no more.
///
/// It is told of each group that has [`Cgroup::notify_on_release`] set and, when its turn comes, has no
/// members, no children and no references. That promises nothing: the group may be used again at any
/// time, and the strict removal decides.
///
/// A group whose agent fails stays, and is told of again when it was used again, or by
/// [`Hierarchy::renotify`]: that makes a notice of every group that is in use no more.
///
/// Agents of one hierarchy, and the receivers of [`Hierarchy::notices`], share its notices: each goes
/// to one. What is told while there is no agent waits for the first.
///
/// # Ending it
///
/// [`ReleaseAgent::stop`] and the drop take no more notices, which then wait for another agent, and
/// wait for the closure or the commands that run: a command for no longer than its timeout, and no other
/// is begun. Do that under no lock that the closure takes. They do not wait on one of the agent's own threads, that is in
/// its closure; nor in a subsystem's hook or a state's drop, under a read guard, and in a forked child.
/// What runs then ends beside them.
///
/// Notices come from the reclaimer: with [`Reclaimer::Manual`](crate::Reclaimer::Manual) an agent hears of
/// nothing until somebody reaps. An agent keeps no registry alive, and has nothing to do once its hierarchy is destroyed or its
/// registry over: then its threads end.
///
/// # Examples
///
/// ```
/// use fief_core::{Event, Registry, ReleaseAgent};
///
/// let registry = Registry::new();
/// let tenants = registry.create_hierarchy("by-tenant")?;
/// tenants.root().set_notify_on_release(true)?; // groups to come inherit it
/// let agent = ReleaseAgent::remover(&tenants)?;
///
/// let web = tenants.root().create_child("web")?;
/// let request = registry.create_task("request 1")?;
/// request.join(&web)?;
/// let watch = web.watch()?;
/// drop(request); // the last member leaves, and the agent removes the group
/// while watch.recv()? != Event::Removed {}
/// assert_eq!(agent.stop().removed, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "an agent ends when it is dropped"]
#[doc(alias = "release_agent")]
pub struct ReleaseAgent {
    hierarchy: String,
    counts: Arc<Counts>,
    failures: Receiver<AgentFailure>,
    /// Dropped, it tells the threads to end.
    stop: Option<Sender<Infallible>>,
    threads: Vec<thread::JoinHandle<()>>,
    forks: u32,
}

impl ReleaseAgent {
    /// Starts an agent that runs `agent` for each group, one after the other, on a thread
    /// `fief-agent`.
    ///
    /// The closure runs under no lock and may make structural calls. If it panics, that is caught and
    /// counted, and the next group has its turn. A handle that it keeps, keeps the registry alive.
    ///
    /// # Errors
    ///
    /// Refuses a destroyed hierarchy and a forked child; and there may be no thread to be had.
    ///
    /// # Examples
    ///
    /// ```
    /// use fief_core::{Registry, ReleaseAgent, Removal};
    ///
    /// let registry = Registry::new();
    /// let tenants = registry.create_hierarchy("by-tenant")?;
    /// let agent = ReleaseAgent::closure(&tenants, |cgroup| {
    ///     // Whatever has to be done first; then, unless it came into use again:
    ///     cgroup.remove(Removal::Strict).ok();
    /// })?;
    /// # drop(agent);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn closure(
        hierarchy: &Hierarchy,
        agent: impl FnMut(Cgroup) + Send + 'static,
    ) -> Result<Self, AgentError> {
        let mut agent = agent;
        Self::single(hierarchy, move |cgroup, ledger| {
            let (path, node) = (cgroup.path(), Arc::clone(cgroup.node()));
            ledger.told();
            match caught(|| agent(cgroup)) {
                Ok(()) if node.is_online() => {}
                Ok(()) => ledger.removed(),
                Err(source) => ledger.report(AgentFailure::Panicked { cgroup: path, source }),
            }
        })
    }

    /// Starts an agent that removes each group by [`Removal::Strict`](crate::Removal::Strict), on a
    /// thread `fief-agent`.
    ///
    /// A group that is in use again when its turn comes stays, which is counted and reported.
    ///
    /// # Errors
    ///
    /// As [`ReleaseAgent::closure`].
    pub fn remover(hierarchy: &Hierarchy) -> Result<Self, AgentError> {
        Self::single(hierarchy, |cgroup, ledger| {
            ledger.told();
            ledger.remove(&cgroup, None);
        })
    }

    /// Starts an agent that runs `command` for each group, with the group's path as the last argument,
    /// and removes the group by [`Removal::Strict`](crate::Removal::Strict) if it exits with success.
    ///
    /// Of one group one command runs at a time. The registry may end, and the group be removed, while
    /// it does.
    ///
    /// # Concurrency
    ///
    /// Starts a thread `fief-agent` for each command that may run at once. On Linux a thread sleeps
    /// until its command ends; on other systems, and where the kernel refuses a descriptor of the
    /// process, it looks every 10 ms.
    ///
    /// # Errors
    ///
    /// As [`ReleaseAgent::closure`]; and refuses a number of commands that is 0 or above 64. That the
    /// program cannot be run is seen when it is first needed: see [`ReleaseAgent::failures`].
    pub fn command(hierarchy: &Hierarchy, command: AgentCommand) -> Result<Self, AgentError> {
        command.check()?;
        let (mut agent, worker) = Self::prepare(hierarchy)?;
        let runner = Arc::new(Runner::new(command));
        for _ in 0..runner.at_most() {
            let (runner, worker) = (Arc::clone(&runner), worker.clone());
            let stopped = worker.stopped.clone();
            agent.start(move || {
                worker.serve(|cgroup, ledger| runner.tell(cgroup, ledger, &|| has_ended(&stopped)));
            })?;
        }
        Ok(agent)
    }

    /// Returns the agent's figures.
    #[must_use]
    pub fn stats(&self) -> AgentStats {
        self.counts.stats()
    }

    /// Returns the queue of what went wrong, oldest first; it stays good after the agent.
    ///
    /// Receivers share one queue. It holds the latest 64 failures; each that had to go unseen is
    /// counted. Disconnected, once it is empty, when the agent's threads have ended.
    #[must_use]
    pub fn failures(&self) -> Receiver<AgentFailure> {
        self.failures.clone()
    }

    /// Takes no more notices, waits for what runs, and returns the final figures.
    ///
    /// The drop does the same. Where it does not wait (see [`ReleaseAgent`]) the figures are as of now.
    pub fn stop(mut self) -> AgentStats {
        self.end();
        self.stats()
    }

    /// Starts an agent of one thread, which runs `handle` for each group.
    fn single(
        hierarchy: &Hierarchy,
        handle: impl FnMut(Cgroup, &Ledger) + Send + 'static,
    ) -> Result<Self, AgentError> {
        let (mut agent, worker) = Self::prepare(hierarchy)?;
        agent.start(move || worker.serve(handle))?;
        Ok(agent)
    }

    /// Returns an agent without threads, and what its threads need.
    fn prepare(hierarchy: &Hierarchy) -> Result<(Self, Worker), AgentError> {
        let name = hierarchy.name();
        if hierarchy.owner().engine.is_forked() {
            let operation = "release agent";
            return Err(StructuralError::Forked { operation, target: name }.into());
        }
        if hierarchy.is_destroyed() {
            return Err(AgentError::Destroyed { hierarchy: name });
        }
        let ledger = Ledger::new();
        let (stop, stopped) = bounded(0);
        let agent = Self {
            hierarchy: name,
            counts: Arc::clone(ledger.counts()),
            failures: ledger.failures().clone(),
            stop: Some(stop),
            threads: Vec::new(),
            forks: fork::generation(),
        };
        Ok((agent, Worker { notices: hierarchy.notices(), stopped, ledger }))
    }

    /// Starts a thread of the agent's.
    fn start(&mut self, work: impl FnOnce() + Send + 'static) -> Result<(), AgentError> {
        let builder = thread::Builder::new().name("fief-agent".to_owned());
        let started = builder.spawn(work);
        let thread = started.map_err(|source| {
            let hierarchy = self.hierarchy.clone();
            AgentError::Thread { hierarchy, source }
        })?;
        self.threads.push(thread);
        Ok(())
    }

    fn end(&mut self) {
        let (stop, threads) = (self.stop.take(), std::mem::take(&mut self.threads));
        if fork::generation() != self.forks {
            return forget((stop, threads));
        }
        drop(stop);
        if !may_wait(&threads) {
            return;
        }
        for thread in threads {
            // What can panic is caught inside.
            thread.join().ok();
        }
    }
}

impl Drop for ReleaseAgent {
    fn drop(&mut self) {
        self.end();
    }
}

/// Returns whether the end of `threads` can be waited for without waiting for the caller.
fn may_wait(threads: &[thread::JoinHandle<()>]) -> bool {
    let own = thread::current().id();
    let is_one = threads.iter().any(|thread| thread.thread().id() == own);
    let is_in_way = is_in_structure() || guard::is_held() || reclaim::is_freeing();
    !is_one && !is_in_way
}

/// Keeps for ever what threads that are not in this process may have had locked.
#[expect(clippy::mem_forget, reason = "its drop could wait for ever in a forked child")]
fn forget<T>(shared: T) {
    std::mem::forget(shared);
}

/// Returns whether the agent was stopped.
fn has_ended(stopped: &Receiver<Infallible>) -> bool {
    stopped.try_recv() == Err(TryRecvError::Disconnected)
}

/// What a thread of an agent works with.
#[derive(Clone, Debug)]
struct Worker {
    notices: Receiver<Notice>,
    /// Disconnected when the agent is to end.
    stopped: Receiver<Infallible>,
    ledger: Ledger,
}

impl Worker {
    /// A thread's life: runs `handle` for each group, until the agent, the hierarchy or the registry
    /// ends.
    fn serve(self, mut handle: impl FnMut(Cgroup, &Ledger)) {
        while let Some(notice) = self.next() {
            // Ends the notice first: what happens to the group from here on makes another.
            let Some(cgroup) = notice.accept() else {
                self.ledger.moot();
                continue;
            };
            // Closures are caught where they run; a subscriber of `tracing` may panic, too.
            if caught(|| handle(cgroup, &self.ledger)).is_err() {
                self.ledger.panicked();
            }
        }
        // The closure is its user's, and its drop may panic.
        caught(|| drop(handle)).ok();
    }

    /// Waits for a notice; none when there will be no more, or none is wanted.
    fn next(&self) -> Option<Notice> {
        // An agent that was stopped takes none of those that wait.
        let mut select = Select::new_biased();
        let stopped = select.recv(&self.stopped);
        select.recv(&self.notices);
        let ready = select.select();
        if ready.index() == stopped {
            ready.recv(&self.stopped).ok();
            return None;
        }
        ready.recv(&self.notices).ok()
    }
}

impl fmt::Debug for ReleaseAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReleaseAgent")
            .field("hierarchy", &self.hierarchy)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
