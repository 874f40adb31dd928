//! Which model must fail when an ordering is weakened or a step left out.
//!
//! `cargo xtask loom` prints this table by the test below, plays each mutant against its model, and
//! compares the names with `docs/memory-model.md`.

/// A mutant, and the model that kills it.
const MUTANTS: &[(&str, &str)] = &[
    ("attempts_numbered", "loom_strict::a_try_get_takes_no_later_attempt_for_its_own"),
    ("bell_dozes", "loom_release::no_wake_up_is_lost"),
    ("bell_hear", "loom_release::no_wake_up_is_lost"),
    ("bell_ring", "loom_release::no_wake_up_is_lost"),
    ("block_load", "loom_slots::a_chunk_is_made_during_the_kill"),
    ("block_store", "loom_slots::a_chunk_is_made_during_the_kill"),
    ("cache_enter", "loom_cache::a_lookup_follows_the_one_that_is_waited_for"),
    ("cache_heavy", "loom_cache::a_lookup_races_with_the_end_of_its_world"),
    ("cache_leave", "loom_cache::a_lookup_races_with_the_end_of_its_world"),
    ("cache_light", "loom_cache::a_lookup_races_with_the_end_of_its_world"),
    ("cache_load", "loom_cache::a_lookup_races_with_the_end_of_its_world"),
    ("cache_look", "loom_cache::a_lookup_races_with_the_end_of_its_world"),
    ("cache_open", "loom_cache::a_lookup_races_with_the_end_of_its_world"),
    ("cache_shut", "loom_cache::no_reader_goes_back"),
    ("cache_waits", "loom_cache::a_lookup_races_with_the_end_of_its_world"),
    ("call_off_fails", "loom_strict::a_try_get_takes_no_later_attempt_for_its_own"),
    ("capture_load", "loom_strict::a_removal_comes_after_a_put_in_a_cell"),
    ("capture_looks_once", "loom_refcount::a_count_that_comes_back_is_captured_once"),
    ("cell_store", "loom_refcount::a_put_races_with_the_kill"),
    ("charge_barrier", "loom_counter::a_charge_races_with_set_max"),
    ("charge_exchanges", "loom_counter::two_charges_race_for_the_last_unit"),
    ("charge_gives_back", "loom_counter::who_is_refused_above_gives_back_below"),
    ("charge_looks_again", "loom_counter::a_charge_races_with_set_max"),
    ("charge_looks_ahead", "loom_counter::a_large_charge_that_fails_refuses_no_small_one"),
    ("chunk_load", "loom_slots::a_chunk_is_made_during_the_kill"),
    ("chunk_store", "loom_slots::a_chunk_is_made_during_the_kill"),
    ("collect_looks", "loom_strict::css_are_removed_together_or_stay_usable_together"),
    ("column_load", "loom_world::a_lookup_finds_a_css_complete"),
    ("column_store", "loom_world::a_lookup_finds_a_css_complete"),
    ("confirm", "loom_refcount::no_try_get_online_starts_after_the_kill_and_succeeds"),
    ("decision_load", "loom_strict::a_try_get_takes_no_later_attempt_for_its_own"),
    ("decision_made", "loom_strict::css_are_removed_together_or_stay_usable_together"),
    ("decision_open", "loom_strict::a_try_get_takes_no_later_attempt_for_its_own"),
    ("ended_first", "loom_notice::the_last_edge_is_told_and_none_twice"),
    ("generation_bump", "loom_world::a_weak_reference_never_upgrades_to_another_css"),
    ("grade_looks_again", "loom_pressure::the_record_ends_up_with_the_grade_of_the_word"),
    ("grace_waits", "loom_world::what_a_lookup_found_is_kept_for_it"),
    ("header_add", "loom_refcount::two_puts_race_with_the_kill"),
    ("heavy_fence", "loom_refcount::a_put_races_with_the_kill"),
    ("idle_is_not_in_use", "loom_strict::a_refusal_is_followed_by_an_edge"),
    ("init_by_add", "loom_release::a_put_stalls_across_release_grace_and_id_reuse"),
    ("light_fence", "loom_refcount::a_put_races_with_the_kill"),
    ("max_published_first", "loom_counter::a_charge_races_with_set_max"),
    ("notified_once", "loom_refcount::two_puts_race_with_the_kill"),
    ("notify_exchange", "loom_refcount::two_try_gets_race_with_the_last_put"),
    ("op_looks_once", "loom_refcount::a_put_races_with_the_kill"),
    ("pending", "loom_refcount::a_clone_of_an_unaccounted_reference_races_with_the_kill"),
    ("place_load", "loom_world::a_place_is_seen_with_its_css"),
    ("place_store", "loom_world::a_place_is_seen_with_its_css"),
    ("push_exchange", "loom_release::what_was_pushed_is_taken_once_and_seen_whole"),
    ("queued_once", "loom_strict::a_css_is_queued_once"),
    ("set_max_barrier", "loom_counter::a_charge_races_with_set_max"),
    ("settle_by_load", "loom_refcount::a_count_that_comes_back_is_captured_once"),
    ("settle_goes_on", "loom_strict::a_late_try_get_settles_all_of_its_share"),
    ("slot_mark", "loom_slots::a_slot_changes_hands_during_the_kill"),
    ("slots_made", "loom_slots::a_slot_changes_hands_during_the_kill"),
    ("take_swap", "loom_release::what_was_pushed_is_taken_once_and_seen_whole"),
    ("tells_group", "loom_strict::css_are_removed_together_or_stay_usable_together"),
    ("told_once", "loom_notice::the_last_edge_is_told_and_none_twice"),
    ("update_exchange", "loom_strict::a_removal_comes_after_the_last_put"),
    ("uses_enter", "loom_strict::a_try_get_takes_no_later_attempt_for_its_own"),
    ("uses_freeze", "loom_strict::a_try_get_takes_no_later_attempt_for_its_own"),
    ("uses_frozen", "loom_strict::css_are_removed_together_or_stay_usable_together"),
];

#[test]
fn list() {
    for (mutant, model) in MUTANTS {
        println!("mutant {mutant} tests::{model}");
    }
}
