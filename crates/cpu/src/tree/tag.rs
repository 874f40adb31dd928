//! Arithmetic of virtual time: how far a child has come in its parent's queue.
//!
//! A tag counts nanoseconds of CPU time times 2^16 divided by the weight, modulo 2^64. Tags are
//! compared by their distance, which is right while two of them are less than 2^63 apart: 39 hours of
//! CPU time at weight 1. Waiting children are never that far apart (see the bounds of
//! [`tree`](super)); one that slept that long is recognised by [`clamp`].

/// Tags have this many bits behind the point.
const SHIFT: u32 = 16;

/// No single charge moves a tag by more: 4.9 hours. All of these are far beyond any debt.
const FURTHEST: u64 = 1 << 44;

/// Nobody who owes at most a second gets this much further ahead: 8.6 s.
const FAR: u64 = 1 << 33;

/// Whether `a` is before `b`.
pub(super) const fn is_before(a: u64, b: u64) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

/// The later one of the two.
pub(super) const fn later(a: u64, b: u64) -> u64 {
    if is_before(a, b) { b } else { a }
}

/// How far `cpu_ns` take a child of this weight.
pub(super) const fn span(cpu_ns: u64, weight: u16) -> u64 {
    let cpu_ns = if cpu_ns < FURTHEST { cpu_ns } else { FURTHEST };
    (cpu_ns << SHIFT) / weight as u64
}

/// Whether a child of this weight that goes this far uses more than `cpu_ns`.
const fn exceeds(distance: u64, weight: u16, cpu_ns: u64) -> bool {
    distance.saturating_mul(weight as u64) > cpu_ns << SHIFT
}

/// The tag of a child that comes (back) to a queue at `clock`: no more than `credit_ns` behind the
/// clock, no more than `debt_ns` ahead.
///
/// Nothing puts a child more than `debt_ns` ahead (or what that was before a setting changed), so one
/// that seems much further ahead was left behind by more than half of the range: it is behind.
pub(super) const fn clamp(tag: u64, clock: u64, weight: u16, credit_ns: u64, debt_ns: u64) -> u64 {
    let ahead = tag.wrapping_sub(clock).cast_signed();
    let distance = ahead.unsigned_abs();
    if ahead > 0 && !exceeds(distance, weight, FAR + debt_ns) {
        return cap(tag, clock, weight, debt_ns);
    }
    if ahead > 0 || exceeds(distance, weight, credit_ns) {
        clock.wrapping_sub(span(credit_ns, weight))
    } else {
        tag
    }
}

/// The tag, but no more than `debt_ns` ahead of the clock.
pub(super) const fn cap(tag: u64, clock: u64, weight: u16, debt_ns: u64) -> u64 {
    let ahead = tag.wrapping_sub(clock).cast_signed();
    if ahead > 0 && exceeds(ahead.unsigned_abs(), weight, debt_ns) {
        clock.wrapping_add(span(debt_ns, weight))
    } else {
        tag
    }
}

/// The tag after a change of weight: the child is ahead of or behind the clock by as much CPU time
/// as before.
pub(super) fn reweigh(tag: u64, clock: u64, from: u16, to: u16) -> u64 {
    let ahead = i128::from(tag.wrapping_sub(clock).cast_signed());
    let ahead = ahead * i128::from(from) / i128::from(to);
    let bound = i128::from(i64::MAX);
    let ahead = i64::try_from(ahead.clamp(-bound, bound)).unwrap_or_default();
    clock.wrapping_add_signed(ahead)
}
