//! Which model must fail when an ordering is weakened or a step left out.
//!
//! `cargo xtask loom` prints this table by the test below, plays each mutant against its model, and
//! compares the names with `docs/memory-model.md`.

/// A mutant, and the model that kills it.
const MUTANTS: &[(&str, &str)] = &[
    ("gate_heavy", "loom_pocket::a_pocket_is_filled_while_stock_is_forbidden_above"),
    ("gate_light", "loom_pocket::a_pocket_is_filled_while_stock_is_forbidden_above"),
    ("line_hands_on", "loom_wait::who_finds_no_room_hands_on_what_there_is"),
    ("line_heavy", "loom_wait::no_wake_up_is_lost"),
    ("line_leaves", "loom_wait::who_is_called_and_goes_away_calls_the_next"),
    ("line_light", "loom_wait::no_wake_up_is_lost"),
    ("line_tries_again", "loom_wait::who_is_summoned_while_it_tries_tries_again"),
    ("mark_heavy", "loom_wait::no_group_without_usage_stays_marked"),
    ("peak_handed_on", "loom_peak::who_begins_anew_takes_nothing_from_others"),
    ("peak_reset_barrier", "loom_peak::a_charge_that_stays_is_seen_by_who_begins_anew"),
    ("pocket_busy", "loom_pocket::room_is_called_in_while_its_owner_takes"),
    ("pocket_ends_once", "loom_pocket::two_drainers_and_the_owner_settle_once"),
    ("pocket_leaves_the_busy", "loom_pocket::room_is_called_in_while_its_owner_takes"),
    ("pocket_looks", "loom_pocket::room_is_called_in_while_its_owner_takes"),
    ("pocket_looks_again", "loom_pocket::room_is_called_in_while_its_owner_takes"),
    ("pocket_revokes", "loom_pocket::room_is_called_in_while_its_owner_takes"),
];

#[test]
fn list() {
    for (mutant, model) in MUTANTS {
        println!("mutant {mutant} tests::{model}");
    }
}
