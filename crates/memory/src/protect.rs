//! How much of each group `memory.min` and `memory.low` keep from reclaim.
//!
//! The figures are those of a snapshot of the subtree that is short of memory; nothing here is shared, locked
//! or kept. What comes out is exact: on figures that add up, the bytes kept inside a group are the group's
//! effective protection, or all it has if that is less; so what a walk takes from the parts never brings
//! a group below its effective `min`, however deep the tree.
//!
//! # Algorithm
//!
//! 1. A group's usage is that of its children and its *own*: what it holds itself. The own part takes its place
//!    among the children as one more child that asks for no protection.
//! 2. The group that reclaim starts from, the reclaim root, protects nothing: a group's settings protect it
//!    against others, and not against its own limit. Nor does anything above it matter.
//! 3. Its children are protected by their settings as they are.
//! 4. Further down a child *claims* what it uses of its setting, the smaller of the two. If the siblings claim
//!    more than their parent's protection, that is shared in proportion to the claims.
//! 5. If they claim less, each has its claim, and the rest of the parent's protection is shared in proportion
//!    to what is used beyond the claims: a tree whose root is protected is protected, whoever uses it.
//! 6. What rounding leaves over goes to the next sibling: siblings are given the difference between what the
//!    run up to them and the run before them would have together.
//! 7. Reclaim takes what is above `low` first, then what is above `min`: [`Protection::eligible`]. `protect/shares.rs`
//!    says how much of it from whom.
//!
//! As parts are taken the claims move, so protection is worked out anew for every round. Rounds of at most half
//! of what is eligible settle where the kernel does; in the kernel's selftest one round for all of it would leave
//! 33M and 17M where 29M and 21M are right.
//!
//! A removed group is in no snapshot, and what it used is its parent's own: its settings protect nobody, and
//! take nothing from its siblings.
//!
//! # Source
//!
//! The semantics, and no code, of Linux's `effective_protection` and `page_counter_calculate_protection`
//! (`mm/page_counter.c`, before that `mem_cgroup_calculate_protection` of `mm/memcontrol.c`) with
//! `memory_recursiveprot`, and of `mem_cgroup_protection`. What differs:
//!
//! - Shares are exact to the byte; the kernel rounds down and loses a page here and there.
//! - Below the first level a protection never exceeds the usage. The kernel's may, where it keeps everything anyway.
//! - The kernel keeps of a group's own pages the fraction that it keeps of the whole group, beside what it keeps
//!   for the children. Here the own part has what the children leave, so that nothing is protected twice.
//!
//! # Tests
//!
//! `protect/tests.rs`: the kernel's selftest for `min` and for `low`, and properties over random trees.

pub(crate) mod shares;
#[cfg(test)]
mod tests;

/// A group of the snapshot; the first one is the reclaim root, and parents come before their children.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Member {
    /// Where the parent stands in the snapshot; of no meaning for the first.
    pub(crate) parent: usize,
    /// What the group and all below it use, in bytes.
    pub(crate) usage: u64,
    /// `memory.min`, in bytes; `max` is any value that no usage reaches.
    pub(crate) min: u64,
    /// `memory.low`, likewise.
    pub(crate) low: u64,
}

/// What is kept of a group, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Protection {
    /// Effective `min` of the group with all below it.
    pub(crate) min: u64,
    /// Effective `low`, likewise.
    pub(crate) low: u64,
    /// What the group itself uses, without its children.
    pub(crate) own: u64,
    /// How much of `own` the effective `min` keeps.
    pub(crate) own_min: u64,
    /// How much of `own` the effective `low` keeps.
    pub(crate) own_low: u64,
}

/// How far reclaim goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Keeps `low` and `min`: the first rounds.
    Low,
    /// Keeps `min` alone: when what is above `low` was not enough, which is an event `low` of the group.
    Min,
}

impl Protection {
    /// Returns how much may be taken of what the group itself uses, in bytes; children answer for theirs.
    pub(crate) fn eligible(&self, keep: Keep) -> u64 {
        let kept = match keep {
            Keep::Low => self.own_low.max(self.own_min),
            Keep::Min => self.own_min,
        };
        self.own.saturating_sub(kept)
    }
}

