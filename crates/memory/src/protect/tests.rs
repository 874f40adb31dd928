//! Protection and shares: the kernel's selftest, corner cases, and properties over random trees.

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    Keep, Member, Protection, effective, protect,
    shares::{DEFAULT_WEIGHT, shares},
};

const M: u64 = 1 << 20;
/// The greatest usage and setting there is.
const MOST: u64 = (1 << 63) - 2;

/// The tree of the kernel's `test_memcg_protection` (`tools/testing/selftests/cgroup/test_memcontrol.c`): `A`
/// may have 200M, `B` with its children holds files that can be dropped, `G` memory that cannot.
mod selftest {
    pub(super) const A: usize = 0;
    pub(super) const B: usize = 1;
    pub(super) const C: usize = 2;
    pub(super) const D: usize = 3;
    pub(super) const E: usize = 4;
    pub(super) const F: usize = 5;
    pub(super) const G: usize = 6;
}
use selftest::{A, B, C, D, E, F, G};

#[derive(Debug)]
struct Selftest {
    members: Vec<Member>,
}

impl Selftest {
    /// `set` makes a setting a `min` or a `low`.
    fn new(set: fn(u64) -> (u64, u64)) -> Self {
        let member = |parent, usage, setting| {
            let (min, low) = set(setting * M);
            Member { parent, usage: usage * M, min, low }
        };
        let members = vec![
            member(A, 150, 0),
            member(A, 150, 50),
            member(B, 50, 75),
            member(B, 50, 25),
            member(B, 50, 0),
            member(B, 0, 500),
            member(A, 0, 0),
        ];
        Self { members }
    }

    /// Has `G` grow to so many MiB, one quarter at a time, with what reclaim makes room for.
    fn grow(&mut self, to: u64) -> Result<(), Keep> {
        while self.members[G].usage < to * M {
            self.add(G, M / 4);
            let over = self.members[A].usage.saturating_sub(200 * M);
            if let Err(keep) = self.reclaim(over) {
                self.sub(G, M / 4);
                return Err(keep);
            }
        }
        Ok(())
    }

    /// Takes `want` bytes from below `A`: first what is above `low`, then what is above `min`.
    fn reclaim(&mut self, mut want: u64) -> Result<(), Keep> {
        for keep in [Keep::Low, Keep::Min] {
            let kept = protect(&self.members);
            let parts: Vec<_> = (A..=F).map(|i| (kept[i].eligible(keep), DEFAULT_WEIGHT)).collect();
            for (i, quota) in shares(want, &parts, 4096).into_iter().enumerate() {
                self.sub(i, quota);
                want = want.saturating_sub(quota);
            }
        }
        if want == 0 { Ok(()) } else { Err(Keep::Min) }
    }

    fn add(&mut self, mut i: usize, bytes: u64) {
        while i != A {
            self.members[i].usage += bytes;
            i = self.members[i].parent;
        }
        self.members[A].usage += bytes;
    }

    fn sub(&mut self, mut i: usize, bytes: u64) {
        while i != A {
            self.members[i].usage -= bytes;
            i = self.members[i].parent;
        }
        self.members[A].usage -= bytes;
    }

    /// The usages of `B`, `C`, `D`, `E` and `F` are so many MiB, give or take 3 %; the kernel gives itself 20 %.
    #[track_caller]
    fn expect(&self, expected: [u64; 5]) {
        for (i, expected) in (B..=F).zip(expected) {
            let (usage, expected) = (self.members[i].usage, expected * M);
            let tolerance = expected * 3 / 100;
            assert!(usage.abs_diff(expected) <= tolerance, "member {i}: {usage}, not {expected}");
        }
    }
}

#[test]
fn min_keeps_what_the_kernels_selftest_expects() {
    let mut tree = Selftest::new(|setting| (setting, 0));
    tree.grow(150).expect("B is above its min");
    tree.expect([50, 29, 21, 0, 0]);
    // What min keeps is not there even when there is nothing else.
    tree.grow(170).expect_err("B is at its min");
    tree.expect([50, 29, 21, 0, 0]);
}

