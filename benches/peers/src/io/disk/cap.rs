//! async-speed-limit: a rate for the bulk readers, of somebody who knows what the disk can do.

use std::os::unix::fs::FileExt as _;

use anyhow::Result;
use async_speed_limit::{Limiter, clock::StandardClock};

use super::{
    load::{Way, Who},
    target::Target,
};

/// A rate for bulk readers, each read one piece.
pub struct Capped {
    limiter: Limiter<StandardClock>,
    piece: usize,
}

impl Capped {
    /// Returns it with a rate, for pieces of so many bytes.
    #[must_use]
    pub fn new(rate: u64, piece: usize) -> Self {
        Self { limiter: Limiter::new(rate as f64), piece }
    }
}

impl std::fmt::Debug for Capped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capped").field("piece", &self.piece).finish_non_exhaustive()
    }
}

impl Way for Capped {
    fn read(&self, target: &Target, who: Who, buffer: &mut [u8], at: u64) -> Result<()> {
        for (piece, at) in buffer.chunks_mut(self.piece).zip((at..).step_by(self.piece)) {
            if who != Who::Light {
                self.limiter.blocking_consume(piece.len());
            }
            target.file.read_exact_at(piece, at)?;
        }
        Ok(())
    }
}
