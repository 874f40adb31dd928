//! `memory.high` as back-pressure: who charges above it pays with time, at a point of its own choice.
//!
//! A charge above high is granted, and what it charged is added to its group's *debt*; that is done where a charge
//! reaches the counters, so one that is served from what was charged ahead pays nothing for it. A task pays between
//! two steps of its work, by awaiting [`MemoryCss::over_high`]:
//!
//! 1. Without debt there is nothing to pay: one load.
//! 2. What is above high is reclaimed, benign and by eviction, at each level.
//! 3. If a level is still above, the debt is taken, and slept for: the time grows with the square of how far usage is
//!    above high, at the level where that is furthest, and with the debt. No more than 2 s at a time.
//! 4. A delay of 10 ms or less is not worth sleeping. The debt stays, and counts when there is more.
//! 5. Usage within high everywhere ends the sleep; a sleep that is given up leaves the rest of the debt.
//!
//! # Orderings
//!
//! Edge `sleep↔uncharge`, Dekker's argument: who sleeps puts its waker in the list, passes the heavy barrier and looks
//! at usage again; who uncharges changes usage, passes the light barrier and looks whether anybody sleeps. What an
//! uncharge leaves with its thread wakes nobody: sleepers look every 20 ms by themselves.
//!
//! # Source
//!
//! The formula is that of Linux's `calculate_high_delay` (`mm/memcontrol.c`): by it 1 % above costs 6 ms for 256 KiB
//! charged, 10 % 639 ms, 18 % the 2 s. There a delay that is too short is forgiven; here it is put off, as we may be asked
//! after each small step.
//!
//! # Tests
//!
//! Below, and `tests/high.rs`.

use std::{
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use slab::Slab;

use crate::{
    account::Account,
    css::MemoryCss,
    node::{NONE, Node},
    pocket::{FENCED, heavy_for},
    pressure::Stall,
    reclaim::{self, Goal, Pass},
    sync::{Arc, AtomicU64, Mutex, OnceLock, Ordering, light, light_fenced, thread},
    timer,
    wait::{self, Sleeper},
};

/// So much debt is slept for by the kernel's table: 64 pages.
const BATCH_BITS: u32 = 18;

/// Bits after the point of an overage.
const PRECISION: u32 = 20;

/// How far the square of an overage is scaled down.
const SCALING: u32 = 14;

/// The longest delay.
const LONGEST: Duration = Duration::from_secs(2);

/// A delay that is not longer is not worth it.
const SHORTEST: Duration = Duration::from_millis(10);

/// How often a sleeper looks by itself.
const LOOK: Duration = Duration::from_millis(20);

/// What a group owes, and who sleeps until it is within high.
#[derive(Debug, Default)]
pub(crate) struct Throttling {
    debt: AtomicU64,
    sleepers: OnceLock<Box<Sleepers>>,
}

#[derive(Debug, Default)]
struct Sleepers {
    count: AtomicU64,
    wakers: Mutex<Slab<Option<Waker>>>,
}

/// Pays what a group owes for charges above its high, or above that of one above it.
///
/// Made by [`MemoryCss::over_high`]. Dropped before it is ready, it leaves what was not slept for.
#[must_use = "nothing is paid until it is awaited"]
pub struct Throttle {
    /// `None` if there was nothing to pay.
    account: Option<Arc<Account>>,
    sleep: Option<Sleep>,
}

/// A sleep that was begun.
struct Sleep {
    payer: Arc<Node>,
    debt: u64,
    delay: Duration,
    deadline: Duration,
    /// The levels that know our waker, and by what number.
    told: Vec<(Arc<Node>, usize)>,
    /// Time lost by sleeping.
    _stall: Stall,
}

/// Wakes a thread that polls.
struct Unpark(thread::Thread);

impl MemoryCss {
    /// Pays for what this group charged above `memory.high`: see [`set_high`](Self::set_high).
    ///
    /// To be awaited between two steps of work, while nothing is held that others need. It reclaims above high, and
    /// if that is not enough it sleeps: 6 ms for 256 KiB charged at 1 % above, 639 ms at 10 %, never more than 2 s, and
    /// not at all for less than 10 ms. It ends as soon as usage is within high, and at once in a group that is removed or a victim.
    ///
    /// # Concurrency
    ///
    /// Without debt it costs one load. The group's tasks share its debt: who comes first pays it.
    #[doc(alias = "mem_cgroup_handle_over_high")]
    pub fn over_high(&self) -> Throttle {
        let account = (self.node.debt() > 0).then(|| Arc::clone(&self.account));
        Throttle { account, sleep: None }
    }

    /// Pays as [`over_high`](Self::over_high) does, by blocking this thread; returns whether it is paid.
    ///
    /// With a `timeout`, for that long at most by the controller's clock.
    ///
    /// Never inside a task: it would hold up all others of its thread.
    pub fn throttle_blocking(&self, timeout: Option<Duration>) -> bool {
        let mut throttle = self.over_high();
        let Some(account) = &throttle.account else { return true };
        let shared = Arc::clone(&account.node().shared);
        let timeout = timeout.unwrap_or(Duration::MAX);
        let deadline = shared.clock.now().saturating_add(timeout);
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        while Pin::new(&mut throttle).poll(&mut Context::from_waker(&waker)).is_pending() {
            let left = deadline.saturating_sub(shared.clock.now());
            if left.is_zero() {
                return false;
            }
            thread::park_timeout(left.min(LOOK));
        }
        true
    }

    /// Wraps a future, so that it pays before each of its steps that follows a debt.
    pub fn throttled<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        let account = Arc::clone(&self.account);
        async move {
            let mut future = pin!(future);
            let mut throttle = None;
            poll_fn(|cx| {
                if throttle.is_none() && account.node().debt() > 0 {
                    throttle = Some(Throttle { account: Some(Arc::clone(&account)), sleep: None });
                }
                if let Some(owing) = &mut throttle {
                    if Pin::new(owing).poll(cx).is_pending() {
                        return Poll::Pending;
                    }
                    throttle = None;
                }
                future.as_mut().poll(cx)
            })
            .await
        }
    }
}

