//! The scoreboard's race, run against `cap` as this process's allocator.
//!
//! `cap` subtracts first and looks afterwards, so a request that will be refused takes the whole
//! counter below zero for a moment, which it shows as nearly all addresses being free. Whoever comes
//! in that moment is let through, and leaves it below zero for good.

use std::alloc::System;

use cap::Cap;
use peers::contest::{self, LARGE, LIMIT};
use peers::ours::{Held, Memory};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// A block that may be refused.
fn take(bytes: usize) -> Option<Vec<u8>> {
    let mut block = Vec::new();
    block.try_reserve_exact(bytes).ok().map(|()| block)
}

/// One test, as the limit is the process's.
#[test]
fn ours_is_exact_where_cap_lets_small_requests_through() {
    let begin = || ALLOCATOR.set_limit(ALLOCATOR.allocated() + LIMIT).expect("there is room");
    let end = || ALLOCATOR.set_limit(usize::MAX).expect("that is no limit");

    begin();
    let alone = [take(LARGE).is_some(), take(LIMIT).is_some(), take(LIMIT + 1).is_some()];
    end();
    assert_eq!(alone, [false, true, false], "cap, with nobody else");

    // How often the moment is met is chance: `cap` is shown, not held to anything.
    let cap = contest::race(200, begin, take, end);
    let group = Memory::new(8, LIMIT);
    let ours = contest::race(200, || {}, |bytes| Held::new(&group, bytes), || {});
    for (who, outcome) in [("cap", cap), ("ours", ours)] {
        println!(
            "| 4 KiB requests beside refused ones of 1 GiB, limit 1 MiB | {who} | {outcome} |"
        );
    }
    assert_eq!((ours.over, ours.most, ours.settled, ours.large), (0, LIMIT, LIMIT, 0));
}
