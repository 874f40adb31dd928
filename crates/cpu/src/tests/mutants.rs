//! Which model must fail when an ordering is weakened or a step left out.
//!
//! `cargo xtask loom` prints this table by the test below, plays each mutant against its model, and
//! compares the names with `docs/memory-model.md`.

/// A mutant, and the model that kills it.
const MUTANTS: &[(&str, &str)] = &[
    ("claim_hands_on", "loom_claim::a_grant_to_who_is_gone_is_handed_on"),
    ("claim_looks_again", "loom_claim::who_waits_is_told_of_a_grant_though_another_task_polls"),
    ("claim_pause_looks", "loom_claim::a_wake_up_while_it_runs_is_not_lost"),
    ("claim_refuses_the_gone", "loom_claim::a_grant_to_who_is_gone_is_handed_on"),
    ("grant_dispatches", "loom_sleep::a_slot_that_a_claim_leaves_goes_to_who_waits"),
    ("job_abort", "loom_job::what_was_done_before_an_abort_is_seen_by_the_drop"),
    ("job_done", "loom_job::what_a_job_did_is_seen_by_who_finds_it_done"),
    ("job_finish", "loom_job::what_a_job_did_is_seen_by_who_finds_it_done"),
    ("job_pause", "loom_job::what_a_poll_did_is_seen_by_the_next"),
    ("job_pause_looks", "loom_job::no_wake_up_is_lost"),
    ("job_queues_once", "loom_job::one_has_the_token"),
    ("job_start", "loom_job::what_was_done_before_a_wake_up_is_seen"),
    ("job_token", "loom_job::no_wake_up_is_lost"),
    ("job_wake", "loom_job::what_was_done_before_a_wake_up_is_seen"),
    ("job_wakes_the_queued", "loom_job::what_was_done_before_a_wake_up_is_seen"),
    ("leaf_looks_again", "loom_leaf::a_take_meets_a_move"),
    ("leaf_quietens_inside", "loom_leaf::two_members_come_and_go_in_one_ring"),
    ("leaf_unlists", "loom_leaf::a_push_meets_a_take"),
    ("queue_closes", "loom_leaf::a_close_meets_a_push_and_a_take"),
    ("queue_freezes", "loom_leaf::a_freeze_meets_a_push_and_a_take"),
    ("queue_leaves", "loom_leaf::a_take_meets_a_move"),
    ("sched_frees", "loom_sleep::what_is_pushed_as_a_worker_goes_to_sleep_is_run"),
    ("sched_looks", "loom_sleep::what_is_pushed_as_a_worker_goes_to_sleep_is_run"),
    ("sched_rouses", "loom_sleep::what_is_pushed_as_a_worker_goes_to_sleep_is_run"),
    ("sched_tells_sleepers", "loom_sleep::what_is_left_in_a_ring_is_found_beside_a_long_poll"),
    ("seat_looks_again", "loom_job::who_waits_for_the_output_is_woken"),
    ("worker_helps", "loom_sleep::what_is_left_in_a_ring_is_found_beside_a_long_poll"),
    ("worker_looks_behind", "loom_sleep::what_a_worker_has_taken_is_found_beside_its_long_poll"),
    ("worker_shares", "loom_sleep::what_a_worker_has_taken_is_found_beside_its_long_poll"),
];

#[test]
fn list() {
    for (mutant, model) in MUTANTS {
        println!("mutant {mutant} tests::{model}");
    }
}
