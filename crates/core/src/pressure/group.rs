//! The pressure of one group: its members' activities, the time lost, and who is to be told.

use std::{fmt, time::Duration};

use crate::{
    clock::Clock,
    pressure::{
        average::{Averages, PERIOD},
        gauge::{Activity, Gauge, Grade},
        path::{self, ActivityGuard},
        stats::{PressureLine, PressureStats},
        threshold::{PressureKind, Threshold},
        trigger::{Trigger, Triggers},
        window::{Span, Window},
    },
    sync::Arc,
};

/// How much time the members of one group lose by waiting for a resource.
///
/// Belongs into the state of a css, one for each resource; [`PressurePath`](crate::PressurePath) counts
/// a member for a group and for all above it.
///
/// # Definitions
///
/// Each member of a group is idle, productive or stalled ([`Activity`]). At any moment the group loses
///
/// - *some* time, if at least one member is stalled;
/// - *full* time, if at least one member is stalled and none is productive.
///
/// These are the kernel's definitions for one processor. The kernel weighs several processors against
/// each other, by the time each is not idle; here members are not tied to any, and a group counts as
/// one. A member that works only to get the resource (in reclaim, say) is stalled, not productive.
///
/// The members of a group are those of all groups below it, too.
///
/// # Concurrency
///
/// A shift is one exchange of an atomic word. If it changes whether the group loses some or full time,
/// it reads the clock and takes a short lock in addition. So while nobody stalls, members begin and end
/// to be productive without the clock and the lock.
///
/// Every time is exact but for calls that overlap: where one is overtaken by another between its
/// exchange and the lock, time between the two readings of the clock may be reckoned to the wrong side.
///
/// # Examples
///
/// ```
/// use std::{sync::Arc, time::Duration};
///
/// use fief_core::{Pressure, VirtualClock};
///
/// let clock = VirtualClock::new();
/// let pressure = Pressure::new(Arc::new(clock.clone()));
/// let worker = pressure.work();
/// let stall = pressure.stall();
/// clock.advance(Duration::from_secs(1));
/// drop(worker); // from now on nobody gets on
/// clock.advance(Duration::from_secs(1));
/// drop(stall);
/// assert_eq!(
///     pressure.stats().to_string(),
///     "some avg10=18.13 avg60=3.28 avg300=0.66 total=2000000\n\
///      full avg10=9.06 avg60=1.64 avg300=0.33 total=1000000"
/// );
/// ```
#[doc(alias = "psi_group")]
pub struct Pressure {
    clock: Arc<dyn Clock>,
    gauge: Gauge<Record>,
}

/// What is known up to a moment.
#[derive(Debug)]
struct Record {
    now: Duration,
    /// From `now` on.
    grade: Grade,
    some: Line,
    full: Line,
    /// There since the first was asked for.
    triggers: Option<Arc<Triggers>>,
    miscounts: u64,
}

#[derive(Debug)]
struct Line {
    total: Duration,
    period: Window,
    averages: Averages,
}

