//! Nothing in the way.

use std::os::unix::fs::FileExt as _;

use anyhow::Result;

use super::{
    load::{Way, Who},
    target::Target,
};

/// Reads at once.
#[derive(Debug)]
pub struct Raw;

impl Way for Raw {
    fn read(&self, target: &Target, _who: Who, buffer: &mut [u8], at: u64) -> Result<()> {
        Ok(target.file.read_exact_at(buffer, at)?)
    }
}
