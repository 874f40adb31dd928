//! `hooked_all`: what a small block costs in a process with the allocator that attributes all.
#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::alloc::System;

use benches::footprint::Subject;
use fief_alloc::GroupAlloc;

#[global_allocator]
static ALLOCATOR: GroupAlloc<System, 0> = GroupAlloc::wrapping(System);

fn main() {
    println!("{}", Subject::HookedAll.line());
}
