//! A record is taken for spent while its last blocks are freed, resized and flushed elsewhere.

use loom::thread;

use crate::{
    block::{BATCH, Block, Blocks, Totals},
    record::Record,
    sync::{Arc, AtomicU64, Ordering},
};

/// A record and a block for each of two threads, which live for ever.
struct World {
    record: &'static Record,
    other: &'static Record,
    blocks: &'static Blocks,
    owned: [&'static Block; 2],
}

impl World {
    fn new() -> Self {
        let blocks: &Blocks = Box::leak(Box::new(Blocks::new()));
        let owned = [(), ()].map(|()| {
            let block: &Block = Box::leak(Box::new(Block::new()));
            blocks.push(block);
            block
        });
        let record = || &*Box::leak(Box::new(Record::new()));
        Self { record: record(), other: record(), blocks, owned }
    }
}

/// The only block of memory changes hands, is resized on the way and freed at last, while the cells it is
/// counted in are flushed for another record.
#[test]
fn a_record_is_not_spent_before_its_last_free() {
    loom::model(|| {
        let world = World::new();
        let [own, others] = world.owned;
        let is_freed = Arc::new(AtomicU64::new(0));
        // Before the record was retired.
        own.allocated(world.record, 1);
        let resizing = {
            let is_freed = Arc::clone(&is_freed);
            thread::spawn(move || {
                // A resize, as the hook counts it.
                others.allocated(world.record, 2);
                others.freed(world.record, 1);
                // Relaxed: shows only that the free has not begun when it is read as 0 afterwards.
                is_freed.store(1, Ordering::Relaxed);
                others.freed(world.record, 2);
            })
        };
        let moving = thread::spawn(move || own.allocated(world.other, 1));
        if world.blocks.spent(world.record).is_some() {
            assert_eq!(is_freed.load(Ordering::Relaxed), 1, "there is a block still");
        }
        resizing.join().expect("no panic");
        moving.join().expect("no panic");
        assert_eq!(world.blocks.spent(world.record), Some(3));
        assert_eq!(world.blocks.spent(world.other), None);
    });
}

/// What is allocated is seen in the cell or in the record, whichever it is in.
#[test]
fn a_block_is_seen_while_its_cell_is_flushed() {
    loom::model(|| {
        let world = World::new();
        let [own, _] = world.owned;
        own.allocated(world.record, 1);
        let moving = thread::spawn(move || own.flush_all());
        assert_eq!(world.blocks.spent(world.record), None);
        moving.join().expect("no panic");
        assert_eq!(world.record.flushed().live(), 1);
    });
}

/// A cell with frees of the record in it is flushed for another and comes back: nothing is seen twice.
#[test]
fn no_free_is_seen_twice() {
    loom::model(|| {
        let world = World::new();
        let [own, others] = world.owned;
        // Blocks of 1, 1 and 2; the first is freed already.
        own.allocated(world.record, 4);
        others.freed(world.record, 1);
        let moving = thread::spawn(move || {
            others.allocated(world.other, 1);
            others.freed(world.other, 1);
            others.freed(world.record, 1);
        });
        assert_eq!(world.blocks.spent(world.record), None, "there is a block of 2");
        moving.join().expect("no panic");
        assert_eq!(world.blocks.spent(world.record), None);
        assert_eq!(world.blocks.totals(world.record).live(), 2);
    });
}

/// Another record's frees in the same cell are not the record's.
#[test]
fn frees_of_another_record_do_not_count() {
    loom::model(|| {
        let world = World::new();
        let [own, others] = world.owned;
        own.allocated(world.record, 2);
        own.allocated(world.other, 4);
        others.freed(world.record, 1);
        let moving = thread::spawn(move || others.freed(world.other, 2));
        assert_eq!(world.blocks.spent(world.record), None, "there is a block of 1");
        moving.join().expect("no panic");
        assert_eq!(world.blocks.totals(world.record).live(), 1);
        assert_eq!(world.blocks.totals(world.other).live(), 2);
    });
}

/// A figure of a record for which nobody counts is exact, while another pushes it out of its cells.
#[test]
fn a_figure_is_exact_while_a_cell_is_flushed() {
    loom::model(|| {
        let world = World::new();
        let [own, others] = world.owned;
        // Blocks of 1 and 2; the first is freed elsewhere.
        own.allocated(world.record, 3);
        others.freed(world.record, 1);
        let moving = thread::spawn(move || own.allocated(world.other, 1));
        assert_eq!(world.blocks.totals(world.record), Totals { allocated: 3, freed: 1 });
        moving.join().expect("no panic");
        assert_eq!(world.blocks.totals(world.record), Totals { allocated: 3, freed: 1 });
    });
}

/// So it is while a cell with frees is, and both of its sums move.
#[test]
fn a_figure_is_exact_while_both_sums_are_flushed() {
    loom::model(|| {
        let world = World::new();
        let [own, _] = world.owned;
        own.allocated(world.record, 3);
        own.freed(world.record, 1);
        let moving = thread::spawn(move || own.flush_all());
        assert_eq!(world.blocks.totals(world.record), Totals { allocated: 3, freed: 1 });
        moving.join().expect("no panic");
    });
}

/// A thread ends, and the next goes on with its block.
#[test]
fn a_block_changes_hands_with_its_counts() {
    loom::model(|| {
        let blocks: &Blocks = Box::leak(Box::new(Blocks::new()));
        let block: &Block = Box::leak(Box::new(Block::new()));
        blocks.push(block);
        let leaving = thread::spawn(move || {
            block.untagged().allocated.add_own(3);
            blocks.leave(block);
        });
        if let Some(block) = blocks.take_left() {
            block.untagged().allocated.add_own(4);
            assert_eq!(block.untagged().allocated.read(), (2, 7));
        }
        leaving.join().expect("no panic");
    });
}

/// What is more than a batch goes to the record at once.
#[test]
fn a_full_cell_is_flushed() {
    loom::model(|| {
        let world = World::new();
        let [own, _] = world.owned;
        assert!(!own.try_allocated(world.record, BATCH), "another's cell");
        own.allocated(world.record, BATCH);
        assert_eq!(world.record.flushed().live(), 0);
        assert!(!own.try_allocated(world.record, 1));
        own.allocated(world.record, 1);
        assert_eq!(world.record.flushed().live(), BATCH + 1);
    });
}