#[test]
fn low_keeps_what_the_kernels_selftest_expects() {
    let mut tree = Selftest::new(|setting| (0, setting));
    tree.grow(150).expect("B is above its low");
    tree.expect([50, 29, 21, 0, 0]);
    // What low keeps gives way when there is nothing else.
    tree.grow(170).expect("B has no min");
    let b = tree.members[B].usage;
    assert_eq!(b, 30 * M);
}

#[test]
fn a_reclaim_root_is_not_protected_against_itself() {
    let mut tree = Selftest::new(|setting| (setting, setting));
    tree.grow(150).expect("B is above its min");
    // As when C's own limit is lowered, or its `memory.reclaim` is written.
    let kept = protect(&[Member { parent: 9, ..tree.members[C] }]);
    assert_eq!(kept[0].eligible(Keep::Low), tree.members[C].usage);
    // Below B nobody shares what B has of A: the settings of its children count as they are.
    let below: Vec<_> = (B..=F)
        .map(|i| Member { parent: tree.members[i].parent.saturating_sub(B), ..tree.members[i] })
        .collect();
    let kept = protect(&below);
    assert_eq!([kept[C - B].min, kept[D - B].min, kept[E - B].min], [75 * M, 25 * M, 0]);
    assert_eq!(kept[C - B].eligible(Keep::Min), 0);
}

#[test]
fn a_groups_own_usage_counts_as_a_child_that_claims_nothing() {
    // The group uses 100 and has 60: a child claims 20, so 40 are for the 80 that nobody claims.
    let kept = protect(&[
        Member { usage: 100, ..Member::default() },
        Member { parent: 0, usage: 100, min: 60, low: 0 },
        Member { parent: 1, usage: 40, min: 20, low: 0 },
    ]);
    assert_eq!((kept[1].own, kept[1].own_min), (60, 30));
    assert_eq!((kept[2].own, kept[2].own_min), (40, 30));
    assert_eq!((kept[1].eligible(Keep::Min), kept[2].eligible(Keep::Min)), (30, 10));
    assert_eq!(kept[0], Protection::default());
}

#[test]
fn overcommitted_protection_is_shared_by_what_is_claimed() {
    assert_eq!(effective(50, 75, 150, 50, 75), 33);
    assert_eq!(effective(50, 25, 150, 50, 75), 16);
    assert_eq!(effective(50, 0, 150, 50, 75), 0);
    // What is set and not used takes nothing from the siblings.
    assert_eq!(effective(0, 500, 150, 50, 75), 0);
    assert_eq!(effective(0, 0, 0, 0, 0), 0);
    // A usage that was read later than the parent's is not protected by more than there is.
    assert_eq!(effective(100, 10, 50, 40, 20), 30);
    // Thirds of a byte are given to somebody.
    let child = Member { parent: 1, usage: 10, min: 10, low: 0 };
    let root = Member { usage: 30, ..Member::default() };
    let kept = protect(&[root, Member { usage: 30, min: 10, ..root }, child, child, child]);
    assert_eq!([kept[2].min, kept[3].min, kept[4].min], [3, 3, 4]);
}

#[test]
fn low_counts_beside_min_and_not_on_top_of_it() {
    let root = Member { usage: 100, ..Member::default() };
    let kept = protect(&[root, Member { parent: 0, usage: 100, min: 70, low: 40 }]);
    assert_eq!((kept[1].eligible(Keep::Low), kept[1].eligible(Keep::Min)), (30, 30));
    let kept = protect(&[root, Member { parent: 0, usage: 100, min: 40, low: 70 }]);
    assert_eq!((kept[1].eligible(Keep::Low), kept[1].eligible(Keep::Min)), (30, 60));
}

#[test]
fn no_members_and_no_usage_are_fine() {
    assert!(protect(&[]).is_empty());
    let kept = protect(&[Member::default(), Member { parent: 0, usage: 0, min: 5, low: 5 }]);
    assert_eq!(kept[1].eligible(Keep::Low), 0);
    assert!(shares(100, &[], 10).is_empty());
    assert_eq!(shares(100, &[(0, 100), (0, 0)], 10), [0, 0]);
    assert_eq!(shares(0, &[(100, 100)], 10), [0]);
}

