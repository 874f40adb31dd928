//! Requests that arrive whether or not those before were served, and the tenant that serves them.
//!
//! Arrivals are random and independent, so that they cannot fall into step with a scheduler.
//! A request is stamped as it is sent, by a thread that belongs to no system and waits for none: nothing
//! is left out while a system is slow. How late the sender itself was is a figure of its own.

use std::{
    collections::VecDeque,
    future::poll_fn,
    mem,
    sync::{Arc, Mutex, PoisonError},
    task::{Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use super::{
    figures::Latencies,
    load::{Job, Load},
    work::Work,
};

/// Work for a request.
pub const SERVICE: Duration = Duration::from_micros(10);
/// The mean time between two requests.
pub const INTERVAL: Duration = Duration::from_millis(1);

/// Where requests wait.
#[derive(Debug, Default)]
pub struct Mailbox(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    sent: VecDeque<Instant>,
    waker: Option<Waker>,
}

impl Mailbox {
    /// Leaves a request and wakes the tenant.
    pub fn send(&self, now: Instant) {
        let waker = {
            let mut inside = self.lock();
            inside.sent.push_back(now);
            inside.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Wakes the tenant, so that it sees that all is over.
    pub fn nudge(&self) {
        let waker = self.lock().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits for requests; there are none at the end.
    async fn receive(&self, load: &Load) -> VecDeque<Instant> {
        poll_fn(|context| {
            let mut inside = self.lock();
            if !inside.sent.is_empty() || load.is_over() {
                return Poll::Ready(mem::take(&mut inside.sent));
            }
            inside.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a tenant is asked for and how it is watched.
#[derive(Clone, Debug, Default)]
pub struct Tenant {
    /// Where its requests arrive.
    pub mailbox: Arc<Mailbox>,
    /// How long requests waited for the first instruction.
    pub waits: Arc<Latencies>,
    /// How long requests took to their end.
    pub ends: Arc<Latencies>,
}

impl Tenant {
    /// Returns the job that serves requests with `service` of work each, added to a count.
    #[must_use]
    pub fn job(&self, load: &Arc<Load>, count: usize, service: Duration) -> Job {
        let (alive, work, tenant) = (load.alive(), Work::get(), self.clone());
        let amount = u64::try_from(service.as_nanos()).expect("a short service");
        Box::pin(async move {
            let load = alive.load();
            while !load.is_over() {
                for sent in tenant.mailbox.receive(load).await {
                    tenant.waits.record(sent.elapsed());
                    work.run(service);
                    load.add(count, amount);
                    tenant.ends.record(sent.elapsed());
                }
            }
        })
    }
}

/// Waits until so many requests were seen, but not for ever; returns how many were not.
#[must_use]
pub fn unseen(sent: u64, seen: &Latencies, patience: Duration) -> u64 {
    let start = Instant::now();
    while seen.count() < sent && start.elapsed() < patience {
        thread::sleep(Duration::from_millis(1));
    }
    sent.saturating_sub(seen.count())
}

/// Calls `send` with the time, at random every `interval` on average, for as long as `span`; returns how
/// late it was itself.
pub fn arrive(
    interval: Duration,
    span: Duration,
    seed: u64,
    mut send: impl FnMut(Instant),
) -> Latencies {
    let (mut random, late) = (fastrand::Rng::with_seed(seed), Latencies::default());
    let (start, mut due) = (Instant::now(), Duration::ZERO);
    loop {
        // The interval between independent arrivals is distributed exponentially.
        due += interval.mul_f64(-(1.0 - random.f64()).ln());
        if due >= span {
            thread::sleep(span.saturating_sub(start.elapsed()));
            return late;
        }
        let due = start + due;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let now = Instant::now();
        late.record(now - due);
        send(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_do_not_wait_for_those_before() {
        let mut count = 0_u32;
        let interval = Duration::from_micros(100);
        arrive(interval, Duration::from_millis(100), 7, |_| {
            count += 1;
            if count == 1 {
                thread::sleep(Duration::from_millis(50));
            }
        });
        assert!((800..1200).contains(&count), "{count} of 1,000 or so");
    }
}
