//! `hooked`: what a small block costs in a process with the allocator that attributes large ones.
#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use benches::footprint::Subject;
use fief_alloc::GroupAlloc;

#[global_allocator]
static ALLOCATOR: GroupAlloc = GroupAlloc::new();

fn main() {
    println!("{}", Subject::Hooked.line());
}
