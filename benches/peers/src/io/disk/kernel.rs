//! The kernel's blkio controller, version 1: a rate for the bulk readers.

use std::os::unix::fs::FileExt as _;

use anyhow::Result;

use super::{
    load::{Way, Who},
    target::Target,
};
use crate::cpu::cgroup::{Kernel, enter};

/// A group for the bulk readers, which they leave by ending.
#[derive(Debug)]
pub struct Throttled(Kernel);

impl Throttled {
    /// Makes a group that may read so many bytes a second of the file's device.
    ///
    /// # Errors
    ///
    /// No controller of that version, or no right to write there; a device that it does not know.
    pub fn new(target: &Target, rate: u64) -> Result<Self, String> {
        let make = || {
            let kernel = Kernel::of("blkio", "fief-bench")?;
            kernel.limit_reads(0, target.device, rate)?;
            Ok(Self(kernel))
        };
        make().map_err(|error: anyhow::Error| format!("{error:#}"))
    }
}

impl Way for Throttled {
    fn enter(&self, who: Who) -> Result<()> {
        if who != Who::Light {
            enter(&self.0.door(0))?;
        }
        Ok(())
    }

    fn read(&self, target: &Target, _who: Who, buffer: &mut [u8], at: u64) -> Result<()> {
        Ok(target.file.read_exact_at(buffer, at)?)
    }
}
