//! What the public interface does not show: peaks, events, and the room in a pocket.

use fief_core::{Controller, CssRef, Hierarchy, Limit, Registry};

use crate::{
    Memory, MemoryCss,
    stock::{MAX_BATCH, MIN_BATCH, drain},
};

struct Scene {
    hierarchy: Hierarchy,
    memory: Controller<Memory>,
}

impl Scene {
    fn new() -> Self {
        let registry = Registry::new();
        let hierarchy = registry.create_hierarchy("h").unwrap();
        let memory = registry.register(Memory::new()).unwrap();
        memory.bind(&hierarchy).unwrap();
        Self { hierarchy, memory }
    }

    fn group(&self, name: &str) -> CssRef<MemoryCss> {
        let group = self.hierarchy.root().create_child(name).unwrap();
        self.memory.css(&group).unwrap()
    }
}

#[test]
fn the_peak_above_both_groups_does_not_see_a_transfer() {
    let scene = Scene::new();
    let (web, db) = (scene.group("web"), scene.group("db"));
    let root = scene.memory.root().unwrap();
    root.set_max(Limit::At(10_000));
    let mut reservation = web.reserve();
    reservation.grow(8000).unwrap();
    reservation.transfer(&db).unwrap();
    reservation.transfer(&web).unwrap();
    let peaks = [&root, &web, &db].map(|css| css.node.counter.peak());
    assert_eq!(peaks, [8000; 3]);
}

#[test]
fn to_shrink_by_too_much_is_counted() {
    let scene = Scene::new();
    let css = scene.group("web");
    let (mut reservation, shared) = (css.reserve(), css.reserve_shared());
    let underflows = || css.stats().events_local.underflow;
    reservation.grow(10).unwrap();
    shared.try_grow(10).unwrap();
    assert_eq!((reservation.shrink(10), shared.shrink(10), underflows()), (10, 10, 0));
    assert_eq!((reservation.shrink(1), underflows()), (0, 1));
    assert_eq!((shared.shrink(1), underflows()), (0, 2));
}

#[test]
fn batches_double_and_room_is_bounded() {
    let scene = Scene::new();
    let css = scene.group("web");
    let mut reservation = css.reserve();
    let mut batch = MIN_BATCH;
    for _ in 0..12 {
        let room = reservation.slack.room();
        reservation.grow(room + 1).unwrap();
        assert_eq!(reservation.slack.room(), batch);
        batch = (2 * batch).min(MAX_BATCH);
    }
    let used = reservation.used();
    for _ in 0..1000 {
        reservation.shrink(used / 1000);
        assert!(reservation.slack.room() <= 2 * MAX_BATCH);
        assert_eq!(css.current(), reservation.charged());
    }
    let peak = css.node.counter.peak();
    let before = css.current();
    for _ in 0..1000 {
        reservation.grow(1000).unwrap();
        reservation.shrink(1000);
    }
    assert_eq!((css.current(), css.node.counter.peak()), (before, peak), "no counter is touched");
}

#[test]
fn room_shrinks_with_what_is_left_and_is_zero_near_a_limit() {
    let scene = Scene::new();
    let css = scene.group("web");
    css.set_max(Limit::At(1 << 20));
    let mut reservation = css.reserve();
    while reservation.grow(997).is_ok() {
        let left = (1 << 20) - css.current();
        assert!(reservation.slack.room() <= (left + reservation.slack.room()) / 8);
        if left < 16 * MIN_BATCH {
            // What was charged ahead before is used up, and nothing is after that.
            assert!(reservation.slack.room() <= 2 * MIN_BATCH);
        }
    }
    assert_eq!(reservation.slack.room(), 0);
    reservation.shrink(10);
    assert_eq!((reservation.slack.room(), css.current()), (0, reservation.used()));
}

#[test]
fn what_a_drainer_took_is_known_before_and_after_the_pocket_is_settled() {
    let scene = Scene::new();
    let css = scene.group("web");
    let mut reservation = css.reserve();
    reservation.grow(100).unwrap();
    let drained = drain::drain(&css.node);
    assert_eq!((drained.bytes, drained.pockets, css.current()), (MIN_BATCH, 1, 100));
    assert!(reservation.slack.is_revoked());
    assert_eq!((reservation.used(), reservation.charged()), (100, 100));
    assert_eq!(drain::drain(&css.node), drain::Drained::default());
    reservation.grow(MIN_BATCH / 2).expect("there is no room in the pocket, but in the group");
    assert!(!reservation.slack.is_revoked());
    assert_eq!((reservation.used(), css.current()), (100 + MIN_BATCH / 2, reservation.charged()));
}

#[test]
fn split_off_pieces_and_their_merging_touch_no_list() {
    let scene = Scene::new();
    let css = scene.group("web");
    let mut reservation = css.reserve();
    reservation.grow(100_000).unwrap();
    let pockets = || css.node.pockets.list.lock().as_ref().map_or(0, |list| list.len());
    assert_eq!(pockets(), 1);
    let held = css.node.pockets.list.lock();
    let piece = reservation.split(60_000).unwrap();
    reservation.merge(piece).unwrap();
    drop(held);
    reservation.free();
    assert_eq!((pockets(), css.current()), (0, 0));
}
