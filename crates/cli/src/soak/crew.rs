//! The threads of a soak: started, watched, and ended in an order in which nobody waits in vain.

use std::{net::TcpStream, time::Instant};

use anyhow::{Context as _, Error, Result, anyhow};
use crossbeam_channel::{Receiver, Sender};

use crate::{
    soak::{
        Event,
        dropper::{self, Batch},
        mover::{self, Moves},
        sample::Latencies,
        schedule::Act,
        stage::{ByTenant, Stage, Who},
    },
    sync::thread::{self, Scope, ScopedJoinHandle},
    workload::{
        analytics::Analyst,
        api::{self, Server},
        backup::Archivist,
        client::Client,
        disk::{COPIERS, READERS, User},
    },
};

/// All threads.
#[derive(Debug)]
pub(crate) struct Crew<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    stage: &'env Stage,
    server: &'env Server,
    events: Sender<Event>,
    batches: Sender<Batch>,
    clients: Vec<Thread<'scope, ()>>,
    accepting: Option<Thread<'scope, ()>>,
    workers: Vec<(Who, Thread<'scope, Latencies>)>,
    dropper: Option<Thread<'scope, ByTenant<Latencies>>>,
    mover: Option<Thread<'scope, Moves>>,
    /// Disconnected when the mover is to end.
    moving: Option<Sender<()>>,
}

/// What the threads bring home.
#[derive(Debug)]
pub(crate) struct Harvest {
    /// How long reference operations took, by tenant.
    pub(crate) latencies: ByTenant<Latencies>,
    pub(crate) moves: Moves,
}

#[derive(Debug)]
struct Thread<'scope, T> {
    name: String,
    handle: ScopedJoinHandle<'scope, Result<T, Failure>>,
}

/// An error, and when it happened: the first may cause others.
#[derive(Debug)]
struct Failure {
    at: Instant,
    error: Error,
}

/// Tells the soak that a thread failed, unless it did not.
struct Alarm(Option<Sender<Event>>);

impl<'scope, 'env> Crew<'scope, 'env> {
    /// A crew without threads, and where its references go.
    pub(crate) fn new(
        scope: &'scope Scope<'scope, 'env>,
        stage: &'env Stage,
        server: &'env Server,
        events: Sender<Event>,
    ) -> (Self, Receiver<Batch>) {
        let (batches, receiver) = crossbeam_channel::bounded(BATCHES);
        let (clients, workers) = (Vec::new(), Vec::new());
        let crew = Self {
            scope,
            stage,
            server,
            events,
            batches,
            clients,
            accepting: None,
            workers,
            dropper: None,
            mover: None,
            moving: None,
        };
        (crew, receiver)
    }

    /// Where references go to be dropped.
    pub(crate) fn dropper(&self) -> &Sender<Batch> {
        &self.batches
    }

    /// Starts all threads; workers wait at the gates of their tenants, and the mover for its `act`.
    ///
    /// # Errors
    ///
    /// When a thread or a task cannot be made; what was started must still be finished.
    pub(crate) fn start(&mut self, batches: Receiver<Batch>, act: Act) -> Result<()> {
        let (stage, server) = (self.stage, self.server);
        let (sender, connections) = crossbeam_channel::unbounded();
        let drop_all = move || Ok(dropper::drop_references(stage, &batches));
        self.dropper = Some(self.spawn("dropper".to_owned(), drop_all)?);
        self.accepting = Some(self.spawn("accept".to_owned(), move || server.accept(&sender))?);
        for index in 0..stage.options.threads {
            self.start_workers(index, &connections)?;
            let client = Client::new(stage, index);
            let client = self.spawn(format!("client-{index}"), move || client.run())?;
            self.clients.push(client);
        }
        (0..READERS).try_for_each(|index| self.start_user(Who::Api, index))?;
        (0..COPIERS).try_for_each(|index| self.start_user(Who::Backup, index))?;
        let (moving, ending) = crossbeam_channel::bounded(0);
        self.moving = Some(moving);
        let events = self.events.clone();
        let moves = move || mover::run(stage, act, (&ending, &events));
        self.mover = Some(self.spawn("mover".to_owned(), moves)?);
        Ok(())
    }

    /// Starts a worker of each tenant, which makes itself at home on its own thread.
    fn start_workers(&mut self, index: u32, connections: &Receiver<TcpStream>) -> Result<()> {
        let stage = self.stage;
        let (batches, connections) = (self.batches.clone(), connections.clone());
        let work = move || api::Worker::new(stage, index, connections, batches)?.run();
        let worker = self.spawn(format!("api-{index}"), work)?;
        self.workers.push((Who::Api, worker));

        let batches = self.batches.clone();
        let work = move || Analyst::new(stage, index, batches)?.run();
        let worker = self.spawn(format!("analytics-{index}"), work)?;
        self.workers.push((Who::Analytics, worker));

        let batches = self.batches.clone();
        let work = move || Archivist::new(stage, index, batches)?.run();
        let worker = self.spawn(format!("backup-{index}"), work)?;
        self.workers.push((Who::Backup, worker));
        Ok(())
    }

