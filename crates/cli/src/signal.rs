//! Ctrl-C: the first asks what runs to end, the second ends the process.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context as _, Result};
use crossbeam_channel::Sender;

use crate::{
    soak::Event,
    sync::{Arc, Flag},
};

/// Exit status of a process that was interrupted: 128 + `SIGINT`.
pub(crate) const INTERRUPTED: u8 = 130;

/// Sends [`Event::Interrupted`] at the first interrupt, and raises the flag that is returned.
///
/// The second removes `directory`, if there is one to remove, and ends the process.
///
/// # Errors
///
/// When the handler cannot be installed.
pub(crate) fn watch(events: Sender<Event>, directory: Option<PathBuf>) -> Result<Arc<Flag>> {
    let flag = Arc::new(Flag::default());
    let interrupted = Arc::clone(&flag);
    ctrlc::set_handler(move || {
        if interrupted.is_raised() {
            directory.iter().for_each(|directory| remove(directory));
            process::exit(i32::from(INTERRUPTED));
        }
        interrupted.raise();
        // An error means that the soak is over and only the report is left to print.
        events.send(Event::Interrupted).ok();
    })
    .context("cannot watch for Ctrl-C")?;
    Ok(flag)
}

/// Removes a directory that others still write into, as well as that can be done.
fn remove(directory: &Path) {
    const TRIES: usize = 20;
    for _ in 0..TRIES {
        match fs::remove_dir_all(directory) {
            Ok(()) => return,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            // Something was put into it meanwhile.
            Err(_) => {}
        }
    }
}
