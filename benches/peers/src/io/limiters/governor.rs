//! governor 0.10: each waiter sleeps for itself, and asks again.

use std::num::NonZeroU32;

use anyhow::{Context as _, Result};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::{Limiter, Plan};

/// A byte is a cell, and takes whole nanoseconds: one at least.
#[derive(Debug)]
pub(super) struct Governor(DefaultDirectRateLimiter);

impl Governor {
    pub(super) fn new(plan: &Plan) -> Result<Self, String> {
        let cells = |bytes: u64| {
            let cells = u32::try_from(bytes).ok().and_then(NonZeroU32::new);
            cells.ok_or_else(|| format!("{bytes} cells are more than 32 bits hold"))
        };
        let quota = Quota::per_second(cells(plan.rate)?).allow_burst(cells(plan.burst())?);
        Ok(Self(RateLimiter::direct(quota)))
    }
}

impl Limiter for Governor {
    async fn take(&self, _task: usize, bytes: u64) -> Result<()> {
        let cells = u32::try_from(bytes).ok().and_then(NonZeroU32::new);
        self.0.until_n_ready(cells.context("an operation of so many bytes")?).await?;
        Ok(())
    }
}
