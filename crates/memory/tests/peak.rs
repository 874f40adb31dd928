//! Readers of the highest usage: each has its own beginning.

use std::{thread, time::Duration};

use fief_core::{Cgroup, Controller, CssRef, Limit, Registry, Removal};
use fief_memory::{Memory, MemoryCss};

fn scene() -> (Controller<Memory>, Cgroup, CssRef<MemoryCss>) {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").expect("the name is free");
    let memory = registry.register(Memory::new()).expect("the name is free");
    memory.bind(&hierarchy).expect("it is inactive");
    let web = hierarchy.root().create_child("web").expect("the name is free");
    let css = memory.css(&web).expect("bound here");
    css.set_max(Limit::At(30_000)); // so little that nothing is charged ahead
    (memory, web, css)
}

#[test]
fn a_reset_is_for_one_reader_alone() {
    let (_memory, _web, css) = scene();
    let [mut one, mut two, three] = [(); 3].map(|()| css.peak_reader());
    let peaks = |one: &fief_memory::PeakReader, two: &fief_memory::PeakReader| {
        [one.peak(), two.peak(), three.peak(), css.peak()]
    };
    css.try_charge(1000).unwrap();
    css.uncharge(900);
    assert_eq!(peaks(&one, &two), [1000; 4], "before a reset the highest ever");
    one.reset();
    assert_eq!(peaks(&one, &two), [100, 1000, 1000, 1000]);
    css.try_charge(400).unwrap();
    css.uncharge(300);
    two.reset();
    assert_eq!(peaks(&one, &two), [500, 200, 1000, 1000], "what one has seen stays");
    css.try_charge(100).unwrap();
    assert_eq!(peaks(&one, &two), [500, 300, 1000, 1000]);
    one.reset();
    assert_eq!(peaks(&one, &two), [300, 300, 1000, 1000]);
    css.try_charge(2000).unwrap();
    css.uncharge(2300);
    assert_eq!(peaks(&one, &two), [2300; 4]);
    drop(one);
    two.reset();
    css.try_charge(7).unwrap();
    assert_eq!(two.peak(), 7);
    css.uncharge(7);
}

#[test]
fn who_comes_after_all_others_left_sees_no_older_peak() {
    let (_memory, _web, css) = scene();
    let mut first = css.peak_reader();
    first.reset();
    css.try_charge(5000).unwrap();
    drop(first);
    css.uncharge(5000);
    let mut second = css.peak_reader();
    assert_eq!(second.peak(), 5000);
    second.reset();
    assert_eq!(second.peak(), 0);
    css.charge_forced(40_000);
    assert_eq!(second.peak(), 40_000, "forced ones count");
    css.uncharge(40_000);
}

#[test]
fn a_reader_outlives_its_group() {
    let (_memory, web, css) = scene();
    let mut reader = css.peak_reader();
    reader.reset();
    css.try_charge(10).unwrap();
    css.uncharge(10);
    drop(css);
    web.remove(Removal::Strict).unwrap();
    assert_eq!(reader.peak(), 10);
    reader.reset();
    assert_eq!(reader.peak(), 0);
}

#[test]
fn a_charge_that_stays_is_in_the_peak_of_every_reset() {
    let (_memory, _web, css) = scene();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    css.try_charge(100).expect("there is room");
                    css.uncharge(100);
                }
            });
        }
        let mut readers = [css.peak_reader(), css.peak_reader()];
        for round in 0..2_000 {
            let reader = &mut readers[round % 2];
            reader.reset();
            css.try_charge(1000).expect("there is room");
            assert!((1000..=1200).contains(&reader.peak()), "{}", reader.peak());
            css.uncharge(1000);
        }
    });
    assert_eq!(css.current(), 0);
}

/// Nor does it count as above high, whichever level refuses.
#[test]
fn what_is_refused_leaves_no_peak() {
    let (memory, db, top) = scene();
    top.set_max(Limit::At(100));
    let below = memory.css(&db.create_child("below").unwrap()).unwrap();
    below.set_high(Limit::At(50));
    below.try_charge(10).unwrap();
    let mut reader = below.peak_reader();
    reader.reset();
    let mut reservation = memory.root().unwrap().reserve();
    reservation.grow(91).unwrap();
    reservation.transfer(&below).unwrap_err();
    below.try_charge(91).unwrap_err();
    below.charge_blocking(91, Some(Duration::ZERO)).unwrap_err();
    assert_eq!((below.peak(), reader.peak(), top.peak()), (10, 10, 10));
    assert_eq!(below.stats().events.high, 0);
    below.uncharge(10);
}
