//! A token bucket that is exact at every rate from 1 to 2^63 - 1 a second.
//!
//! The level counts parts: 10^-9 of a token. So what comes in is `nanoseconds * rate` parts, without
//! a division and without a remainder, however often it is looked at. A level is not bounded below:
//! what is used beyond it is a debt, paid back before the bucket is open again.
//!
//! Numbers: a rate and a time are below 2^63 and 2^64, so what comes in is below 2^127; sums
//! saturate.

/// Parts of a token.
const PARTS: i128 = 1_000_000_000;

/// `rate` 0 means that there is no bucket: it is open and takes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    /// Parts.
    level: i128,
    /// Tokens a second.
    rate: u64,
    /// Tokens.
    burst: u64,
}

impl Bucket {
    /// A full one.
    const fn new(rate: u64, burst: u64) -> Self {
        Self { level: burst as i128 * PARTS, rate, burst }
    }

    pub(super) const fn is_limited(&self) -> bool {
        self.rate > 0
    }

    pub(super) const fn rate(&self) -> u64 {
        self.rate
    }

    #[cfg(test)]
    pub(super) const fn level(&self) -> i128 {
        self.level
    }

    pub(super) const fn burst(&self) -> u64 {
        self.burst
    }

    /// Whether something may be taken even after `tokens` are.
    pub(super) const fn covers(&self, tokens: u64) -> bool {
        self.rate == 0 || self.level > tokens as i128 * PARTS
    }

    /// What came in during `elapsed_ns`; of what is unused, the burst is kept, and `credit_ns` of rate.
    pub(super) fn refill(&mut self, elapsed_ns: u64, credit_ns: u64) {
        let income = i128::from(elapsed_ns) * i128::from(self.rate);
        self.level = self.level.saturating_add(income);
        self.cap(credit_ns);
    }

    /// Forgets what is above the burst and `credit_ns` of rate.
    fn cap(&mut self, credit_ns: u64) {
        let credit = i128::from(credit_ns) * i128::from(self.rate);
        // A bucket without a burst has room for enough to open.
        self.level = self.level.min(credit.max(i128::from(self.burst) * PARTS).max(1));
    }

    pub(super) fn take(&mut self, tokens: u64) {
        if self.is_limited() {
            self.level = self.level.saturating_sub(i128::from(tokens) * PARTS);
        }
    }

    /// Gives back; what does not fit is lost.
    pub(super) fn give(&mut self, tokens: u64, credit_ns: u64) {
        if self.is_limited() {
            self.level = self.level.saturating_add(i128::from(tokens) * PARTS);
            self.cap(credit_ns);
        }
    }

    /// Forgets debt beyond this.
    pub(super) fn forgive(&mut self, tokens: u64) {
        self.level = self.level.max(-i128::from(tokens) * PARTS);
    }

    /// When the level was 0, or will be above it, if it is what it is at `now`.
    pub(super) fn zero_at(&self, now: u64) -> u64 {
        if self.level <= 0 {
            return now.saturating_add(self.wait(0));
        }
        let since = self.level / i128::from(self.rate);
        now.saturating_sub(u64::try_from(since).unwrap_or(u64::MAX))
    }

    /// Whole tokens that may be taken without debt.
    pub(super) fn whole(&self) -> u64 {
        if !self.is_limited() {
            return u64::MAX;
        }
        u64::try_from(self.level.max(0) / PARTS).unwrap_or(u64::MAX)
    }

    /// Nanoseconds until it covers `tokens`, see [`covers`](Self::covers): 0 if it does.
    pub(super) fn wait(&self, tokens: u64) -> u64 {
        if self.covers(tokens) {
            return 0;
        }
        let missing = (i128::from(tokens) * PARTS).saturating_sub(self.level).saturating_add(1);
        let missing = missing.unsigned_abs();
        // Division of 64 bits is several times cheaper, and nearly always enough.
        match u64::try_from(missing) {
            Ok(missing) => missing.div_ceil(self.rate),
            Err(_) => u64::try_from(missing.div_ceil(u128::from(self.rate))).unwrap_or(u64::MAX),
        }
    }

    /// Nanoseconds from `elapsed_ns` after the last look until it is not in debt: 0 if it is not.
    pub(super) fn debt(&self, elapsed_ns: u64) -> u64 {
        if self.level >= 0 {
            return 0;
        }
        self.wait(0).saturating_sub(elapsed_ns)
    }

    /// Another rate, for a bucket that has no burst: it begins empty.
    pub(super) fn change_rate(&mut self, rate: u64) {
        *self = Self {
            level: if self.is_limited() && rate > 0 { self.level } else { 0 },
            rate,
            burst: 0,
        };
    }

    /// Another rate and burst; what was consumed stays consumed.
    pub(super) fn change(&mut self, rate: u64, burst: u64) {
        if (rate, burst) == (self.rate, self.burst) {
            return;
        }
        *self = if self.is_limited() && rate > 0 {
            Self { level: self.level.min(i128::from(burst) * PARTS), rate, burst }
        } else {
            Self::new(rate, burst)
        };
    }
}
