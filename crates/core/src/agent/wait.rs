//! The end of a command: waited for, or brought about.
//!
//! On Linux a thread sleeps in `poll` on a descriptor of the process until it ends or its time is
//! over. Elsewhere, under `--cfg fief_portable`, and where the kernel has no such descriptor to give,
//! it looks now and then.

use std::{
    io,
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

use crate::sync::thread;

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// Waits until `child` ends, and reaps it; `None` if it runs on at the deadline.
pub(super) fn wait(child: &mut Child, deadline: Option<Instant>) -> io::Result<Option<ExitStatus>> {
    sleep_until_end(child, deadline);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = left(deadline);
        if left.is_zero() {
            return Ok(None);
        }
        thread::sleep(left.min(LOOK));
    }
}

/// Kills `child`, which is not reaped, and every process of its group; reaps it.
///
/// It waits for a process that the kernel does not let go at once.
pub(super) fn kill(child: &mut Child) {
    kill_group(child);
    // Not in its group any more if it took itself out of it.
    child.kill().ok();
    child.wait().ok();
}

/// How long it is until the deadline.
fn left(deadline: Option<Instant>) -> Duration {
    let until = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
    deadline.map_or(Duration::MAX, until)
}

/// Sleeps until `child` ends or the deadline is over, or not at all.
#[cfg(target_os = "linux")]
fn sleep_until_end(child: &Child, deadline: Option<Instant>) {
    use rustix::{
        event::{PollFd, PollFlags, Timespec, poll},
        io::Errno,
        process::{Pid, PidfdFlags, pidfd_open},
    };

    if cfg!(fief_portable) {
        return;
    }
    // The number is the child's for as long as it is not reaped.
    let Ok(process) = pidfd_open(Pid::from_child(child), PidfdFlags::empty()) else { return };
    loop {
        // A time that the kernel cannot express is for ever.
        let left = Timespec::try_from(left(deadline)).ok();
        let mut ends = [PollFd::new(&process, PollFlags::IN)];
        if poll(&mut ends, left.as_ref()) != Err(Errno::INTR) {
            return;
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn sleep_until_end(_child: &Child, _deadline: Option<Instant>) {}

#[cfg(unix)]
fn kill_group(child: &Child) {
    use rustix::process::{Pid, Signal, kill_process_group};

    // The group has the number of its first process, which is not reaped.
    kill_process_group(Pid::from_child(child), Signal::KILL).ok();
}

#[cfg(not(unix))]
fn kill_group(_child: &Child) {}
