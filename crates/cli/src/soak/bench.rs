//! Work on the CPUs that the controller `cpu` gives out: a member of a group, and pieces of work as its jobs.
//!
//! A tenant's thread computes nothing itself. Each piece is a job of its member, for which the thread waits; so
//! the group where the member sits is charged, and its turn is waited for. The member goes wherever its task is
//! moved, and the controller is bound, with what it has to do.
//!
//! A kill cancels all jobs of the members that it tells. One of these, the *watch*, does nothing but wait for that:
//! its end tells the thread.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use anyhow::{Context as _, Result};
use fief_core::Task;
use fief_cpu::{Group, JoinHandle};

use crate::{
    soak::{
        cancel::Cancel,
        stage::{Stage, Who},
        tally::Tally,
    },
    sync::{Arc, Flag, Mutex},
};

/// Who computes a piece of work.
pub(crate) trait Compute {
    /// Has `work` run; `None` if it was cancelled.
    ///
    /// # Errors
    ///
    /// When it cannot be run, and when it panics.
    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Option<T>>;
}

/// A member, whose jobs are entered into the books of its tenant.
#[derive(Debug)]
pub(crate) struct Bench {
    member: Group,
    tally: Arc<Tally>,
    watch: Mutex<Option<Watching>>,
}

/// A job whose end is waited for.
#[derive(Debug)]
pub(crate) struct Job<T> {
    handle: JoinHandle<T>,
    tally: Arc<Tally>,
}

/// A watch, and how to end it with nobody told.
#[derive(Debug)]
struct Watching {
    job: Job<()>,
    is_over: Arc<Flag>,
}

/// The job that a kill ends.
struct Watch {
    cancel: Arc<Cancel>,
    is_over: Arc<Flag>,
}

/// What a job enters into the books when it ends, or is dropped before.
struct Stub {
    tally: Arc<Tally>,
    has_ended: bool,
}

impl Bench {
    /// Makes a member, at the root of both trees.
    ///
    /// # Errors
    ///
    /// Those of making a task.
    pub(crate) fn new(stage: &Stage, who: Who, name: &str) -> Result<Self> {
        let task = stage.trees.registry.create_task(name)?;
        let member = Group::of(&stage.cpu, task)?;
        Ok(Self { member, tally: Arc::clone(&stage.tenant(who).tally), watch: Mutex::default() })
    }

    pub(crate) fn task(&self) -> &Task {
        self.member.task()
    }

    /// Makes kills of the member known to `cancel` from now on: the next one, if one was before.
    ///
    /// # Errors
    ///
    /// Those of spawning.
    pub(crate) fn watch(&self, cancel: &Arc<Cancel>) -> Result<()> {
        self.unwatch()?;
        let is_over = Arc::new(Flag::default());
        let watch = Watch { cancel: Arc::clone(cancel), is_over: Arc::clone(&is_over) };
        let job = self.spawn(watch)?;
        *self.watch.lock() = Some(Watching { job, is_over });
        Ok(())
    }

    /// Waits until a kill that there was is known to who watches. A worker that has a piece of it at hand may be the one
    /// to say so, a little later than the kill returns.
    ///
    /// # Errors
    ///
    /// When the watch panicked.
    pub(crate) fn hear(&self) -> Result<()> {
        let watch = self.watch.lock().take();
        watch.map_or(Ok(()), |watch| watch.job.join().map(drop))
    }

    /// Has `work` run as a job of the member.
    ///
    /// # Errors
    ///
    /// When there are no CPUs: not before the soak ends.
    pub(crate) fn spawn<F>(&self, work: F) -> Result<Job<F::Output>>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let stub = self.begin();
        let handle = self.member.spawn(async move {
            let result = work.await;
            stub.end();
            result
        })?;
        Ok(Job { handle, tally: Arc::clone(&self.tally) })
    }

    /// Enters a job that is about to be spawned.
    fn begin(&self) -> Stub {
        self.tally.jobs_spawned.add(1);
        Stub { tally: Arc::clone(&self.tally), has_ended: false }
    }

    fn unwatch(&self) -> Result<()> {
        let former = self.watch.lock().take();
        if let Some(Watching { job, is_over }) = former {
            is_over.raise();
            job.handle.abort();
            job.join()?;
        }
        Ok(())
    }
}

