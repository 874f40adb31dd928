//! What a group costs in memory.

use std::{hint::black_box, thread};

use fief_core::Cgroup;

use crate::{
    forest::{Forest, manual},
    system::resident,
};

/// Returns the bytes by which the process's resident memory grew for each of `groups` groups.
///
/// Each has four css of empty subsystems, and two threads have taken and dropped a reference to
/// every one of them, so that both have made their counting cells. Everything is in it: groups,
/// names of 12 bytes, css, headers, cells, columns, what the allocator adds. The caller's own
/// handles are not. To be called in a fresh process: what was freed before would be used again.
#[must_use]
pub fn per_group(groups: u32) -> f64 {
    let forest = Forest::new(manual(), 4, 1_000);
    touch_on_two_threads(&forest, &forest.groups);
    let root = forest.hierarchy.root();
    // Resident already, and overwritten below.
    let mut made: Vec<Cgroup> = (0..groups).map(|_| Cgroup::clone(&root)).collect();

    let before = resident();
    for (number, place) in made.iter_mut().enumerate() {
        *place = root.create_child(&format!("tenant{number:06}")).expect("room");
    }
    touch_on_two_threads(&forest, &made);
    let after = resident();
    (after - before) as f64 / f64::from(groups)
}

fn touch_on_two_threads(forest: &Forest, groups: &[Cgroup]) {
    let touch = || {
        for group in groups {
            for controller in &forest.controllers {
                drop(black_box(controller.css(group)));
            }
        }
    };
    touch();
    thread::scope(|scope| drop(scope.spawn(touch)));
}