/// Works out what is kept of every member, in their order.
///
/// It goes through the members three times, and allocates twice. Usages that do not add up, read while they change, give
/// shares that are as much off, and nothing worse.
///
/// # Panics
///
/// If a member's parent is not in the snapshot; if it stands behind its child, with debug assertions.
pub(crate) fn protect(members: &[Member]) -> Vec<Protection> {
    let mut kin = vec![Kin::default(); members.len()];
    for (i, member) in members.iter().enumerate().skip(1) {
        debug_assert!(member.parent < i, "parents stand before their children");
        kin[member.parent].claim(member);
    }
    let mut kept = vec![Protection::default(); members.len()];
    for (i, member) in members.iter().enumerate().skip(1) {
        (kept[i].min, kept[i].low) = if member.parent == 0 {
            (member.min, member.low)
        } else {
            let (parent, above) = (&members[member.parent], kept[member.parent]);
            let kin = &mut kin[member.parent];
            (
                kin.min.next(member.usage, member.min, parent.usage, above.min),
                kin.low.next(member.usage, member.low, parent.usage, above.low),
            )
        };
    }
    for ((member, kin), kept) in members.iter().zip(&mut kin).zip(&mut kept) {
        kept.own = member.usage.saturating_sub(kin.usage);
        kept.own_min = kin.min.next(kept.own, 0, member.usage, kept.min);
        kept.own_low = kin.low.next(kept.own, 0, member.usage, kept.low);
    }
    kept
}

/// Returns how much of `usage` is protected: of a child that set `setting`, beside siblings that claim
/// `siblings_protected` together with it, below a parent that uses `parent_usage` and has `parent_effective`.
///
/// All in bytes, and any values will do: what does not add up is cut off rather than wrapped. A child of the
/// reclaim root has its setting instead.
pub(crate) fn effective(
    usage: u64,
    setting: u64,
    parent_usage: u64,
    parent_effective: u64,
    siblings_protected: u64,
) -> u64 {
    let claim = usage.min(setting);
    let Some(unclaimed) = parent_effective.checked_sub(siblings_protected) else {
        return mul_div(claim, parent_effective, siblings_protected);
    };
    // At zero nobody uses more than they claim. A claim that is read late says otherwise, and waits.
    let beyond_claims = parent_usage.saturating_sub(siblings_protected);
    if beyond_claims == 0 {
        return claim;
    }
    let beyond = (usage - claim).min(beyond_claims);
    claim + mul_div(beyond, unclaimed.min(beyond_claims), beyond_claims)
}

/// The children of one group, as they share its protection.
#[derive(Debug, Clone, Copy, Default)]
struct Kin {
    /// What the children use.
    usage: u64,
    min: Division,
    low: Division,
}

impl Kin {
    fn claim(&mut self, child: &Member) {
        self.usage = self.usage.saturating_add(child.usage);
        self.min.claim(child.usage, child.min);
        self.low.claim(child.usage, child.low);
    }
}

/// How far the division of one protection among siblings has come.
#[derive(Debug, Clone, Copy, Default)]
struct Division {
    /// What all siblings claim.
    claims: u64,
    /// What those use that had their share.
    usage: u64,
    /// What they claim.
    claimed: u64,
    /// What they were given.
    given: u64,
}

impl Division {
    fn claim(&mut self, usage: u64, setting: u64) {
        self.claims = self.claims.saturating_add(usage.min(setting));
    }

    /// Gives the next sibling its share: what the run with it has together, less what the run had before.
    fn next(&mut self, usage: u64, setting: u64, parent_usage: u64, parent_effective: u64) -> u64 {
        self.usage = self.usage.saturating_add(usage);
        self.claimed = self.claimed.saturating_add(usage.min(setting));
        let together =
            effective(self.usage, self.claimed, parent_usage, parent_effective, self.claims);
        // A longer run never has less: one that joins adds at least as much as its claim takes from the rest.
        let share = together - self.given;
        self.given = together;
        share
    }
}

/// Returns `a * b / c`, rounded down, and no more than there is room for; `c` is not zero.
fn mul_div(a: u64, b: u64, c: u64) -> u64 {
    u64::try_from(u128::from(a) * u128::from(b) / u128::from(c)).unwrap_or(u64::MAX)
}
