//! The token bucket of a node with a quota.
//!
//! Tokens are nanoseconds of CPU time. They come at `quota / period`, exactly (what a division leaves
//! over is kept), up to the capacity: a slice for each CPU that the quota is worth, or the burst,
//! whichever is more. (With one slice for many CPUs, what comes while a CPU is waited for would be lost:
//! 2 % of a quota of 1.9 CPUs on two.) A slice takes its
//! estimate out of the bucket when it is picked, and the rest, or a part back, when it is settled; so
//! slices that run at once do not spend the same tokens. A bucket at zero or below throttles its node
//! until it has [`Quota::enough`]: what rate brings in 1 ms, so that it is not released for crumbs.
//! Debt is never forgotten: it is paid back at the rate, and that is what makes the bound.
//!
//! While work is held back, up to 2 ms more than the capacity can come in: whoever releases may be
//! late, and that is not the group's loss.
//!
//! Source: the token bucket of J. Turner, "New directions in communications", 1986, with debt.

use std::time::Duration;

use super::{bandwidth::Bandwidth, stats::NodeStats};

/// No slice is shorter, whatever the tokens: 20 us. (Debt pays for it.)
pub(super) const SLICE_LEAST: u64 = 20_000;

/// Nothing is released with less: 10 us.
const ENOUGH_LEAST: u64 = 10_000;
/// Released with what comes in this time: 1 ms.
const ENOUGH_TIME: u64 = 1_000_000;
/// Whoever releases may be this late: 2 ms.
const LATE: u64 = 2_000_000;
/// No release is further away than this: 146 years.
const FURTHEST: u64 = 1 << 62;

/// `quota` tokens every `period`, both in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Rate {
    quota: u64,
    period: u64,
}

impl Rate {
    /// Whole tokens that come in a time, and what is left over, in parts of a token times the period.
    fn tokens(self, elapsed: u64, rest: u64) -> (u64, u64) {
        let parts = elapsed.checked_mul(self.quota).and_then(|parts| parts.checked_add(rest));
        if let Some(parts) = parts {
            return (parts / self.period, parts % self.period);
        }
        let parts = u128::from(elapsed) * u128::from(self.quota) + u128::from(rest);
        let period = u128::from(self.period);
        (narrow(parts / period), narrow(parts % period))
    }

    /// How long it takes until so many tokens have come.
    fn time(self, tokens: u64, rest: u64) -> u64 {
        let parts = u128::from(tokens) * u128::from(self.period);
        narrow(parts.saturating_sub(u128::from(rest)).div_ceil(u128::from(self.quota)))
    }
}

/// What a node with a quota has, and what it had with former ones.
#[derive(Debug, Default)]
pub(super) struct Quota {
    bandwidth: Bandwidth,
    rate: Option<Rate>,
    slice: u64,
    tokens: i64,
    /// The most tokens there may be: the capacity, or what a late release brought, until that is used.
    most: i64,
    rest: u64,
    filled: u64,
    is_throttled: bool,
    is_awaited: bool,
    held_since: Option<u64>,
    period_start: u64,
    period_usage: u64,
    stats: NodeStats,
}

impl Quota {
    /// `in_flight`: estimates of the slices that run under the node, which are settled later.
    pub(super) fn set(&mut self, bandwidth: Bandwidth, slice: u64, in_flight: u64, now: u64) {
        self.refill(now);
        let had_rate = self.rate.is_some();
        self.close_period();
        self.period_start = now;
        self.bandwidth = bandwidth;
        self.slice = slice;
        self.rate = bandwidth
            .quota()
            .map(|quota| Rate { quota: nanos(quota), period: nanos(bandwidth.period()) });
        self.rest = 0;
        self.filled = now;
        self.most = signed(self.capacity());
        self.tokens = match had_rate {
            true => self.tokens.min(self.most),
            false => self.most.saturating_sub_unsigned(in_flight),
        };
    }

    pub(super) fn bandwidth(&self) -> Bandwidth {
        self.bandwidth
    }

    pub(super) fn is_throttled(&self) -> bool {
        self.is_throttled
    }

    pub(super) fn throttle(&mut self) {
        self.is_throttled = true;
        self.most = signed(self.capacity());
    }

    pub(super) fn release(&mut self) {
        self.is_throttled = false;
        self.most = self.most.max(self.tokens);
    }

    /// No tokens are left, and they count.
    pub(super) fn is_dry(&self) -> bool {
        self.rate.is_some() && self.tokens <= 0
    }

    /// As many tokens as a node needs that is to be released; or they do not count.
    pub(super) fn is_enough(&self) -> bool {
        self.rate.is_none_or(|rate| self.tokens >= signed(self.enough(rate)))
    }