#[test]
fn shares_go_by_what_is_eligible_and_against_weight() {
    assert_eq!(shares(40, &[(100, 100), (300, 100)], 0), [10, 30]);
    assert_eq!(shares(30, &[(100, 100), (100, 200)], 0), [20, 10]);
    // The first has not got its share; the others take its part.
    assert_eq!(shares(70, &[(30, 1), (100, 100), (100, 100)], 0), [30, 20, 20]);
    assert_eq!(shares(1000, &[(30, 1), (100, 100)], 0), [30, 100]);
    // A third and three thirds, rounded, are not quite four thirds.
    assert_eq!(shares(4, &[(1, 3), (3, 3)], 0), [1, 3]);
}

#[test]
fn small_quotas_go_to_the_larger_ones() {
    // 1, 2 and 97 without a floor: the largest gives it all.
    assert_eq!(shares(100, &[(100, 100), (200, 100), (9700, 100)], 10), [0, 0, 100]);
    // Below a floor all the same: one gives a floor.
    assert_eq!(shares(3, &[(100, 100), (200, 100)], 10), [0, 10]);
    assert_eq!(shares(3, &[(4, 100), (5, 100)], 10), [0, 5]);
    // The large one has not got it all: the next gives a floor, and not just the byte that is missing.
    assert_eq!(shares(51, &[(20, 10_000), (50, 1)], 10), [10, 50]);
    // Whoever gives all they have may give less than a floor.
    assert_eq!(shares(57, &[(7, 1), (50, 100)], 10), [7, 50]);
    assert_eq!(shares(47, &[(7, 1), (50, 100), (50, 100)], 10), [7, 20, 20]);
}

/// A tree of up to 12 groups whose usages add up. Sizes are small, so that rounding shows, or huge.
fn tree() -> impl Strategy<Value = Vec<Member>> {
    let group = (any::<u32>(), 0..20u64, 0..30u64, 0..30u64);
    (vec(group, 1..12), select(vec![1, 3, M, MOST / 300])).prop_map(|(groups, unit)| {
        let mut members: Vec<Member> = Vec::new();
        for (i, (above, own, min, low)) in groups.into_iter().enumerate() {
            let parent = above as usize % i.max(1);
            members.push(Member { parent, usage: own * unit, min: min * unit, low: low * unit });
        }
        for i in (1..members.len()).rev() {
            let Member { parent, usage, .. } = members[i];
            members[parent].usage += usage;
        }
        members
    })
}

/// Takes everything eligible, and returns the usages with all below that are left.
fn take_all(members: &[Member], kept: &[Protection], keep: Keep) -> Vec<u64> {
    let mut left: Vec<u64> = kept.iter().map(|kept| kept.own - kept.eligible(keep)).collect();
    for i in (1..members.len()).rev() {
        left[members[i].parent] += left[i];
    }
    left
}

