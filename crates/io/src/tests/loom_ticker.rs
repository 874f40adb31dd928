//! The ticker: whoever calls it is heard, whether it sleeps, looks or is about to end; and it ends.
//!
//! Who waits for it in vain is a deadlock, which loom finds.

use std::time::Duration;

use loom::{sync::Condvar, thread};

use super::deep;
use crate::{
    sync::{Arc, Instant, Mutex, pass, pass_asleep, rest},
    ticker::{Ticker, Ticking},
};

/// Less than the ticker stays when nothing is due.
const SHORT: Duration = Duration::from_millis(10);

/// More than that.
const LONG: Duration = Duration::from_secs(2);

/// What is to be done at a time.
#[derive(Default)]
struct Desk {
    ticker: Ticker,
    work: Mutex<Work>,
    is_done: Condvar,
}

#[derive(Default)]
struct Work {
    due: Vec<Instant>,
    done: usize,
}

impl Desk {
    /// Has something done in so long.
    fn ask(self: &Arc<Self>, delay: Duration) {
        let due = Instant::now().checked_add(delay).expect("it is not long");
        self.work.lock().due.push(due);
        Ticker::call(self, delay);
    }

    /// Waits until so much is done.
    fn wait(&self, done: usize) {
        let mut work = self.work.lock();
        while work.done < done {
            work = self.is_done.wait(work).expect("the model does not panic");
        }
        assert_eq!(work.done, done, "something is done twice");
    }
}

impl Ticking for Desk {
    fn ticker(&self) -> &Ticker {
        &self.ticker
    }

    fn tick(&self) -> Option<Duration> {
        let now = Instant::now();
        let mut work = self.work.lock();
        let all = work.due.len();
        work.due.retain(|due| *due > now);
        work.done += all - work.due.len();
        let next = work.due.iter().min().map(|due| due.saturating_duration_since(now));
        drop(work);
        self.is_done.notify_all();
        next
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.ticker.stop();
        }
    }
}

/// Drops the desk; the ticker ends, though no time passes.
fn end(desk: Arc<Desk>) {
    drop(desk);
    rest();
}

#[test]
fn a_call_meets_the_end_of_the_thread() {
    deep(|| {
        let desk = Arc::<Desk>::default();
        desk.ask(Duration::ZERO);
        desk.wait(1);
        pass(LONG);
        desk.ask(Duration::ZERO);
        desk.wait(2);
        end(desk);
    });
}

#[test]
fn who_calls_for_a_time_before_is_heard() {
    deep(|| {
        let desk = Arc::<Desk>::default();
        desk.ask(SHORT);
        desk.ask(Duration::ZERO);
        desk.wait(1);
        pass_asleep(SHORT);
        desk.wait(2);
        end(desk);
    });
}

#[test]
fn two_call_at_once() {
    loom::model(|| {
        let desk = Arc::<Desk>::default();
        let other = thread::spawn({
            let desk = Arc::clone(&desk);
            move || desk.ask(SHORT)
        });
        desk.ask(Duration::ZERO);
        desk.wait(1);
        other.join().expect("the model does not panic");
        pass_asleep(SHORT);
        desk.wait(2);
        end(desk);
    });
}