    /// When there will be enough.
    pub(super) fn due(&self) -> u64 {
        let Some(rate) = self.rate else { return self.filled };
        let missing = i128::from(self.enough(rate)) - i128::from(self.tokens);
        let missing = u64::try_from(missing.max(0)).unwrap_or(u64::MAX);
        self.filled.saturating_add(rate.time(missing, self.rest).min(FURTHEST))
    }

    /// How long a slice may be at most.
    pub(super) fn longest(&self) -> u64 {
        match self.rate {
            None => u64::MAX,
            Some(_) => u64::try_from(self.tokens).unwrap_or(0).max(SLICE_LEAST),
        }
    }

    /// A slice is picked, and will take about as much.
    pub(super) fn draw(&mut self, estimate: u64) {
        self.tokens = self.tokens.saturating_sub_unsigned(estimate);
    }

    /// A slice took `cost`; `estimate` was drawn for it.
    pub(super) fn settle(&mut self, estimate: u64, cost: u64, now: u64) {
        self.turn(now, signed(estimate).saturating_sub(signed(cost)));
        self.count(cost, now);
    }

    pub(super) fn refill(&mut self, now: u64) {
        self.turn(now, 0);
    }

    /// What was drawn too much and what has come since; both at once, because a bucket that is full
    /// for a moment between the two would lose what comes.
    fn turn(&mut self, now: u64, back: i64) {
        let Some(rate) = self.rate else { return };
        let (gained, rest) = rate.tokens(now.saturating_sub(self.filled), self.rest);
        (self.filled, self.rest) = (self.filled.max(now), rest);
        let most = match self.is_awaited {
            true => signed(self.capacity().saturating_add(rate.tokens(LATE, 0).0)),
            false => self.most,
        };
        let tokens = self.tokens.saturating_add(back).saturating_add(signed(gained));
        if tokens >= most {
            self.rest = 0;
        }
        self.tokens = tokens.min(most);
    }

    fn capacity(&self) -> u64 {
        let cpus = self.rate.map_or(1, |rate| rate.quota.div_ceil(rate.period));
        self.slice.saturating_mul(cpus).max(nanos(self.bandwidth.burst()))
    }

    fn enough(&self, rate: Rate) -> u64 {
        rate.tokens(ENOUGH_TIME, 0).0.clamp(ENOUGH_LEAST, self.slice)
    }

    /// Work that waits is let in at this time, unless something changes.
    pub(super) fn await_due(&mut self) -> u64 {
        self.is_awaited = true;
        self.due()
    }

    /// Work has been held back, and the figures say so from now on.
    pub(super) fn hold(&mut self, now: u64) {
        if self.held_since.is_none() {
            self.held_since = Some(now);
            self.stats.nr_throttled += 1;
        }
    }

    /// No work is held back any more.
    pub(super) fn let_go(&mut self, now: u64) {
        self.is_awaited = false;
        if let Some(since) = self.held_since.take() {
            self.stats.throttled += now.saturating_sub(since);
        }
    }

    fn count(&mut self, cost: u64, now: u64) {
        let Some(rate) = self.rate.filter(|_| cost > 0) else { return };
        let elapsed = now.saturating_sub(self.period_start);
        if elapsed >= rate.period {
            self.close_period();
            self.period_start = now - elapsed % rate.period;
        }
        if self.period_usage == 0 {
            self.stats.nr_periods += 1;
        }
        self.period_usage = self.period_usage.saturating_add(cost);
    }

    fn close_period(&mut self) {
        let burst = self.period_burst();
        self.stats.nr_bursts += u64::from(burst > 0);
        self.stats.burst = self.stats.burst.saturating_add(burst);
        self.period_usage = 0;
    }

    /// How much of what was used in this period was saved up before. A slice is settled in the period
    /// in which it ends, so one slice more than the quota is not yet a burst.
    fn period_burst(&self) -> u64 {
        let quota = self.rate.map_or(u64::MAX, |rate| rate.quota);
        let is_burst = !self.bandwidth.burst().is_zero()
            && self.period_usage > quota.saturating_add(self.slice);
        if is_burst { self.period_usage - quota } else { 0 }
    }

    /// Fills in what the quota knows.
    pub(super) fn add_to(&self, stats: &mut NodeStats, now: u64) {
        let burst = self.period_burst();
        let held = self.held_since.map_or(0, |since| now.saturating_sub(since));
        stats.nr_periods = self.stats.nr_periods;
        stats.nr_throttled = self.stats.nr_throttled;
        stats.throttled = self.stats.throttled.saturating_add(held);
        stats.nr_bursts = self.stats.nr_bursts + u64::from(burst > 0);
        stats.burst = self.stats.burst.saturating_add(burst);
    }
}

fn nanos(duration: Duration) -> u64 {
    narrow(duration.as_nanos())
}

fn narrow(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
