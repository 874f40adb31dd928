//! tokio's semaphore: a depth, first come, first served.

use std::os::unix::fs::FileExt as _;

use anyhow::Result;
use tokio::{
    runtime::{Builder, Runtime},
    sync::Semaphore,
};

use super::{
    load::{Way, Who},
    target::Target,
};

/// So many reads at a time, each of one piece.
#[derive(Debug)]
pub struct Permits {
    semaphore: Semaphore,
    piece: usize,
    runtime: Runtime,
}

impl Permits {
    /// Returns it with so many permits, for pieces of so many bytes.
    ///
    /// # Errors
    ///
    /// What the system says to a runtime.
    pub fn new(depth: usize, piece: usize) -> Result<Self> {
        let runtime = Builder::new_current_thread().build()?;
        Ok(Self { semaphore: Semaphore::new(depth), piece, runtime })
    }
}

impl Way for Permits {
    fn read(&self, target: &Target, _who: Who, buffer: &mut [u8], at: u64) -> Result<()> {
        for (piece, at) in buffer.chunks_mut(self.piece).zip((at..).step_by(self.piece)) {
            let permit = self.runtime.handle().block_on(self.semaphore.acquire())?;
            target.file.read_exact_at(piece, at)?;
            drop(permit);
        }
        Ok(())
    }
}
