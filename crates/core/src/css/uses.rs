//! Whether a group is in use: one word that all its css share, and the decision to remove groups.
//!
//! While a group's css count exactly (see `css/header.rs`), each one that has references out holds
//! one *unit* of the group's [`Uses`]. Zero units: no css of the group has a reference out, all at one
//! instant. That is the edge a release notice is about, and what a strict removal needs, for all css
//! of the group together. A group that nobody watches holds one unit more, its *structural* one, so
//! that it is never at zero.
//!
//! After the scalable non-zero indicator of Ellen, Lev, Luchangco and Moir (PODC 2007): who finds its
//! css without a unit brings one, and gives it back if somebody else was faster. Two things differ: units
//! go back only under the structural lock, so that an edge is seen by one thread, and a removal can
//! forbid the way up from zero.
//!
//! # A removal of several groups
//!
//! Each word goes from zero to frozen, and then one [`Decision`] is made for all. A `try_get` that
//! meets a frozen word has counted itself in already, and does not wait: it calls the decision off,
//! and keeps its reference, or finds that it came too late. Words and decision carry the number of the
//! attempt, so that a `try_get` that was stalled does not take a later one for its own.
//!
//! # Orderings
//!
//! Edge `unit`: a unit is in the word before its css says that it has one, so giving it back never takes
//! the word below zero.
//!
//! Edge `decision`: who finds a word frozen for an attempt finds the decision of that attempt, or of a
//! later one; in the second case the word is as the attempt left it.
//!
//! # Tests
//!
//! `tests/loom_strict.rs`, and the Promela model in `docs/models/`.

use crate::sync::{AtomicU64, Ordering, order, skip};

/// The group is removed: the way up from zero is closed.
const REMOVED: u64 = 1 << 63;
/// A removal is being decided; the number of the attempt is in the word.
const FROZEN: u64 = 1 << 62;
/// Units: at most one for each css, one for each thread that is about to give one back, and one.
const COUNT: u64 = (1 << ATTEMPT) - 1;
/// Where the number of the attempt begins. It comes round after 2^38 attempts.
const ATTEMPT: u32 = 24;
const ATTEMPTS: u64 = (FROZEN >> ATTEMPT) - 1;

const OPEN: u64 = 0;
const CALLED_OFF: u64 = 1;
const MADE: u64 = 2;
const OUTCOME: u64 = 3;

/// How much a group is in use.
#[derive(Debug)]
pub(crate) struct Uses {
    word: AtomicU64,
}

/// What becomes of the removal that is tried at this moment: one in a registry, under its lock.
#[derive(Debug)]
pub(crate) struct Decision {
    /// The number of the attempt, above two bits for its outcome.
    word: AtomicU64,
}

impl Uses {
    /// Returns the word of a group that nobody watches.
    pub(crate) fn new() -> Self {
        Self { word: AtomicU64::new(1) }
    }

    /// Returns whether the group is not in use, nor removed by force of that.
    pub(crate) fn is_zero(&self) -> bool {
        // Ordering: Relaxed: a hint outside the structural lock; what follows decides by an exchange.
        self.word.load(Ordering::Relaxed) & !(ATTEMPTS << ATTEMPT | FROZEN) == 0
    }

    /// Returns how many units there are.
    pub(crate) fn units(&self) -> u64 {
        // Ordering: Relaxed: as in `is_zero`.
        self.word.load(Ordering::Relaxed) & COUNT
    }

    /// Adds a unit; callers hold the structural lock, and the group is not removed.
    pub(crate) fn add(&self) {
        // Ordering: Release (edge unit): before a css is marked as having it.
        self.word.fetch_add(1, Ordering::Release);
    }

    /// Gives a unit back; returns whether it was the last.
    pub(crate) fn leave(&self) -> bool {
        // Ordering: Relaxed: the unit's own coming was acquired with the mark (edge unit), or is ours.
        self.word.fetch_sub(1, Ordering::Relaxed) & COUNT == 1
    }

    /// Adds a unit on the way up from zero; returns false, and adds none, if the group's removal is
    /// decided.
    ///
    /// Wait-free, but for a second round when the removal was called off by somebody else just now.
    pub(crate) fn enter(&self, decision: &Decision) -> bool {
        // Ordering: Acquire (edge decision): we see the decision for which the word is frozen.
        // Release (edge unit): before our css is marked as having it.
        let word = self.word.fetch_add(1, order("uses_enter", Ordering::AcqRel));
        let is_in = if word & REMOVED != 0 {
            false
        } else {
            word & FROZEN == 0 || skip("uses_frozen") || self.call_off(decision, attempt_of(word))
        };
        if !is_in {
            self.leave();
        }
        is_in
    }

