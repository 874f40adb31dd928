//! Stall time in windows of fixed length that follow one upon the other.

use std::time::Duration;

/// A stretch of time in which a line stalled all along, or not at all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from: Duration,
    /// Not before `from`.
    pub(super) to: Duration,
    pub(super) is_stalled: bool,
}

/// The window that is going on.
#[derive(Clone, Debug)]
pub(super) struct Window {
    size: Duration,
    start: Duration,
    /// Stall time since `start`.
    stalled: Duration,
}

/// Windows that a span ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// Stall time in the first of them.
    pub(super) first: Duration,
    /// How many followed it, all of them within the span.
    pub(super) more: u64,
    /// Stall time in each that followed: all of it or nothing.
    pub(super) each: Duration,
}

impl Span {
    /// Returns the stall time in it.
    pub(super) fn stalled(&self) -> Duration {
        self.stalled_part(self.to.saturating_sub(self.from))
    }

    /// Returns the stall time in `part` of it.
    fn stalled_part(&self, part: Duration) -> Duration {
        if self.is_stalled { part } else { Duration::ZERO }
    }
}

impl Window {
    /// Makes a window of `size`, not zero, that begins at `start`.
    pub(super) const fn new(size: Duration, start: Duration) -> Self {
        Self { size, start, stalled: Duration::ZERO }
    }

    pub(super) const fn size(&self) -> Duration {
        self.size
    }

    /// Returns the stall time in it so far.
    pub(super) const fn stalled(&self) -> Duration {
        self.stalled
    }

    /// Returns how much of it is left at `now`, which is in it.
    pub(super) fn left(&self, now: Duration) -> Duration {
        self.size.saturating_sub(now.saturating_sub(self.start))
    }

    /// Goes on by `span`, which begins where the last one ended; takes no longer for a long one.
    pub(super) fn advance(&mut self, span: Span) -> Option<Passed> {
        let since_start = span.to.saturating_sub(self.start);
        if since_start < self.size {
            self.stalled += span.stalled();
            return None;
        }
        let first = self.stalled + span.stalled_part(self.left(span.from));
        let whole = since_start.as_nanos() / self.size.as_nanos();
        let begun = Duration::from_nanos_u128(since_start.as_nanos() % self.size.as_nanos());
        self.start = span.to.saturating_sub(begun);
        self.stalled = span.stalled_part(begun);
        let more = u64::try_from(whole - 1).unwrap_or(u64::MAX);
        Some(Passed { first, more, each: span.stalled_part(self.size) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_window_ends_where_the_next_begins() {
        let mut window = Window::new(s(2), s(10));
        assert_eq!(window.advance(Span { from: s(10), to: s(11), is_stalled: true }), None);
        let passed = window.advance(Span { from: s(11), to: s(12), is_stalled: false });
        assert_eq!(passed, Some(Passed { first: s(1), more: 0, each: s(0) }));
        assert_eq!((window.stalled(), window.left(s(12))), (s(0), s(2)));
    }

    #[test]
    fn a_long_span_passes_many_windows() {
        let mut window = Window::new(s(2), s(0));
        assert_eq!(window.advance(Span { from: s(0), to: s(1), is_stalled: false }), None);
        let passed = window.advance(Span { from: s(1), to: s(9), is_stalled: true });
        assert_eq!(passed, Some(Passed { first: s(1), more: 3, each: s(2) }));
        assert_eq!((window.stalled(), window.left(s(9))), (s(1), s(1)));
    }

    #[test]
    fn the_longest_span_there_is_passes_in_one_step() {
        let mut window = Window::new(s(2), s(1));
        let passed = window.advance(Span { from: s(1), to: Duration::MAX, is_stalled: true });
        assert_eq!(passed, Some(Passed { first: s(2), more: (u64::MAX - 1) / 2 - 1, each: s(2) }));
        assert_eq!(window.left(Duration::MAX), s(1) + Duration::from_nanos(1));
    }
}
