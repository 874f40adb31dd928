//! ratelimit 2.0: has no waiting; who is refused sleeps as long as it is told, and asks again.

use anyhow::{Result, bail};
use ratelimit::{Ratelimiter, TryWaitError};

use super::{Limiter, Plan};

/// A byte is a token.
pub(super) struct Ratelimit(Ratelimiter);

impl Ratelimit {
    pub(super) fn new(plan: &Plan) -> Result<Self> {
        let builder = Ratelimiter::builder(plan.rate).max_tokens(plan.burst());
        Ok(Self(builder.build()?))
    }
}

impl Limiter for Ratelimit {
    async fn take(&self, _task: usize, bytes: u64) -> Result<()> {
        loop {
            match self.0.try_wait_n(bytes) {
                Ok(()) => return Ok(()),
                Err(TryWaitError::Insufficient(time)) => tokio::time::sleep(time).await,
                Err(error) => bail!("{error}"),
            }
        }
    }

    fn set_rate(&self, rate: u64) -> bool {
        self.0.set_rate(rate);
        true
    }
}