impl Future for Throttle {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(account) = &self.account else { return Poll::Ready(()) };
        let node = Arc::clone(&account.node());
        if self.sleep.is_none() && !node.shared.is_inherited() {
            self.sleep = Sleep::begin(&node);
        }
        if node.shared.is_inherited() {
            self.sleep = None;
        }
        let Some(sleep) = &mut self.sleep else {
            self.account = None;
            return Poll::Ready(());
        };
        if sleep.is_over(&node) || sleep.go_on(&node, cx.waker()) {
            sleep.debt = 0;
            self.sleep = None;
            self.account = None;
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let until = self.sleep.as_ref().map(|sleep| sleep.deadline);
        f.debug_struct("Throttle").field("until", &until).finish_non_exhaustive()
    }
}

impl Sleep {
    /// Takes what `node` owes; `None` if nothing is to be slept for.
    fn begin(node: &Arc<Node>) -> Option<Self> {
        if node.debt() == 0 {
            return None;
        }
        for level in node.levels().filter(|level| level.overage() > 0) {
            reclaim::run(level, None, Goal::WithinHigh, Pass::Evict);
        }
        // Ordering: Relaxed, here and below: a sum that one at a time takes.
        let debt = node.rare().throttling.debt.swap(0, Ordering::Relaxed);
        let overage = highest_overage(node);
        if overage == 0 || node.is_closed() || node.is_killed() {
            return None;
        }
        let delay = delay(overage, debt);
        if delay <= SHORTEST {
            node.rare().throttling.owe(debt);
            return None;
        }
        let deadline = node.shared.clock.now().saturating_add(delay);
        let (payer, told) = (Arc::clone(node), Vec::new());
        Some(Self { payer, debt, delay, deadline, told, _stall: node.stall() })
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_sub(self.payer.shared.clock.now())
    }

    fn is_over(&self, node: &Arc<Node>) -> bool {
        self.left().is_zero()
            || self.payer.is_closed()
            || self.payer.is_killed()
            || highest_overage(node) == 0
    }

    /// Has `waker` woken when there may be something new; returns whether it is over by now.
    fn go_on(&mut self, node: &Arc<Node>, waker: &Waker) -> bool {
        self.untell();
        for level in node.levels().filter(|level| level.overage() > 0) {
            self.told.push((Arc::clone(level), level.rare().throttling.tell(waker.clone())));
        }
        heavy_for(node.key);
        if self.is_over(node) {
            return true;
        }
        timer::wake_after(self.left().min(LOOK), waker);
        false
    }