impl Compute for Bench {
    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Option<T>> {
        let stub = self.begin();
        let handle = self.member.spawn_fn(move || {
            let result = work();
            stub.end();
            result
        })?;
        Job { handle, tally: Arc::clone(&self.tally) }.join()
    }
}

impl<T> Job<T> {
    /// Waits for the end; `None` if the job was cancelled.
    ///
    /// # Errors
    ///
    /// When it panicked.
    pub(crate) fn join(self) -> Result<Option<T>> {
        match self.handle.join() {
            Ok(result) => {
                self.tally.jobs_answered.add(1);
                Ok(Some(result))
            }
            Err(error) if error.is_cancelled() => {
                self.tally.jobs_given_up.add(1);
                Ok(None)
            }
            Err(error) => Err(error).context("a piece of work failed"),
        }
    }
}

impl Future for Watch {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.is_over.is_raised() {
            self.cancel.cancel();
        }
    }
}

impl Stub {
    fn end(mut self) {
        self.has_ended = true;
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        let Tally { jobs_ended, jobs_cancelled, .. } = &*self.tally;
        if self.has_ended { jobs_ended } else { jobs_cancelled }.add(1);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // It cannot panic, and what the books say of it is checked.
        self.unwatch().ok();
    }
}

/// Lets others run, in the middle of a piece of work, if it is their turn.
///
/// A piece that was cancelled meanwhile goes on: its end is near.
pub(crate) fn give_way() {
    fief_cpu::checkpoint().unwrap_or_default();
}

/// Lets others run.
pub(crate) async fn yield_now() {
    let mut is_again = false;
    std::future::poll_fn(|context| {
        if is_again {
            return Poll::Ready(());
        }
        is_again = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    use crate::soak::{stage::tests::small_stage, tree};

    /// Computes at once, on the thread that asks.
    pub(crate) struct Here;

    impl Compute for Here {
        fn run<T: Send + 'static>(
            &self,
            work: impl FnOnce() -> T + Send + 'static,
        ) -> Result<Option<T>> {
            Ok(Some(work()))
        }
    }

    fn books(tally: &Tally) -> [u64; 5] {
        let Tally {
            jobs_spawned, jobs_ended, jobs_cancelled, jobs_answered, jobs_given_up, ..
        } = tally;
        [jobs_spawned, jobs_ended, jobs_cancelled, jobs_answered, jobs_given_up]
            .map(crate::sync::Count::get)
    }

    #[test]
    fn a_piece_is_computed_once_and_entered() {
        let stage = small_stage(([127, 0, 0, 1], 0).into());
        let bench = Bench::new(&stage, Who::Analytics, "worker").unwrap();
        assert_eq!(bench.run(|| 7).unwrap(), Some(7));
        drop(bench);
        stage.pool.shutdown();
        assert_eq!(books(&stage.tenant(Who::Analytics).tally), [1, 1, 0, 1, 0]);
        assert_eq!(stage.trees.registry.stats().tasks, 0);
    }

    #[test]
    fn a_kill_cancels_what_the_members_of_a_group_do() {
        let stage = small_stage(([127, 0, 0, 1], 0).into());
        tree::open(&stage, Who::Backup).unwrap();
        tree::bind(&stage).unwrap();
        let tally = &stage.tenant(Who::Backup).tally;
        let group = stage.trees.of(Who::Backup).unwrap();
        let bench = Bench::new(&stage, Who::Backup, "worker").unwrap();
        let cancel = Cancel::new(tally);
        for kill in 1..=2 {
            bench.watch(&cancel).unwrap();
            stage.trees.join(bench.task(), &group).unwrap();
            let endless = bench.spawn(std::future::pending::<()>()).unwrap();
            assert_eq!(group.tenant.kill().unwrap(), 1);
            assert_eq!(endless.join().unwrap(), None);
            assert!(cancel.is_cancelled());
            assert_eq!(tally.heard.get(), kill);
            stage.trees.leave(bench.task()).unwrap();
            cancel.reset();
        }
        // A watch that is over tells nobody.
        bench.watch(&cancel).unwrap();
        drop(bench);
        assert!(!cancel.is_cancelled());
        stage.pool.shutdown();
        assert_eq!(books(tally), [5, 0, 5, 0, 5]);
    }
}
