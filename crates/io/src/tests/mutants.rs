//! Which model must fail when an ordering is weakened or a step left out.
//!
//! `cargo xtask loom` prints this table by the test below, plays each mutant against its model, and
//! compares the names with `docs/memory-model.md`.

/// A mutant, and the model that kills it.
const MUTANTS: &[(&str, &str)] = &[
    ("cancel_pumps", "loom_wait::a_grant_meets_a_drop"),
    ("cell_leaves_nothing", "loom_lease::a_cell_changes_hands_as_leases_are_swept"),
    ("cell_sweeps_at_once", "loom_lease::a_take_meets_a_sweep"),
    ("cell_takes_at_once", "loom_lease::a_take_meets_a_sweep"),
    ("finish_pumps", "loom_wait::who_is_about_to_wait_meets_an_end"),
    ("fold_gives_back", "loom_lease::the_end_of_a_thread_meets_a_sweep"),
    ("grant_sweeps", "loom_wait::who_is_about_to_wait_meets_who_takes_from_a_lease"),
    ("lease_gives_back", "loom_lease::a_refill_meets_a_sweep"),
    ("move_readdresses", "loom_removal::who_is_about_to_wait_meets_a_move"),
    (
        "next_tells_of_the_refused",
        "loom_removal::who_is_about_to_wait_meets_the_removal_of_its_group",
    ),
    ("pump_goes_on", "loom_wait::all_who_wait_are_woken"),
    ("pump_sets_alarm", "loom_wait::who_waits_for_a_limit_has_an_alarm"),
    ("refund_pumps", "loom_wait::who_is_about_to_wait_meets_what_is_given_back"),
    ("refusal_wakes", "loom_wait::a_grant_meets_a_kill"),
    ("retire_sweeps", "loom_lease::a_removal_meets_who_takes_from_a_lease"),
    ("sweep_ends_free", "loom_lease::a_limit_meets_who_only_counts"),
    ("ticker_goes_on", "loom_ticker::who_calls_for_a_time_before_is_heard"),
    ("ticker_looks_again", "loom_ticker::a_call_meets_the_end_of_the_thread"),
    ("ticker_stops", "loom_ticker::a_call_meets_the_end_of_the_thread"),
    ("ticker_wakes", "loom_ticker::who_calls_for_a_time_before_is_heard"),
    ("wait_gives_back", "loom_wait::a_grant_meets_a_drop"),
    ("wait_looks_again", "loom_wait::a_grant_meets_a_poll_with_another_waker"),
    ("wish_is_checked", "loom_removal::who_is_about_to_wait_meets_a_move"),
];

#[test]
fn list() {
    for (mutant, model) in MUTANTS {
        println!("mutant {mutant} tests::{model}");
    }
}
