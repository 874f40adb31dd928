//! leaky-bucket 1.1: refilled every so often, first come, first served.

use std::time::Duration;

use anyhow::Result;
use leaky_bucket::RateLimiter;

use super::{Limiter, Plan};

/// A byte is a token.
#[derive(Debug)]
pub(super) struct Leaky(RateLimiter);

impl Leaky {
    pub(super) fn new(plan: &Plan, interval: Duration) -> Result<Self, String> {
        let bytes = |bytes: u64| usize::try_from(bytes).map_err(|error| error.to_string());
        let refill = u128::from(plan.rate) * interval.as_nanos() / 1_000_000_000;
        let refill = u64::try_from(refill).map_err(|error| error.to_string())?;
        let limiter = RateLimiter::builder()
            .interval(interval)
            .refill(bytes(refill)?)
            .max(bytes(plan.burst())?)
            .initial(bytes(plan.burst())?)
            .fair(true)
            .build();
        Ok(Self(limiter))
    }
}

impl Limiter for Leaky {
    async fn take(&self, _task: usize, bytes: u64) -> Result<()> {
        self.0.acquire(usize::try_from(bytes)?).await;
        Ok(())
    }
}
