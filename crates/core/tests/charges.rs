//! Charges as values: they outlive groups, stand in the way of strict removal, grow and shrink.

use std::thread;

use fief_core::{
    Controller, Counter, Css, CssRef, Hierarchy, HookError, Limit, Reclaimer, Registry, Removal,
    Resource, Subsystem,
};

/// Limits seats.
struct Seats;

const SEATS: Resource<Counter> = Resource::new("seats.max", |counter| counter);

impl Subsystem for Seats {
    type State = Counter;

    fn name(&self) -> &'static str {
        "seats"
    }

    fn new_css(&self, _parent: Option<&Css<Counter>>) -> Result<Counter, HookError> {
        Ok(Counter::new())
    }
}

fn world() -> (Registry, Hierarchy, Controller<Seats>) {
    let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
    let hierarchy = registry.create_hierarchy("h").expect("a name");
    let seats = registry.register(Seats).expect("a name");
    seats.bind(&hierarchy).expect("no groups yet");
    (registry, hierarchy, seats)
}

#[test]
fn a_refusal_names_the_ancestor_that_has_no_room() {
    let (_registry, hierarchy, seats) = world();
    let web = hierarchy.root().create_child("web").unwrap();
    let api = seats.css(&web.create_child("api").unwrap()).unwrap();
    seats.css(&web).unwrap().set_max(Limit::At(10));
    let _held = SEATS.hold(&api, 12);
    let error = SEATS.try_charge(&api, 1).unwrap_err();
    assert_eq!(error.to_string(), "seats.max of /web reached: 12 of 10 in use, 1 asked");
    web.rename("www").unwrap();
    let error = SEATS.with_unit("seats").try_hold(&api, 3).unwrap_err();
    assert_eq!(error.to_string(), "seats.max of /www reached: 12 of 10 seats in use, 3 asked");
    assert_eq!((error.current, error.max, error.asked), (12, Limit::At(10), 3));
}

#[test]
fn a_charge_grows_and_shrinks_within_what_is_allowed() {
    let (_registry, _hierarchy, seats) = world();
    let root = seats.root().unwrap();
    root.set_max(Limit::At(10));
    let mut charge = SEATS.try_hold(&root, 4).unwrap();
    charge.try_grow(6).unwrap();
    assert!(charge.try_grow(1).is_err());
    assert_eq!((charge.amount(), root.current()), (10, 10));
    assert_eq!(charge.shrink(3), 3);
    assert_eq!((charge.amount(), root.current()), (7, 7));
    assert_eq!(charge.shrink(100), 7, "no more than there is");
    assert_eq!((charge.amount(), root.current()), (0, 0));
    drop(charge);
    assert_eq!((root.current(), root.accounting_bugs()), (0, 0));
}

#[test]
fn a_charge_made_raw_is_the_callers_to_give_back() {
    let (_registry, _hierarchy, seats) = world();
    let root = seats.root().unwrap();
    let (css, amount) = SEATS.try_hold(&root, 4).unwrap().into_raw();
    assert_eq!((amount, root.current()), (4, 4));
    SEATS.uncharge(&css, amount);
    assert_eq!((root.current(), root.accounting_bugs()), (0, 0));
}

#[test]
fn a_charge_stands_in_the_way_of_strict_removal_and_outlives_any_other() {
    let (registry, hierarchy, seats) = world();
    let web = hierarchy.root().create_child("web").unwrap();
    let root: CssRef<Counter> = seats.root().unwrap();
    let held = SEATS.try_hold(&seats.css(&web).unwrap(), 2).unwrap();
    assert!(web.remove(Removal::Strict).is_err());
    web.remove(Removal::Detach).unwrap();
    while registry.reap() {}
    assert_eq!((held.css().current(), root.current()), (2, 2));
    // Another group of that name is another css.
    let again = seats.css(&hierarchy.root().create_child("web").unwrap()).unwrap();
    assert_eq!(again.current(), 0);
    seats.unbind().unwrap(); // takes the css from the groups, not from those who hold them
    thread::spawn(move || drop(held)).join().unwrap();
    assert_eq!((root.current(), root.peak()), (0, 2));
}

#[test]
fn a_move_between_siblings_is_not_seen_above_them() {
    let (_registry, hierarchy, seats) = world();
    let root = seats.root().unwrap();
    let [a, b] = ["a", "b"].map(|name| {
        let group = hierarchy.root().create_child(name).unwrap();
        seats.css(&group.create_child("x").unwrap()).unwrap()
    });
    root.set_max(Limit::At(5));
    SEATS.try_charge(&a, 5).unwrap();
    SEATS.transfer(&a, &b, 5);
    let levels = [&a, &b].map(|leaf| (leaf.current(), leaf.parent().unwrap().current()));
    assert_eq!(levels, [(0, 0), (5, 5)]);
    assert_eq!((root.current(), root.peak(), root.max_events()), (5, 5, 0));
    SEATS.transfer(&b, &b, 5);
    SEATS.transfer(&b, &root, 5);
    assert_eq!((b.current(), root.current()), (0, 5));
    SEATS.uncharge(&root, 5);
}
