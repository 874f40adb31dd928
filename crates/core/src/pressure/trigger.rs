//! Triggers: a message when a group has lost so much time within a window.
//!
//! # Algorithm
//!
//! That of the kernel, on windows that follow one upon the other from the making of the trigger. With
//! `g` the stall time in the window that goes on, `b` that in the window before it, and `left` the rest
//! of a window of length `w`, the stall time of the last `w` is taken to be
//!
//! ```text
//! g + b * left / w
//! ```
//!
//! that is, as if the stall time of the window before had been spread evenly. While there is stall this
//! never falls, so it is enough to look where a stretch of stall ends: a threshold that was reached in
//! between is reached there. When it is reached a message is *due*, and stays due until it is sent,
//! which it is when a window has gone by since the last one.

use std::{fmt, time::Duration};

use crossbeam_channel::{Receiver, Sender};

use crate::{
    pressure::{
        threshold::{PressureKind, Threshold},
        window::{Span, Window},
    },
    sync::{Arc, Mutex, Weak, fork},
};

/// Tells that a group has lost more time than its threshold allows; until it is dropped.
///
/// Nothing is kept for a slow receiver: a message that finds an earlier one unheard is the same one.
/// Who has received one and then looks at the group's [`Pressure`](crate::Pressure) sees what it was
/// sent for.
#[must_use = "it tells nothing once it is dropped"]
pub struct Trigger {
    threshold: Threshold,
    messages: Receiver<()>,
    id: u64,
    list: Weak<Triggers>,
    /// The process it was made in.
    forks: u32,
}

/// The triggers of a group.
#[derive(Debug, Default)]
pub(super) struct Triggers(Mutex<Vec<Armed>>);

/// A trigger as its group sees it.
#[derive(Debug)]
struct Armed {
    id: u64,
    threshold: Threshold,
    messages: Sender<()>,
    window: Window,
    /// Stall time in the window before.
    before: Duration,
    is_due: bool,
    last_sent: Option<Duration>,
}

impl Trigger {
    /// Returns what it waits for.
    #[must_use]
    pub const fn threshold(&self) -> Threshold {
        self.threshold
    }

    /// Returns what its messages are received from, also with crossbeam-channel's `select!`.
    ///
    /// Disconnected when the state is dropped that the pressure belongs to.
    #[must_use]
    pub const fn messages(&self) -> &Receiver<()> {
        &self.messages
    }
}

impl Drop for Trigger {
    fn drop(&mut self) {
        // In a forked child the lock may be held by a thread that is not there.
        if self.forks == fork::generation()
            && let Some(list) = self.list.upgrade()
        {
            list.remove(self.id);
        }
    }
}

impl fmt::Debug for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trigger").field(&self.threshold.to_string()).finish()
    }
}

impl Triggers {
    /// Makes a trigger that counts from `now`.
    pub(super) fn add(self: &Arc<Self>, threshold: Threshold, now: Duration) -> Trigger {
        let (sender, messages) = crossbeam_channel::bounded(1);
        let mut list = self.0.lock();
        let id = list.last().map_or(0, |last| last.id + 1);
        list.push(Armed {
            id,
            threshold,
            messages: sender,
            window: Window::new(threshold.window(), now),
            before: Duration::ZERO,
            is_due: false,
            last_sent: None,
        });
        drop(list);
        let forks = fork::generation();
        Trigger { threshold, messages, id, list: Arc::downgrade(self), forks }
    }

    fn remove(&self, id: u64) {
        let mut list = self.0.lock();
        let removed: Vec<Armed> = list.extract_if(.., |armed| armed.id == id).collect();
        if list.is_empty() {
            *list = Vec::new();
        }
        drop(list);
        drop(removed);
    }

    /// Goes on by the span of each line, and sends what is due.
    pub(super) fn advance(&self, of: impl Fn(PressureKind) -> Span) {
        for armed in self.0.lock().iter_mut() {
            armed.advance(of(armed.threshold.kind()));
        }
    }

    /// Returns when the next message may be due, if the line of each trigger goes on as `of` says.
    pub(super) fn deadline(
        &self,
        now: Duration,
        is_stalled: impl Fn(PressureKind) -> bool,
    ) -> Option<Duration> {
        let list = self.0.lock();
        let deadlines =
            list.iter().filter_map(|armed| armed.deadline(now, is_stalled(armed.threshold.kind())));
        deadlines.min()
    }
}

impl Armed {
    fn advance(&mut self, span: Span) {
        if let Some(passed) = self.window.advance(span) {
            self.before = if passed.more == 0 { passed.first } else { passed.each };
        }
        let stalled = !span.stalled().is_zero();
        self.is_due |= stalled && self.estimate(span.to) >= self.threshold.stall().as_nanos();
        if self.is_due && self.may_send().is_none_or(|from| span.to >= from) {
            // Sent already and not heard is as good: see `Trigger`.
            self.messages.try_send(()).ok();
            self.last_sent = Some(span.to);
            self.is_due = false;
        }
    }

    /// Returns from when on a message may be sent; `None` if it may at any time.
    fn may_send(&self) -> Option<Duration> {
        self.last_sent.map(|last| last.saturating_add(self.window.size()))
    }

    /// Returns the stall time within the last window's length, in nanoseconds.
    fn estimate(&self, now: Duration) -> u128 {
        let spread = self.before.as_nanos() * self.window.left(now).as_nanos();
        self.window.stalled().as_nanos() + spread / self.window.size().as_nanos()
    }

    /// Returns when it is next to be looked at, after `now`, to which it was advanced.
    fn deadline(&self, now: Duration, is_stalled: bool) -> Option<Duration> {
        let may_send = self.may_send();
        if self.is_due {
            return may_send;
        }
        if !is_stalled {
            return None;
        }
        let left = self.window.left(now);
        let (stalled, before) = (self.window.stalled(), self.before);
        let until_reached = self.stall_until_reached(stalled, before, left).or_else(|| {
            // Not in this window: then in the next.
            let size = self.window.size();
            let more = self.stall_until_reached(Duration::ZERO, stalled + left, size)?;
            Some(left + more)
        })?;
        // What is reached already needs some stall to be due.
        let reached = now.saturating_add(until_reached.max(Duration::from_nanos(1)));
        Some(may_send.map_or(reached, |from| from.max(reached)))
    }

    /// Returns after how much more stall the threshold is reached, if it is within the `left` of a
    /// window in which there were `stalled`, and `before` in the one before.
    ///
    /// That is the least `s` with `stalled + s + before * (left - s) / size >= threshold`.
    fn stall_until_reached(
        &self,
        stalled: Duration,
        before: Duration,
        left: Duration,
    ) -> Option<Duration> {
        let size = self.window.size().as_nanos();
        let (stalled, before, left) = (stalled.as_nanos(), before.as_nanos(), left.as_nanos());
        let needed = self.threshold.stall().as_nanos().saturating_sub(stalled) * size;
        let missing = needed.saturating_sub(before * left);
        if missing == 0 {
            return Some(Duration::ZERO);
        }
        // What a nanosecond of stall adds: the rest is what it takes from the window before.
        let gain = size.saturating_sub(before);
        if gain == 0 {
            return None;
        }
        let stall = missing.div_ceil(gain);
        (stall <= left).then(|| Duration::from_nanos_u128(stall))
    }
}