    /// Starts a thread that uses the disk.
    fn start_user(&mut self, who: Who, index: u32) -> Result<()> {
        let stage = self.stage;
        let work = move || User::new(stage, who, index)?.run();
        let user = self.spawn(format!("{}-disk-{index}", who.name()), work)?;
        self.workers.push((who, user));
        Ok(())
    }

    /// Ends all threads and returns what they found.
    ///
    /// # Errors
    ///
    /// The error of a thread; of several workers' the first that happened.
    pub(crate) fn finish(self) -> Result<Harvest> {
        drop(self.moving);
        let moves = self.mover.map(Thread::join);
        // Nobody enters any more; clients end after the answer they wait for, and as long as
        // there are clients, the workers that are inside answer them.
        for who in Who::ALL {
            self.stage.tenant(who).gate.shut();
        }
        self.stage.ending.raise();
        let clients: Vec<Result<()>> = self.clients.into_iter().map(Thread::join).collect();
        // Without clients and listener, workers run out of connections.
        self.server.close();
        let accepting = self.accepting.map(Thread::join);
        let workers: Vec<(Who, Result<Latencies, Failure>)> =
            self.workers.into_iter().map(|(who, worker)| (who, worker.end())).collect();
        // Without workers, and without us, nobody sends references.
        drop(self.batches);
        let nothing = || Ok(Who::ALL.map(|_| Latencies::new()));
        let mut latencies = self.dropper.map_or_else(nothing, Thread::join)?;

        let (done, failed): (Vec<_>, Vec<_>) =
            workers.into_iter().partition(|(_, worker)| worker.is_ok());
        let failures = failed.into_iter().filter_map(|(_, worker)| worker.err());
        if let Some(first) = failures.min_by_key(|failure| failure.at) {
            return Err(first.error);
        }
        for (who, worker) in done.into_iter().filter_map(|(who, worker)| Some((who, worker.ok()?)))
        {
            latencies[who as usize].add(&worker);
        }
        accepting.transpose()?;
        clients.into_iter().collect::<Result<()>>()?;
        let moves = moves.transpose()?.unwrap_or_else(Moves::new);
        Ok(Harvest { latencies, moves })
    }

    fn spawn<T: Send + 'scope>(
        &self,
        name: String,
        body: impl FnOnce() -> Result<T> + Send + 'scope,
    ) -> Result<Thread<'scope, T>> {
        let alarm = Alarm(Some(self.events.clone()));
        let body = move || {
            let mut alarm = alarm;
            let result = body();
            if result.is_ok() {
                alarm.0 = None;
            }
            result.map_err(|error| Failure { at: Instant::now(), error })
        };
        let handle = thread::Builder::new()
            .name(name.clone())
            .spawn_scoped(self.scope, body)
            .with_context(|| format!("cannot start thread {name}"))?;
        Ok(Thread { name, handle })
    }
}

impl<T> Thread<'_, T> {
    fn join(self) -> Result<T> {
        self.end().map_err(|failure| failure.error)
    }

    /// As [`join`](Self::join); the error says when it happened, or was noticed.
    fn end(self) -> Result<T, Failure> {
        let Self { name, handle } = self;
        match handle.join() {
            Ok(result) => result.map_err(|Failure { at, error }| Failure {
                at,
                error: error.context(format!("thread {name} failed")),
            }),
            Err(_) => Err(Failure { at: Instant::now(), error: anyhow!("thread {name} panicked") }),
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(events) = &self.0 {
            // An error means that the soak is over and joins the thread anyway.
            events.send(Event::Failed).ok();
        }
    }
}

/// How many batches of references may wait to be dropped; more make the workers wait.
const BATCHES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    use anyhow::bail;

    use crate::soak::{schedule, stage::tests::small_stage};

    #[test]
    fn a_thread_that_fails_raises_the_alarm_and_is_named() {
        let server = Server::listen(0).unwrap();
        let stage = small_stage(server.address());
        let (sender, events) = crossbeam_channel::unbounded();
        thread::scope(|scope| {
            let (crew, _batches) = Crew::new(scope, &stage, &server, sender);
            let failing = crew.spawn("one".to_owned(), || -> Result<()> { bail!("no luck") });
            assert_eq!(events.recv(), Ok(Event::Failed));
            let error = failing.unwrap().join().unwrap_err();
            assert_eq!(format!("{error:#}"), "thread one failed: no luck");

            let panicking = crew.spawn("two".to_owned(), || -> Result<()> { panic!("at once") });
            assert_eq!(events.recv(), Ok(Event::Failed));
            let error = panicking.unwrap().join().unwrap_err();
            assert_eq!(error.to_string(), "thread two panicked");

            let fine = crew.spawn("three".to_owned(), || Ok(3));
            assert_eq!(fine.unwrap().join().unwrap(), 3);
            assert!(events.is_empty());
        });
    }

    #[test]
    fn a_crew_that_was_never_let_in_ends() {
        let server = Server::listen(0).unwrap();
        let stage = small_stage(server.address());
        let (sender, _events) = crossbeam_channel::unbounded();
        thread::scope(|scope| {
            let (mut crew, batches) = Crew::new(scope, &stage, &server, sender);
            crew.start(batches, schedule::act(Instant::now(), 1)).unwrap();
            crew.finish().unwrap();
        });
    }
}
