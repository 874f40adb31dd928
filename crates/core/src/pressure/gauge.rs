//! How many members stall and how many are productive: one word, and what is recorded of it under a lock.
//!
//! A shift changes the word by one exchange. Only where that changes the grade (nobody stalls, some do,
//! all do) the lock is taken, and the grade is then read from the word again: it may have changed in
//! between, by somebody who takes the lock before or after.
//!
//! So the record ends up with the grade of the word: whoever made the last change of grade looks after
//! making it, and whoever looks after them sees it too. Until then it is behind, by no more than calls
//! that are going on: somebody else's stall may begin meanwhile without taking the lock. So the clock is
//! read *before* an exchange that changes the grade, and what it says is recorded after it.
//!
//! # Orderings
//!
//! All accesses of the word are Relaxed. Edge `grade`: of two that take the lock, the later sees in the
//! word what the earlier did to it before, by the lock.
//!
//! # Tests
//!
//! `tests/loom_pressure.rs`.

use crate::sync::{AtomicU64, Mutex, Ordering, skip};

/// What a member is doing, as far as pressure is concerned.
///
/// A member that waits for nothing that the controller hands out, and does no work, is idle: a group
/// none of whose members work, and none stall, is under no pressure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    not(loom),
    expect(clippy::exhaustive_enums, reason = "one more would change what full means")
)]
pub enum Activity {
    /// Neither of the two.
    Idle,
    /// It does work that gets it on.
    #[doc(alias = "TSK_RUNNING")]
    Productive,
    /// It waits for the resource, or works only to get it.
    #[doc(alias = "TSK_MEMSTALL")]
    #[doc(alias = "TSK_IOWAIT")]
    Stalled,
}

/// Whether a group loses time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grade {
    /// No member stalls.
    #[default]
    None,
    /// At least one does.
    Some,
    /// At least one does, and none is productive.
    Full,
}

/// The members of a group that are not idle: stalled ones in the high half of the word.
#[derive(Clone, Copy)]
struct Members {
    stalled: u32,
    productive: u32,
}

/// The word, and `T` that records its grade.
#[derive(Debug)]
pub(crate) struct Gauge<T> {
    members: AtomicU64,
    record: Mutex<T>,
}

/// A shift that changed the grade; to be settled.
#[must_use]
pub(crate) struct Regrade {
    to: Grade,
}

/// A shift of a member that is not there, or is one too many.
#[derive(Debug)]
pub(crate) struct Miscount;

impl Members {
    const fn unpack(word: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = word.to_be_bytes();
        let stalled = u32::from_be_bytes([a, b, c, d]);
        Self { stalled, productive: u32::from_be_bytes([e, f, g, h]) }
    }

    fn pack(self) -> u64 {
        (u64::from(self.stalled) << 32) | u64::from(self.productive)
    }

    fn shifted(mut self, from: Activity, to: Activity) -> Option<Self> {
        if let Some(count) = self.count(from) {
            *count = count.checked_sub(1)?;
        }
        if let Some(count) = self.count(to) {
            *count = count.checked_add(1)?;
        }
        Some(self)
    }

    const fn count(&mut self, activity: Activity) -> Option<&mut u32> {
        match activity {
            Activity::Idle => None,
            Activity::Productive => Some(&mut self.productive),
            Activity::Stalled => Some(&mut self.stalled),
        }
    }

    const fn grade(self) -> Grade {
        match self {
            Self { stalled: 0, .. } => Grade::None,
            Self { productive: 0, .. } => Grade::Full,
            Self { .. } => Grade::Some,
        }
    }
}

impl<T> Gauge<T> {
    pub(crate) fn new(record: T) -> Self {
        Self { members: AtomicU64::new(0), record: Mutex::new(record) }
    }

    /// Counts a member for `to` that counted for `from`; returns what is to be settled, if anything.
    ///
    /// Calls `before_regrade` ahead of an exchange that changes the grade, and of attempts at one.
    pub(crate) fn shift(
        &self,
        from: Activity,
        to: Activity,
        mut before_regrade: impl FnMut(),
    ) -> Result<Option<Regrade>, Miscount> {
        // Ordering: Relaxed: a guess, which the exchange confirms.
        let mut word = self.members.load(Ordering::Relaxed);
        loop {
            let before = Members::unpack(word);
            let after = before.shifted(from, to).ok_or(Miscount)?;
            let is_regraded = before.grade() != after.grade();
            if is_regraded {
                before_regrade();
            }
            // Ordering: Relaxed: the record is brought up to date under the lock (edge grade).
            let exchanged = self.members.compare_exchange_weak(
                word,
                after.pack(),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match exchanged {
                Ok(_) => return Ok(is_regraded.then_some(Regrade { to: after.grade() })),
                Err(other) => word = other,
            }
        }
    }

    /// Has `record` bring the record up to the grade, as of now.
    pub(crate) fn settle<R>(&self, regrade: Regrade, record: impl FnOnce(&mut T, Grade) -> R) -> R {
        self.look(|recorded, grade| {
            record(recorded, if skip("grade_looks_again") { regrade.to } else { grade })
        })
    }

    /// The same without a shift.
    pub(crate) fn look<R>(&self, record: impl FnOnce(&mut T, Grade) -> R) -> R {
        let mut recorded = self.record.lock();
        // Ordering: Relaxed (edge grade): the lock shows what those did who had it before.
        let grade = Members::unpack(self.members.load(Ordering::Relaxed)).grade();
        record(&mut recorded, grade)
    }

    /// Returns what `see` makes of the record as it stands.
    pub(crate) fn peek<R>(&self, see: impl FnOnce(&T) -> R) -> R {
        see(&self.record.lock())
    }

    /// Returns how many members stall, and how many are productive.
    pub(crate) fn members(&self) -> (u32, u32) {
        // Ordering: Relaxed: as of some moment.
        let Members { stalled, productive } = Members::unpack(self.members.load(Ordering::Relaxed));
        (stalled, productive)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_member_too_many_is_refused_and_spills_nowhere() {
        let gauge = Gauge { members: AtomicU64::new(u64::MAX - 1), record: Mutex::new(()) };
        let shift = |from, to| gauge.shift(from, to, || ()).map(|regrade| regrade.is_some());
        assert!(shift(Activity::Idle, Activity::Stalled).is_err());
        assert!(matches!(shift(Activity::Idle, Activity::Productive), Ok(false)));
        assert!(shift(Activity::Idle, Activity::Productive).is_err());
        assert!(shift(Activity::Stalled, Activity::Productive).is_err());
        assert_eq!(gauge.members(), (u32::MAX, u32::MAX));
        assert!(matches!(shift(Activity::Stalled, Activity::Idle), Ok(false)));
        assert_eq!(gauge.members(), (u32::MAX - 1, u32::MAX));
    }
}