proptest! {
    #[test]
    fn protection_is_divided_to_the_byte(members in tree()) {
        let kept = protect(&members);
        for (i, member) in members.iter().enumerate().skip(1) {
            let children = || (1..members.len()).filter(|&child| members[child].parent == i);
            let min = children().map(|child| kept[child].min).sum::<u64>() + kept[i].own_min;
            let low = children().map(|child| kept[child].low).sum::<u64>() + kept[i].own_low;
            prop_assert_eq!(min, kept[i].min.min(member.usage));
            prop_assert_eq!(low, kept[i].low.min(member.usage));
        }
    }

    /// The rule as the kernel states it, child by child, on the figures of its parent.
    #[test]
    fn a_child_has_what_the_rule_says_but_for_a_byte(members in tree()) {
        let kept = protect(&members);
        for (i, member) in members.iter().enumerate().skip(1).filter(|(_, m)| m.parent != 0) {
            let siblings = members.iter().skip(1).filter(|sibling| sibling.parent == member.parent);
            let claims = siblings.map(|sibling| u128::from(sibling.usage.min(sibling.min))).sum::<u128>();
            let above = u128::from(kept[member.parent].min);
            let (usage, claim) = (u128::from(member.usage), u128::from(member.usage.min(member.min)));
            let used_above = u128::from(members[member.parent].usage);
            let rule = if claims > above {
                claim * above / claims
            } else if usage > claim && used_above > claims {
                claim + (above - claims) * (usage - claim) / (used_above - claims)
            } else {
                claim
            };
            prop_assert!(rule.min(usage).abs_diff(u128::from(kept[i].min)) <= 1);
            prop_assert!(kept[i].min <= member.usage);
        }
    }

    #[test]
    fn nobody_is_taken_below_their_protection(members in tree()) {
        let kept = protect(&members);
        let left = take_all(&members, &kept, Keep::Min);
        for i in 1..members.len() {
            prop_assert_eq!(left[i], members[i].usage.min(kept[i].min));
        }
        let left = take_all(&members, &kept, Keep::Low);
        for i in 1..members.len() {
            prop_assert!(left[i] >= members[i].usage.min(kept[i].min.max(kept[i].low)));
        }
    }

    #[test]
    fn to_ask_for_more_never_gives_less(members in tree(), who in any::<u32>(), more in 0..10 * M) {
        let i = who as usize % members.len();
        let mut asking = members.clone();
        asking[i].min += more;
        asking[i].low += more;
        let (before, after) = (protect(&members)[i], protect(&asking)[i]);
        prop_assert!(after.min >= before.min && after.low >= before.low);
    }

    /// Figures that were read while they changed, or were made up, up to the greatest there are.
    #[test]
    fn any_figures_will_do(
        figures in vec((any::<u32>(), figure(), figure(), figure()), 1..10),
        want in figure(),
        floor in figure(),
    ) {
        let members: Vec<_> = (0..).zip(figures).map(|(i, (above, usage, min, low))| {
            Member { parent: above as usize % std::cmp::max(i, 1), usage, min, low }
        }).collect();
        let kept = protect(&members);
        for (member, kept) in members.iter().zip(&kept) {
            prop_assert!(kept.own_min <= kept.own && kept.own_low <= kept.own && kept.own <= member.usage);
        }
        let parts: Vec<_> = (0..).zip(&kept).map(|(w, kept)| (kept.eligible(Keep::Min), w)).collect();
        for (quota, part) in shares(want, &parts, floor).into_iter().zip(parts) {
            prop_assert!(quota <= part.0);
        }
    }

    #[test]
    fn shares_are_exact_but_for_a_floor(
        want in 0..3000u64,
        parts in vec((0..400u64, 0..10_000u32), 0..20),
        floor in 0..100u64,
        unit in select(vec![1, 7, M, MOST / 100_000]),
    ) {
        let (want, floor) = (want * unit, floor * unit);
        let parts: Vec<_> = parts.into_iter().map(|(bytes, weight)| (bytes * unit, weight)).collect();
        let quotas = shares(want, &parts, floor);
        prop_assert_eq!(&quotas, &shares(want, &parts, floor));
        let (sum, eligible) = (quotas.iter().sum::<u64>(), parts.iter().map(|part| part.0).sum());
        let want = want.min(eligible);
        prop_assert!(sum >= want && sum - want < floor.max(1), "{sum} for {want}: {quotas:?}");
        for (&quota, part) in quotas.iter().zip(&parts) {
            prop_assert!(quota <= part.0);
            prop_assert!(quota == 0 || quota >= floor.min(part.0), "{quota} of {part:?}");
        }
    }

    /// Without a floor: nobody gives a larger fraction than one of less weight, and nobody of the same weight
    /// a different one, but for what rounding does.
    #[test]
    fn fractions_go_against_weight(
        want in 1..3000u64,
        parts in vec((1..400u64, 1..1000u32), 2..12),
    ) {
        let parts: Vec<_> = parts.into_iter().map(|(bytes, weight)| (bytes * M, weight)).collect();
        let quotas = shares(want * M, &parts, 0);
        for (&a, &(of_a, heavy)) in quotas.iter().zip(&parts) {
            for (&b, &(of_b, light)) in quotas.iter().zip(&parts).filter(|(_, b)| b.1 <= heavy) {
                // The level: either b gives all, or both stand at the same.
                let (a, b) = (u128::from(a) * u128::from(heavy), u128::from(b) * u128::from(light));
                let (level_a, level_b) = (a * u128::from(of_b), b * u128::from(of_a));
                let slack = u128::from(heavy) * 64 * u128::from(of_a.max(of_b));
                let all = b == u128::from(of_b) * u128::from(light);
                prop_assert!(all || level_a <= level_b + slack, "{quotas:?} of {parts:?}");
            }
        }
    }
}

fn figure() -> impl Strategy<Value = u64> {
    prop_oneof![0..4u64, 0..=MOST, MOST - 3..=MOST]
}
