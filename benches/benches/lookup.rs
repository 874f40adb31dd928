//! What does it cost to find the css that pays, from a task?
//!
//! Expected: the guard is most of it, about as much as an `Arc`'s clone and drop; the lookup below it
//! is a few loads. So one guard for 16 lookups costs a fraction a lookup of one guard each. With
//! 4,096 tasks in a random order the loads miss the first cache, and that shows. Two threads do not
//! disturb each other: nothing shared is written.

use benches::{
    compare::{criterion, on_one_thread_and_two},
    forest::{Forest, manual},
    pair::{ArcClone, Guard, Lookup, SwapLoad},
};

fn main() {
    let mut criterion = criterion();
    let one = Forest::new(manual(), 4, 1);
    let many = Forest::new(manual(), 4, 4_096);
    on_one_thread_and_two(
        &mut criterion,
        "lookup",
        &[
            ("guard alone", &Guard(one.registry.clone())),
            ("task_css and try_get, 1 task, a guard each", &Lookup::new(&one, 1)),
            ("task_css and try_get, 1 task, a guard for 16", &Lookup::new(&one, 16)),
            ("task_css and try_get, 4,096 tasks, a guard each", &Lookup::new(&many, 1)),
            ("task_css and try_get, 4,096 tasks, a guard for 16", &Lookup::new(&many, 16)),
            ("arc-swap load", &SwapLoad::default()),
            ("std Arc clone", &ArcClone::default()),
        ],
    );
    criterion.final_summary();
}
