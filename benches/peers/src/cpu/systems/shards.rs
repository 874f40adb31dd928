//! Executors that stay on their thread: one a processor, each with a queue of orders from outside.

use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use anyhow::{Result, anyhow};
use benches::system::processors;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::cpu::{
    load::Job,
    system::{Plan, Running},
};

/// What an executor is told to do.
pub(super) enum Order {
    /// Spawn a job in a group.
    Run(usize, Job),
    /// Spawn so many batches and await them; say how long that took.
    Join(u32, mpsc::Sender<Duration>),
}

/// The orders of one executor, and where it says that it runs.
pub(super) type Orders = (UnboundedReceiver<Order>, mpsc::Sender<()>);

/// Executors on threads of their own.
pub(super) struct Shards {
    name: &'static str,
    senders: Mutex<Vec<UnboundedSender<Order>>>,
    threads: Mutex<Vec<thread::JoinHandle<Result<()>>>>,
    /// The next executor for each group, so that all have their part of each.
    next: Vec<AtomicUsize>,
}

impl Shards {
    /// Starts an executor on a thread for each processor, by number.
    pub(super) fn start(
        name: &'static str,
        plan: &Plan,
        run: fn(usize, &Plan, Orders) -> Result<()>,
    ) -> Result<Self> {
        let next = plan.groups.iter().map(|_| AtomicUsize::new(0)).collect();
        let shards = Self { name, senders: Mutex::default(), threads: Mutex::default(), next };
        let (ready, is_ready) = mpsc::channel();
        for number in 0..processors() {
            let (sender, orders) = unbounded_channel();
            let (plan, ready) = (plan.clone(), ready.clone());
            let thread = move || run(number, &plan, (orders, ready));
            let thread = thread::Builder::new().name(format!("{name}-{number}")).spawn(thread)?;
            lock(&shards.threads).push(thread);
            lock(&shards.senders).push(sender);
        }
        drop(ready);
        if is_ready.iter().take(processors()).count() < processors() {
            shards.stop()?;
            return Err(anyhow!("{name} did not start"));
        }
        Ok(shards)
    }
}

impl Running for Shards {
    fn spawn(&self, group: usize, job: Job) -> Result<()> {
        let senders = lock(&self.senders);
        // Ordering: Relaxed: any order will do.
        let number = self.next[group].fetch_add(1, Ordering::Relaxed) % senders.len().max(1);
        let sender = senders.get(number).ok_or_else(|| anyhow!("{} has stopped", self.name))?;
        sender.send(Order::Run(group, job)).map_err(|_| anyhow!("{} has ended", self.name))
    }

    fn spawn_and_join(&self, batches: u32) -> Result<Option<Duration>> {
        let (sender, time) = mpsc::channel();
        let count = {
            let senders = lock(&self.senders);
            let each = batches / u32::try_from(senders.len())?;
            for executor in senders.iter() {
                let order = Order::Join(each, sender.clone());
                executor.send(order).map_err(|_| anyhow!("{} has ended", self.name))?;
            }
            senders.len()
        };
        drop(sender);
        let times: Vec<Duration> = time.iter().collect();
        anyhow::ensure!(times.len() == count, "{} has ended", self.name);
        Ok(times.into_iter().max())
    }

    fn stop(&self) -> Result<()> {
        lock(&self.senders).clear();
        let threads = std::mem::take(&mut *lock(&self.threads));
        // All of them, whatever becomes of one.
        let ends: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        ends.into_iter().try_for_each(|end| end.map_err(|_| anyhow!("{} panicked", self.name))?)
    }
}

impl fmt::Debug for Shards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shards").field(&self.name).finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