    /// Calls the attempt off for which the word was found frozen; returns false if it was made.
    fn call_off(&self, decision: &Decision, attempt: u64) -> bool {
        let called_off = attempt << 2 | CALLED_OFF;
        // Ordering: Acquire (edge decision): if the attempt is over, we see what it left.
        let mut seen = decision.word.load(order("decision_load", Ordering::Acquire));
        loop {
            if seen >> 2 != attempt && !skip("attempts_numbered") {
                // Our unit is in the word, so no later attempt can have frozen it anew.
                // Ordering: Relaxed: at least as new as what the attempt left.
                return self.word.load(Ordering::Relaxed) & REMOVED == 0;
            }
            if seen & OUTCOME != OPEN {
                return seen & OUTCOME == CALLED_OFF;
            }
            // Ordering: Relaxed: nothing is read on the strength of it; Acquire on failure (edge
            // decision), as above.
            let exchanged = decision.word.compare_exchange(
                seen,
                called_off,
                Ordering::Relaxed,
                order("call_off_fails", Ordering::Acquire),
            );
            match exchanged {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
    }

    /// Freezes the word for `attempt`, if it is at zero.
    fn freeze(&self, attempt: u64) -> bool {
        // Ordering: Release (edge decision): the decision was opened before.
        let frozen = FROZEN | attempt << ATTEMPT;
        let release = order("uses_freeze", Ordering::Release);
        self.word.compare_exchange(0, frozen, release, Ordering::Relaxed).is_ok()
    }

    fn thaw(&self) {
        // Ordering: Relaxed: who found it frozen reads the decision, which says more.
        self.word.fetch_and(COUNT, Ordering::Relaxed);
    }

    fn close(&self) {
        // Ordering: Relaxed: the decision is made, or the next one opened with Release after this.
        self.word.fetch_or(REMOVED, Ordering::Relaxed);
    }
}

impl Decision {
    pub(crate) fn new() -> Self {
        Self { word: AtomicU64::new(CALLED_OFF) }
    }

    /// Closes the words of `groups` if all are at zero at one instant; else changes nothing.
    ///
    /// Callers hold the structural lock. A `try_get` that comes between neither waits nor fails.
    pub(crate) fn close(&self, groups: &[&Uses]) -> bool {
        // Ordering: Relaxed: written here, under the structural lock, but for the outcome.
        let attempt = ((self.word.load(Ordering::Relaxed) >> 2) + 1) & ATTEMPTS;
        let open = attempt << 2 | OPEN;
        // Ordering: Release (edge decision): what the attempt before left in the words comes first.
        self.word.swap(open, order("decision_open", Ordering::Release));
        let frozen = groups.iter().take_while(|group| group.freeze(attempt)).count();
        if frozen == groups.len() {
            // Ordering: Relaxed: one exchange decides; who reads it is told by the words.
            let made = self.word.compare_exchange(
                open,
                attempt << 2 | MADE,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            if made.is_ok() || skip("decision_made") {
                groups.iter().for_each(|group| group.close());
                return true;
            }
        }
        // Ordering: Relaxed: as above.
        self.word.swap(attempt << 2 | CALLED_OFF, Ordering::Relaxed);
        groups[..frozen].iter().for_each(|group| group.thaw());
        false
    }
}

const fn attempt_of(word: u64) -> u64 {
    word >> ATTEMPT & ATTEMPTS
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn idle() -> Uses {
        let uses = Uses::new();
        assert!(uses.leave(), "the structural unit was the only one");
        uses
    }

    #[test]
    fn groups_in_use_are_not_closed_and_stay_as_they_are() {
        let (decision, one, other) = (Decision::new(), idle(), idle());
        assert!(other.enter(&decision));
        assert!(!decision.close(&[&one, &other]));
        assert!(one.is_zero() && !other.is_zero());
        assert!(one.enter(&decision), "a way up that nobody closed");
        assert!(one.leave() && other.leave());
        assert!(decision.close(&[&one, &other]));
        assert!(!one.enter(&decision) && !other.enter(&decision));
    }

    #[test]
    fn who_meets_a_frozen_word_calls_the_attempt_off() {
        let (decision, group) = (Decision::new(), idle());
        let open = 7 << 2 | OPEN;
        decision.word.store(open, Ordering::Relaxed);
        assert!(group.freeze(7));
        assert!(group.is_zero(), "frozen at zero");
        assert!(group.enter(&decision));
        assert_eq!(decision.word.load(Ordering::Relaxed), 7 << 2 | CALLED_OFF);
        group.thaw();
        assert!(!group.is_zero());
        assert!(group.leave());
    }

    #[test]
    fn a_decision_of_another_attempt_says_nothing() {
        let (decision, group) = (Decision::new(), idle());
        assert!(group.freeze(7));
        decision.word.store(8 << 2 | MADE, Ordering::Relaxed);
        assert!(group.enter(&decision), "the seventh attempt is over, and the word not closed");
    }

    #[test]
    fn the_number_of_the_attempt_comes_round() {
        let (decision, group) = (Decision::new(), idle());
        decision.word.store(ATTEMPTS << 2 | CALLED_OFF, Ordering::Relaxed);
        assert!(decision.close(&[&group]));
        assert_eq!(decision.word.load(Ordering::Relaxed), MADE, "attempt 0");
    }
}
