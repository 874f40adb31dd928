//! `ForcedCharge`: what is in use already, charged after the fact.

use std::fmt;

use crate::{account::Account, chain, sync::Arc};

/// An amount that follows what somebody has in use, and is charged whatever the limits.
///
/// For memory that is seen rather than asked for: what an allocator attributes, or a library of others
/// reports. It grows and shrinks by what it is told; dropped, it gives all back. Its group may be removed
/// meanwhile: then it is the parent's.
///
/// # Concurrency
///
/// Each call costs an atomic add a level, and wakes whoever waits for what is given back.
pub struct ForcedCharge {
    account: Arc<Account>,
    bytes: u64,
}

impl ForcedCharge {
    pub(crate) fn new(account: &Arc<Account>) -> Self {
        Self { account: Arc::clone(account), bytes: 0 }
    }

    /// Returns how many bytes are charged.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Charges so much more, or gives so much back, that `bytes` are charged.
    ///
    /// More than 2^47 count as so many. Above a limit the group's event `force_over_max` counts.
    pub fn set(&mut self, bytes: u64) {
        let (before, bytes) = (self.bytes, bytes.min(chain::MOST));
        self.bytes = bytes;
        let node = self.account.node();
        if bytes > before {
            chain::force(&node, bytes - before);
        } else if bytes < before {
            chain::uncharge(&node, before - bytes);
        }
    }
}

impl Drop for ForcedCharge {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl fmt::Debug for ForcedCharge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForcedCharge").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}
