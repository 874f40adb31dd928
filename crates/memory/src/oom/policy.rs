//! Who is the victim when nobody can go on.

use std::cmp::Reverse;

/// A group that may be the victim.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// The path of the group.
    pub cgroup: String,
    /// What the group holds itself, in bytes, without what those below it hold.
    pub usage: u64,
    /// How much of that is above what `memory.low` keeps for it, in bytes.
    pub above_protection: u64,
    /// What the group and those below it hold, in bytes.
    pub usage_with_descendants: u64,
    /// Its priority, 0 if none was set.
    pub priority: i32,
    /// How many tasks and workers are in it, without those below.
    pub participants: u64,
    /// The later it was made, the higher; unique in the process.
    pub serial: u64,
}

/// Chooses who gives its memory back when nobody can go on.
///
/// It runs on the keeper's thread, or whichever makes a pass, under no lock; no other pass is made meanwhile, so
/// it is never to wait for memory, and to return soon.
pub trait VictimPolicy: Send + Sync + 'static {
    /// Returns which of `candidates` is to be the victim; `None` to leave all of them waiting for now.
    ///
    /// There is one candidate at least: a group that holds memory itself, and has tasks, workers, waiting charges
    /// or a callback for it. Asked again with every pass, 5 ms later, while nobody can go on. If it panics,
    /// or returns what is no index, the [default](LargestVictim) chooses.
    fn choose(&self, candidates: &[Candidate]) -> Option<usize>;
}

/// The default policy: of those of the lowest priority the one that holds most above its protection; of equals
/// the youngest.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
#[doc(alias = "oom_badness")]
pub struct LargestVictim;

impl LargestVictim {
    /// Makes the policy.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl VictimPolicy for LargestVictim {
    fn choose(&self, candidates: &[Candidate]) -> Option<usize> {
        let rank = |index: &usize| {
            let candidate = &candidates[*index];
            let is_small = Reverse(candidate.above_protection);
            (candidate.priority, is_small, Reverse(candidate.usage), Reverse(candidate.serial))
        };
        (0..candidates.len()).min_by_key(rank)
    }
}
