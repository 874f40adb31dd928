//! More threads than thread slots, at one time.

use std::{
    sync::{Arc, Barrier},
    thread,
};

use fief_core::{Css, HookError, Registry, Removal, State, Subsystem, prepare_thread};

struct Unit;

impl Subsystem for Unit {
    type State = u64;

    fn name(&self) -> &str {
        "unit"
    }

    fn new_css(&self, _parent: Option<&Css<u64>>) -> Result<u64, HookError> {
        Ok(0)
    }
}

/// Slots are process-wide: this file has one test, so that it has them to itself.
#[test]
#[ignore = "minutes; run by xtask ci --full"]
fn threads_beyond_the_last_slot_count_exactly() {
    const THREADS: usize = 4_200;
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let controller = registry.register(Unit).unwrap();
    controller.bind(&hierarchy).unwrap();
    let group = hierarchy.root().create_child("a").unwrap();
    let css = controller.css(&group).unwrap();
    let all_here = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (all_here, css) = (Arc::clone(&all_here), css.clone());
            let life = move || {
                let has_slot = prepare_thread();
                let kept = css.clone();
                all_here.wait();
                drop((kept.clone(), css));
                (has_slot, kept)
            };
            thread::Builder::new().stack_size(64 << 10).spawn(life).unwrap()
        })
        .collect();
    let lives: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let with_slot = lives.iter().filter(|(has_slot, _)| *has_slot).count();
    assert!((4_000..=4_096).contains(&with_slot), "{with_slot} had slots");

    group.remove(Removal::Detach).unwrap();
    drop(css);
    registry.wait_reclaimed().unwrap();
    assert_eq!(group.state(), State::Offline, "the threads' references are out");
    drop(lives);
    registry.wait_reclaimed().unwrap();
    assert_eq!(group.state(), State::Released);
    // The slots are free again.
    assert!(thread::spawn(prepare_thread).join().unwrap());
}
