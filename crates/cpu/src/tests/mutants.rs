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
    ("seat_looks_again", "loom_job::who_waits_for_the_output_is_woken"),
];

#[test]
fn list() {
    for (mutant, model) in MUTANTS {
        println!("mutant {mutant} tests::{model}");
    }
}