impl Pressure {
    /// Makes the pressure of a group without members, on `clock`.
    ///
    /// The pressures of groups that are above each other are to have the same clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let now = clock.now();
        let record = Record {
            now,
            grade: Grade::None,
            some: Line::new(now),
            full: Line::new(now),
            triggers: None,
            miscounts: 0,
        };
        Self { clock, gauge: Gauge::new(record) }
    }

    /// Counts a member for `to` that counted for `from`, in this group alone.
    ///
    /// For state machines that keep the activity themselves; a member begins and ends as
    /// [`Activity::Idle`]. A shift from an activity that no member is in changes nothing, and is
    /// counted in [`Pressure::miscounts`].
    #[doc(alias = "psi_group_change")]
    pub fn shift(&self, from: Activity, to: Activity) {
        path::shift(self, from, to);
    }

    /// Has a member that was idle stall until the guard is dropped, in this group alone.
    #[doc(alias = "psi_memstall_enter")]
    pub fn stall(&self) -> ActivityGuard<&Self> {
        ActivityGuard::new(self, Activity::Idle, Activity::Stalled)
    }

    /// Has a member that was idle be productive until the guard is dropped, in this group alone.
    pub fn work(&self) -> ActivityGuard<&Self> {
        ActivityGuard::new(self, Activity::Idle, Activity::Productive)
    }

    /// Returns the figures as of now. Sends what triggers are due.
    ///
    /// # Concurrency
    ///
    /// Reads the clock and takes a short lock. Takes no longer after a long time.
    #[must_use]
    pub fn stats(&self) -> PressureStats {
        let now = self.clock.now();
        self.gauge.look(|record, grade| {
            record.advance(now, grade);
            PressureStats { some: record.some.figures(), full: record.full.figures() }
        })
    }

    /// Makes a trigger, which counts stall time from now on.
    ///
    /// It is looked at whenever the group begins or ends to lose some or full time, and in
    /// [`Pressure::stats`] and [`Pressure::poll`]; there is no timer. So that it is told in time of a
    /// stall that goes on, somebody has to call `poll`.
    ///
    /// Each trigger makes these calls a little longer.
    #[doc(alias = "psi_trigger_create")]
    pub fn trigger(&self, threshold: Threshold) -> Trigger {
        let now = self.clock.now();
        self.gauge.look(|record, grade| {
            record.advance(now, grade);
            let triggers = record.triggers.get_or_insert_default();
            triggers.add(threshold, record.now)
        })
    }

    /// Sends what triggers are due; returns when to call again, at the latest, if nothing changes.
    ///
    /// That is a time of the clock, after now: exactly when the next message will be due. `None` if
    /// time alone brings none, because nobody stalls or no trigger cares (and now, when the clock stands
    /// at its last time). A stall that begins and a new
    /// trigger can bring it nearer; whoever has the timer asks again then. Calling it every tenth of
    /// the shortest window, as the kernel does, is simpler, and late by no more than that.
    ///
    /// # Concurrency
    ///
    /// Reads the clock and takes a short lock.
    #[doc(alias = "psi_rtpoll_work")]
    pub fn poll(&self) -> Option<Duration> {
        let now = self.clock.now();
        self.gauge.look(|record, grade| {
            record.advance(now, grade);
            record.deadline()
        })
    }

    /// Returns how many shifts were refused, as no member was in the activity that they were from, or
    /// 2^32 - 1 are in the one they were to: each is a bug in whoever counts members.
    #[must_use]
    pub fn miscounts(&self) -> u64 {
        self.gauge.peek(|record| record.miscounts)
    }

    /// A shift as part of one on several levels, whose clock is read when it is first needed.
    pub(super) fn shift_at(&self, from: Activity, to: Activity, now: &mut Option<Duration>) {
        let mut read = *now;
        let shifted = self.gauge.shift(from, to, || {
            read.get_or_insert_with(|| self.clock.now());
        });
        *now = read;
        match shifted {
            Ok(None) => {}
            Ok(Some(regrade)) => self.gauge.settle(regrade, |record, grade| {
                // Read before the exchange.
                record.advance(read.unwrap_or(record.now), grade);
            }),
            Err(_) => self.gauge.look(|record, _| {
                record.miscounts = record.miscounts.saturating_add(1);
            }),
        }
    }
}

impl fmt::Debug for Pressure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stalled, productive) = self.gauge.members();
        let (some, full) = self.gauge.peek(|record| (record.some.figures(), record.full.figures()));
        f.debug_struct("Pressure")
            .field("stalled", &stalled)
            .field("productive", &productive)
            .field("some", &some.to_string())
            .field("full", &full.to_string())
            .finish()
    }
}

impl Record {
    /// Goes on to `now`, or stays if that is over; from then on the group has `grade`.
    fn advance(&mut self, now: Duration, grade: Grade) {
        let (from, to, before) = (self.now, now.max(self.now), self.grade);
        let span = |kind| Span { from, to, is_stalled: before.loses(kind) };
        self.some.advance(span(PressureKind::Some));
        self.full.advance(span(PressureKind::Full));
        if let Some(triggers) = &self.triggers {
            triggers.advance(span);
        }
        (self.now, self.grade) = (to, grade);
    }

    fn deadline(&self) -> Option<Duration> {
        let triggers = self.triggers.as_ref()?;
        triggers.deadline(self.now, |kind| self.grade.loses(kind))
    }
}

impl Line {
    const fn new(now: Duration) -> Self {
        let period = Window::new(PERIOD, now);
        Self { total: Duration::ZERO, period, averages: Averages::NONE }
    }

    fn advance(&mut self, span: Span) {
        self.total = self.total.saturating_add(span.stalled());
        if let Some(passed) = self.period.advance(span) {
            self.averages.advance(passed);
        }
    }

    fn figures(&self) -> PressureLine {
        PressureLine::new(self.averages.0, self.total)
    }
}

impl Grade {
    const fn loses(self, kind: PressureKind) -> bool {
        match kind {
            PressureKind::Some => !matches!(self, Self::None),
            PressureKind::Full => matches!(self, Self::Full),
        }
    }
}
