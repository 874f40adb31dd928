//! What the memory controller keeps for a group and for a thread, as growth of resident memory in a process
//! that measures nothing else.

use std::{hint::black_box, sync::Barrier, thread};

use fief_core::{Cgroup, CssRef, Hierarchy};
use fief_memory::MemoryCss;

use super::{BYTES, Grove, charge_and_uncharge};
use crate::{
    forest::{Forest, manual},
    system::resident,
};

/// The names of what [`figures`] returns.
pub const FIGURES: &[&str] = &[
    "memory group",
    "memory group, charged",
    "memory thread, 32 groups",
    "memory thread, 64 groups",
];

/// Groups by whose creation memory is measured.
const GROUPS: u32 = 20_000;
/// Threads by whose charges it is.
const THREADS: usize = 1_000;
/// What a thread has in its own storage, whether or not it charges: 64 places, and a little beside.
const STORAGE: f64 = 560.0;

/// Returns bytes: of a group beyond what one with an empty subsystem has, and once it was charged; and of a
/// thread that charges so many groups.
#[must_use]
pub fn figures() -> Vec<f64> {
    let forest = Forest::new(manual(), 1, 1_000);
    let grove = Grove::new();
    let touched = |css: CssRef<MemoryCss>| drop(black_box(css));
    // The first ones of each grow tables.
    made(&grove.hierarchy, "first", 1_000).iter().for_each(|group| touched(grove.css(group)));

    let (plain, others) = grown(&forest.hierarchy, |group| {
        drop(black_box(forest.controllers[0].css(group)));
    });
    let (group, groups) = grown(&grove.hierarchy, |group| touched(grove.css(group)));
    let before = resident();
    groups.iter().for_each(|group| charge_and_uncharge(&grove.css(group)));
    let charged = (resident() - before) as f64 / f64::from(GROUPS);
    drop(others);
    let group = group - plain;
    vec![group, group + charged, per_thread(32), per_thread(64)]
}

/// Makes groups below the root of `hierarchy` and touches the css of each; returns the bytes of one.
fn grown(hierarchy: &Hierarchy, touch: impl Fn(&Cgroup)) -> (f64, Vec<Cgroup>) {
    let root = hierarchy.root();
    // Resident already, and overwritten below.
    let mut made: Vec<Cgroup> = (0..GROUPS).map(|_| Cgroup::clone(&root)).collect();
    let before = resident();
    for (number, place) in made.iter_mut().enumerate() {
        *place = root.create_child(&format!("tenant{number:06}")).expect("room");
        touch(place);
    }
    ((resident() - before) as f64 / f64::from(GROUPS), made)
}

fn made(hierarchy: &Hierarchy, name: &str, count: usize) -> Vec<Cgroup> {
    let root = hierarchy.root();
    (0..count).map(|number| root.create_child(&format!("{name}{number}")).expect("room")).collect()
}

/// Returns the bytes of each of many threads that live at one time and charge `groups` groups.
///
/// Each has charged one of them before the measurement: its stack, and what the allocator has for it, are
/// there. That one counts as much as the mean of the others.
fn per_thread(groups: usize) -> f64 {
    let grove = Grove::new();
    let css = &grove.siblings(groups);
    let barrier = &Barrier::new(THREADS + 1);
    let charge = &|| {
        (0..100).for_each(|_| drop(css[0].try_charge(BYTES << 4)));
        (0..100).for_each(|_| css[0].uncharge(BYTES << 4));
        barrier.wait();
        barrier.wait();
        css[1..].iter().for_each(|css| charge_and_uncharge(css));
        barrier.wait();
        barrier.wait();
    };
    let growth = thread::scope(|scope| {
        (0..THREADS).for_each(|_| drop(scope.spawn(charge)));
        barrier.wait();
        let before = resident();
        barrier.wait();
        barrier.wait();
        let after = resident();
        barrier.wait();
        after - before
    });
    let part = (groups - 1) as f64 / groups as f64;
    STORAGE + growth as f64 / THREADS as f64 / part
}
