//! Random allocations, resizes and frees on several threads, against a book of who owns what.
#![expect(unsafe_code, reason = "an allocator is called")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    slice,
    sync::{Barrier, Mutex},
    thread,
};

use fief_alloc::{Ambient, GroupAlloc};
use proptest::prelude::*;

#[global_allocator]
static ALLOCATOR: GroupAlloc = GroupAlloc::new();

const GROUPS: usize = 5;

/// What one thread does next; numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
enum Step {
    Allocate {
        group: usize,
        size: usize,
        shift: u32,
        is_zeroed: bool,
    },
    /// Resizes the block at a place, in the scope of a group.
    Resize {
        place: usize,
        group: usize,
        size: usize,
    },
    Free {
        place: usize,
        group: usize,
    },
    /// Gives the block at a place to the next thread.
    Pass {
        place: usize,
    },
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![1..64_usize, 1_000..1_050_usize, 1..6_000_usize, 60_000..200_000_usize]
}

fn step() -> impl Strategy<Value = Step> {
    let group = || 0..=GROUPS;
    prop_oneof![
        3 => (group(), size(), 0..8_u32, any::<bool>()).prop_map(|(group, size, shift, is_zeroed)| {
            Step::Allocate { group, size, shift, is_zeroed }
        }),
        3 => (0..100_usize, group(), size()).prop_map(|(place, group, size)| Step::Resize {
            place,
            group,
            size,
        }),
        2 => (0..100_usize, group()).prop_map(|(place, group)| Step::Free { place, group }),
        1 => (0..100_usize).prop_map(|place| Step::Pass { place }),
    ]
}

/// A block, and who owns it by the book.
struct Block {
    start: *mut u8,
    layout: Layout,
    /// `GROUPS` for none.
    owner: usize,
    seed: u8,
}

// SAFETY: nobody else has the block.
unsafe impl Send for Block {}

impl Block {
    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: our own block of that size, written in full.
        unsafe { slice::from_raw_parts_mut(self.start, self.layout.size()) }
    }

    fn fill(&mut self) {
        // SAFETY: our own block of that size.
        unsafe { self.start.write_bytes(self.seed, self.layout.size()) };
    }

    fn check(&mut self) {
        let seed = self.seed;
        assert!(self.bytes().iter().all(|byte| *byte == seed));
    }
}

/// Runs `f` in a group, or in none.
fn within<R>(groups: &[Ambient], group: usize, f: impl FnOnce() -> R) -> R {
    match groups.get(group) {
        Some(group) => group.run(f),
        None => f(),
    }
}

struct Run<'a, A: GlobalAlloc, const MIN: usize> {
    allocator: &'a GroupAlloc<A, MIN>,
    groups: &'a [Ambient],
    boxes: &'a [Mutex<Vec<Block>>],
}

impl<A: GlobalAlloc + Sync, const MIN: usize> Run<'_, A, MIN> {
    fn allocate(&self, group: usize, layout: Layout, is_zeroed: bool) -> Block {
        let start = within(self.groups, group, || match is_zeroed {
            // SAFETY: not of size zero.
            true => unsafe { self.allocator.alloc_zeroed(layout) },
            // SAFETY: not of size zero.
            false => unsafe { self.allocator.alloc(layout) },
        });
        assert!(!start.is_null());
        assert_eq!(start.addr() % layout.align(), 0);
        let owner = if layout.size() >= MIN { group } else { GROUPS };
        let mut block = Block { start, layout, owner, seed: 0 };
        if is_zeroed {
            block.check();
        }
        block.seed = fastrand::u8(..);
        block.fill();
        block
    }

    fn resize(&self, block: &mut Block, group: usize, size: usize) {
        let (old, new) = (block.layout.size(), size);
        block.check();
        // SAFETY: a block of this layout, and the size is not zero.
        let resize = || unsafe { self.allocator.realloc(block.start, block.layout, new) };
        block.start = within(self.groups, group, resize);
        assert!(!block.start.is_null());
        let align = block.layout.align();
        block.layout = Layout::from_size_align(new, align).expect("small");
        block.owner = match (old >= MIN, new >= MIN) {
            (true, true) => block.owner,
            (false, true) => group,
            (_, false) => GROUPS,
        };
        let seed = block.seed;
        // SAFETY: as many were written, and are kept.
        let kept = unsafe { slice::from_raw_parts(block.start, old.min(new)) };
        assert!(kept.iter().all(|byte| *byte == seed));
        block.fill();
    }

    fn free(&self, mut block: Block, group: usize) {
        block.check();
        // SAFETY: a block of this layout.
        let free = || unsafe { self.allocator.dealloc(block.start, block.layout) };
        within(self.groups, group, free);
    }

    fn thread(&self, number: usize, steps: &[Step]) {
        let mut own: Vec<Block> = Vec::new();
        for &step in steps {
            own.append(&mut self.boxes[number].lock().expect("no panic"));
            let count = own.len();
            match step {
                Step::Allocate { group, size, shift, is_zeroed } => {
                    let layout = Layout::from_size_align(size, 1 << shift).expect("small");
                    own.push(self.allocate(group, layout, is_zeroed));
                }
                Step::Resize { place, group, size } if count > 0 => {
                    self.resize(&mut own[place % count], group, size);
                }
                Step::Free { place, group } if count > 0 => {
                    self.free(own.swap_remove(place % count), group);
                }
                Step::Pass { place } if count > 0 => {
                    let next = &self.boxes[(number + 1) % self.boxes.len()];
                    next.lock().expect("no panic").push(own.swap_remove(place % count));
                }
                _ => {}
            }
        }
        self.boxes[number].lock().expect("no panic").append(&mut own);
    }

    /// Runs all threads, compares the book, frees what is left.
    fn all(&self, threads: &[Vec<Step>]) {
        let start = Barrier::new(threads.len());
        thread::scope(|scope| {
            for (number, steps) in threads.iter().enumerate() {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    self.thread(number, steps);
                });
            }
        });
        let left = self.boxes.iter().flat_map(|own| std::mem::take(&mut *own.lock().expect("ok")));
        let mut left: Vec<Block> = left.collect();
        for (group, index) in self.groups.iter().zip(0..) {
            let owned = left.iter().filter(|block| block.owner == index);
            let bytes: usize = owned.map(|block| block.layout.size()).sum();
            assert_eq!(group.live(), bytes as u64, "group {index}");
        }
        for block in left.drain(..) {
            self.free(block, GROUPS);
        }
        for group in self.groups {
            let stats = group.stats();
            assert_eq!((stats.live, stats.allocated), (0, stats.freed));
        }
    }
}

fn chaos<A: GlobalAlloc + Sync, const MIN: usize>(
    allocator: &GroupAlloc<A, MIN>,
    threads: &[Vec<Step>],
) {
    let groups: Vec<Ambient> = (0..GROUPS).map(|_| Ambient::new().expect("memory")).collect();
    let boxes: Vec<_> = threads.iter().map(|_| Mutex::default()).collect();
    Run { allocator, groups: &groups, boxes: &boxes }.all(threads);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_book_is_right(threads in prop::collection::vec(prop::collection::vec(step(), 0..250), 1..5)) {
        chaos(&ALLOCATOR, &threads);
        chaos(&GroupAlloc::<System, 1>::wrapping(System), &threads);
    }
}
