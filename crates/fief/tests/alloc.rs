//! What futures allocate is charged to their group.
#![cfg(all(feature = "alloc", feature = "cpu", feature = "io", feature = "memory"))]

use fief::{alloc::GroupAlloc, prelude::*};

#[global_allocator]
static ALLOCATOR: GroupAlloc = GroupAlloc::new();

#[test]
fn what_a_future_allocates_is_charged_until_it_is_freed() {
    let fief = Fief::new().unwrap();
    let acme = fief.group("acme").unwrap();
    let page = acme.run(async { vec![1_u8; 1 << 20] }).join().unwrap();
    fief::alloc::settle();
    let charged = || acme.memory().unwrap().current();
    assert!(charged() >= 1 << 20, "{}", charged());
    drop(page);
    fief::alloc::settle();
    assert!(charged() < 1 << 20, "{}", charged());
}
