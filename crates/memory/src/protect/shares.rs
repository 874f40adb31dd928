//! Who gives how much: quotas for a round of reclaim.
//!
//! # Algorithm
//!
//! 1. Everybody gives the same fraction of what they may give, divided by their weight, and nobody more than all
//!    of it: at a level `t`, one of weight `w` gives `eligible * min(1, t / w)`. Whoever has the smallest
//!    weight is the first to give all; so they are gone through in that order, and no level has to be found.
//! 2. A quota below the floor, unless it is everything there is, is not worth asking for: a spill file of some
//!    kilobytes costs a file and frees nothing. Those with the smallest `eligible / weight` are let off until no
//!    such quota is left, and what they would have given is the others'.
//! 3. If the others have not got that much, or all were let off, the first that were let off give a floor each, or
//!    what they have: more than was wanted, by less than a floor.
//!
//! So where the floor is close to what is wanted, one part gives it all, the one that is furthest above its
//! protection; shares follow the proportions when a round is worth several floors.
//!
//! Equal input gives equal quotas; ties go to whom is named first.
//!
//! # Source
//!
//! Proportional to eligible usage is what the kernel's scan does (`get_scan_count`, `mm/vmscan.c`); weights
//! and the floor are ours.

use super::mul_div;

/// The weight of those who said nothing.
pub(crate) const DEFAULT_WEIGHT: u32 = 100;

/// Returns how many bytes of `want` each of `parts` is asked for.
///
/// A part is what it may give, in bytes, and its weight: the priority to keep, so one of weight 200 gives half
/// the fraction that one of [`DEFAULT_WEIGHT`] gives; 0 counts as 1. The quotas add up to `want`, or to all
/// that is eligible if that is less, and exceed it by less than one `floor`. None is more than its part may give;
/// one that is below `floor` is either nothing or all of it.
///
/// The cost is that of sorting the parts some times: `n log² n`.
pub(crate) fn shares(want: u64, parts: &[(u64, u32)], floor: u64) -> Vec<u64> {
    let parts = scale(parts);
    let mut by_stake: Vec<usize> = (0..parts.len()).collect();
    by_stake.sort_by_key(|&i| (std::cmp::Reverse(parts[i].stake), i));

    let mut quotas = vec![0; parts.len()];
    // The more are asked the less each gives: bisect for the most that all give enough.
    let (mut enough, mut too_many) = (0, parts.len() + 1);
    while too_many - enough > 1 {
        let middle = enough.midpoint(too_many);
        let asked = &by_stake[..middle];
        divide(want, &parts, asked, &mut quotas);
        if asked.iter().all(|&i| quotas[i] >= floor.min(parts[i].eligible)) {
            enough = middle;
        } else {
            too_many = middle;
        }
    }
    let (asked, let_off) = by_stake.split_at(enough);
    quotas.fill(0);
    let mut left = divide(want, &parts, asked, &mut quotas);
    for &i in let_off {
        if left == 0 {
            break;
        }
        quotas[i] = left.max(floor).min(parts[i].eligible);
        left = left.saturating_sub(quotas[i]);
    }
    quotas
}

/// A part and its stake.
#[derive(Debug, Clone, Copy)]
struct Part {
    eligible: u64,
    weight: u32,
    /// `eligible / weight`, in a unit in which the sum of all fits 64 bits with as many digits as it can.
    stake: u64,
}

fn scale(parts: &[(u64, u32)]) -> Vec<Part> {
    let stake = |&(eligible, weight): &(u64, u32)| {
        (u128::from(eligible) << u32::BITS) / u128::from(weight.max(1))
    };
    // Below 2^96 each, so memory does not hold the parts that would overflow it.
    let sum: u128 = parts.iter().map(stake).sum();
    let shift = (u128::BITS - sum.leading_zeros()).saturating_sub(u64::BITS);
    let part = |part: &(u64, u32)| Part {
        eligible: part.0,
        weight: part.1.max(1),
        stake: u64::try_from(stake(part) >> shift).unwrap_or(u64::MAX),
    };
    parts.iter().map(part).collect()
}

/// Divides `want` among those `asked`, without a floor, and returns what they have not got.
fn divide(want: u64, parts: &[Part], asked: &[usize], quotas: &mut [u64]) -> u64 {
    let mut by_weight = asked.to_vec();
    by_weight.sort_by_key(|&i| (parts[i].weight, i));
    let mut left = want;
    let mut stakes: u64 = asked.iter().map(|&i| parts[i].stake).sum();
    // Everybody has their share of what is left. Those of small weight give all they have before the others'
    // turn comes, and what they have not got is the others'.
    for &i in &by_weight {
        let part = &parts[i];
        let share = if stakes == 0 { 0 } else { mul_div(left, part.stake, stakes) };
        quotas[i] = share.min(part.eligible);
        left -= quotas[i];
        stakes -= part.stake;
    }
    // Rounding may have left some bytes with those whose turn it was before.
    for &i in &by_weight {
        let more = left.min(parts[i].eligible - quotas[i]);
        quotas[i] += more;
        left -= more;
    }
    left
}
