//! Which model must fail when an ordering is weakened or a step left out.
//!
//! `cargo xtask loom` prints this table by the test below, plays each mutant against its model, and
//! compares the names with `docs/memory-model.md`.

/// A mutant, and the model that kills it.
const MUTANTS: &[(&str, &str)] = &[
    ("cell_count", "loom_block::frees_of_another_record_do_not_count"),
    ("cell_load", "loom_block::frees_of_another_record_do_not_count"),
    ("due_swap", "loom_due::what_was_added_last_is_settled"),
    ("figure_flushed", "loom_block::a_figure_is_exact_while_a_cell_is_flushed"),
    ("figure_load", "loom_block::a_figure_is_exact_while_a_cell_is_flushed"),
    ("figure_moves", "loom_block::a_figure_is_exact_while_a_cell_is_flushed"),
    ("figure_settled", "loom_block::a_figure_is_exact_while_a_cell_is_flushed"),
    ("move_begins", "loom_block::frees_of_another_record_do_not_count"),
    ("move_ends", "loom_block::frees_of_another_record_do_not_count"),
    ("move_ends_late", "loom_block::frees_of_another_record_do_not_count"),
    ("moves_load", "loom_block::frees_of_another_record_do_not_count"),
    ("moves_looked_at", "loom_block::frees_of_another_record_do_not_count"),
    ("owner_leave", "loom_block::a_block_changes_hands_with_its_counts"),
    ("owner_take", "loom_block::a_block_changes_hands_with_its_counts"),
    ("record_add", "loom_block::frees_of_another_record_do_not_count"),
    ("record_load", "loom_block::frees_of_another_record_do_not_count"),
    ("stack_push", "loom_due::two_push_one_takes"),
    ("stack_take", "loom_due::two_push_one_takes"),
];

#[test]
fn list() {
    for (mutant, model) in MUTANTS {
        println!("mutant {mutant} tests::{model}");
    }
}
