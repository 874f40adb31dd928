//! async-speed-limit 0.4: a charge at once, and a sleep for what it is too much.

use std::time::Duration;

use anyhow::Result;
use async_speed_limit::{Limiter as Inner, clock::StandardClock};

use super::{Limiter, Plan};

/// Bytes by a bucket of floating point.
pub(super) struct Speed(Inner<StandardClock>);

impl Speed {
    /// `refill` is 100 ms unless it is given.
    pub(super) fn new(plan: &Plan, refill: Option<Duration>) -> Self {
        let mut builder = Inner::builder(plan.rate as f64);
        if let Some(refill) = refill {
            builder.refill(refill);
        }
        Self(builder.build())
    }
}

impl Limiter for Speed {
    async fn take(&self, _task: usize, bytes: u64) -> Result<()> {
        self.0.consume(usize::try_from(bytes)?).await;
        Ok(())
    }

    fn set_rate(&self, rate: u64) -> bool {
        self.0.set_speed_limit(rate as f64);
        true
    }
}
