//! The allocator beside another that is installed: it is not taken for installed, and a thread that is
//! past the destructor of its place counts on.
#![expect(unsafe_code, reason = "an allocator is called")]

use std::{
    alloc::{GlobalAlloc, Layout},
    cell::Cell,
    thread,
};

use fief_alloc::{Ambient, GroupAlloc, is_installed, stats};

static ALLOCATOR: GroupAlloc = GroupAlloc::new();

const LARGE: Layout = Layout::new::<[u8; 3_000]>();
const SMALL: Layout = Layout::new::<[u8; 30]>();

/// A block of the allocator's.
struct Block {
    start: *mut u8,
    layout: Layout,
}

// SAFETY: nobody else has the block.
unsafe impl Send for Block {}

impl Block {
    fn new(layout: Layout) -> Self {
        // SAFETY: not of size zero.
        let start = unsafe { ALLOCATOR.alloc(layout) };
        assert!(!start.is_null());
        Self { start, layout }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated in `new`.
        unsafe { ALLOCATOR.dealloc(self.start, self.layout) };
    }
}

/// Allocates and frees when its thread ends.
struct Late {
    ambient: Ambient,
    before: [Block; 2],
    back: std::sync::mpsc::Sender<[Block; 2]>,
}

impl Drop for Late {
    fn drop(&mut self) {
        let _scope = self.ambient.enter();
        drop([Block::new(LARGE), Block::new(SMALL)]);
        self.before = [Block::new(LARGE), Block::new(SMALL)];
        self.back.send([Block::new(LARGE), Block::new(SMALL)]).expect("somebody listens");
    }
}

thread_local! {
    /// Destructors run in the reverse order of their first use.
    static LATE: Cell<Option<Late>> = const { Cell::new(None) };
}

fn late_destructors_count() {
    let ambient = Ambient::new().expect("memory");
    let before = stats();
    let (back, blocks) = std::sync::mpsc::channel();
    for _ in 0..100 {
        let (ambient, back) = (ambient.clone(), back.clone());
        let thread = thread::spawn(move || {
            LATE.set(None);
            let before = ambient.run(|| [Block::new(LARGE), Block::new(SMALL)]);
            LATE.set(Some(Late { ambient, before, back }));
        });
        thread.join().expect("no panic");
    }
    drop(back);
    let left: Vec<[Block; 2]> = blocks.into_iter().collect();
    assert_eq!(ambient.live(), 300_000);
    drop(left);
    assert_eq!(ambient.live(), 0);
    let after = stats();
    assert_eq!(after.untagged(), before.untagged());
    assert_eq!(after.untagged_allocated - before.untagged_allocated, 100 * 4 * 30);
    assert_eq!(after.untagged_allocated_blocks - before.untagged_allocated_blocks, 400);
    assert_eq!(after.untagged_freed_blocks - before.untagged_freed_blocks, 400);
    assert!(after.threads - before.threads <= 3);
}

#[test]
fn bare() {
    assert!(!is_installed());
    late_destructors_count();
    assert!(!is_installed());
}