    fn untell(&mut self) {
        if self.payer.shared.is_inherited() {
            return self.told.clear(); // a thread that is not there may hold the lock
        }
        for (level, number) in self.told.drain(..) {
            level.rare().throttling.untell(number);
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.untell();
        let left = self.left().as_nanos() * u128::from(self.debt) / self.delay.as_nanos().max(1);
        self.payer.rare().throttling.owe(u64::try_from(left).unwrap_or(self.debt));
    }
}

impl Throttling {
    /// Adds what was charged above high.
    pub(crate) fn owe(&self, bytes: u64) {
        if bytes > 0 {
            self.debt.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn tell(&self, waker: Waker) -> usize {
        let sleepers = self.sleepers.get_or_init(Box::default);
        let number = sleepers.wakers.lock().insert(Some(waker));
        // Ordering: Relaxed (edge sleep↔uncharge): ordered before the look at usage by the barrier.
        sleepers.count.fetch_add(1, Ordering::Relaxed);
        number
    }

    fn untell(&self, number: usize) {
        let Some(sleepers) = self.sleepers.get() else { return };
        // Ordering: Relaxed: one look too many, at worst.
        sleepers.count.fetch_sub(1, Ordering::Relaxed);
        let waker = sleepers.wakers.lock().try_remove(number);
        drop(waker);
    }
}

impl Node {
    /// Returns what the group was charged above high and has not paid for.
    fn debt(&self) -> u64 {
        // Ordering: Relaxed: a sum that one at a time takes.
        self.rare.get().map_or(0, |rare| rare.throttling.debt.load(Ordering::Relaxed))
    }

    /// Wakes those who sleep until usage, which is `usage` now, is within high.
    #[inline]
    pub(crate) fn wake_throttled(&self, usage: u64) {
        if let Some(sleepers) = self.rare.get().and_then(|rare| rare.throttling.sleepers.get())
            && !self.shared.is_inherited()
        {
            self.wake(sleepers, usage);
        }
    }

    #[cold]
    fn wake(&self, sleepers: &Sleepers, usage: u64) {
        if self.key & FENCED == 0 {
            light();
        } else {
            light_fenced();
        }
        // Ordering: Relaxed (edge sleep↔uncharge): ordered after the change of usage by the barrier.
        if sleepers.count.load(Ordering::Relaxed) == 0 || usage > self.bound() {
            return;
        }
        let mut all = sleepers.wakers.lock();
        let wakers: Vec<_> = all.iter_mut().filter_map(|(_, waker)| waker.take()).collect();
        drop(all);
        wait::wake(wakers.into_iter().map(Sleeper::Task).collect());
    }

    fn bound(&self) -> u64 {
        // Ordering: Relaxed: a setting.
        self.high.load(Ordering::Relaxed)
    }

    /// Returns how far usage is above high, as a part of that, with 20 bits after the point.
    fn overage(&self) -> u64 {
        match self.bound() {
            NONE => 0,
            high => overage(self.counter.current(), high),
        }
    }
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn highest_overage(node: &Arc<Node>) -> u64 {
    node.levels().map(|level| level.overage()).max().unwrap_or(0)
}

fn overage(usage: u64, high: u64) -> u64 {
    let above = u128::from(usage.saturating_sub(high)) << PRECISION;
    u64::try_from(above / u128::from(high.max(1))).unwrap_or(u64::MAX)
}

/// Returns how long to sleep for `debt` bytes charged at `overage`.
fn delay(overage: u64, debt: u64) -> Duration {
    // Above 2^30 a single byte costs the longest delay. And 2^60 of the product is more than 2 s.
    let overage = u128::from(overage.min(1 << 30));
    let product = (overage * overage * u128::from(debt)).min(1 << 60);
    let nanos = (product * 1_000_000_000) >> (PRECISION + SCALING + BATCH_BITS);
    u64::try_from(nanos).map_or(LONGEST, Duration::from_nanos).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const M: u64 = 1 << 20;

    /// Milliseconds for 256 KiB at 100 to 118 MiB, high being 100: the table in the kernel's source.
    const KERNEL: [u128; 19] = [
        0, 6, 25, 57, 102, 159, 230, 313, 409, 518, 639, 774, 921, 1081, 1254, 1439, 1638, 1849,
        2000,
    ];

    #[test]
    fn delays_are_those_of_the_kernels_table() {
        let delays = (100..=118).map(|usage| delay(overage(usage * M, 100 * M), 64 << 12));
        let millis: Vec<u128> = delays.map(|delay| delay.as_millis()).collect();
        assert_eq!(millis, KERNEL);
    }

    #[test]
    fn delays_grow_with_the_debt_and_end_at_two_seconds() {
        let of = |usage, high, debt| delay(overage(usage, high), debt);
        assert_eq!(of(110 * M, 100 * M, 128 << 10).as_millis(), 319);
        assert_eq!(of(110 * M, 100 * M, 512 << 10).as_millis(), 1279);
        assert_eq!(of(100 * M, 100 * M, u64::MAX), Duration::ZERO);
        assert_eq!(of(50, 100, u64::MAX), Duration::ZERO);
        for (usage, high, debt) in
            [(110 * M, 100 * M, M), (u64::MAX, 0, u64::MAX), (u64::MAX, 0, 1), (1 << 13, 0, 1)]
        {
            assert_eq!(of(usage, high, debt), LONGEST, "{usage} above {high}");
        }
        assert_eq!(of(u64::MAX, u64::MAX - 1, 1), Duration::ZERO);
    }
}
