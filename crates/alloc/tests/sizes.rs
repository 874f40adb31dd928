//! Every small size, and every alignment to a page: contents, alignment and owner of each block.
#![expect(unsafe_code, reason = "an allocator is called")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    slice,
    sync::Mutex,
};

use fief_alloc::{Ambient, GroupAlloc};

#[global_allocator]
static ALLOCATOR: GroupAlloc = GroupAlloc::new();

/// Sizes about each border there is.
const SIZES: [usize; 14] = [1, 7, 8, 9, 1015, 1016, 1017, 1023, 1024, 1025, 2048, 4095, 4096, 5000];

/// One test at a time counts.
static ALONE: Mutex<()> = Mutex::new(());

/// The system's allocator behind a check that what is given back is as it was obtained.
struct Checked;

impl Checked {
    const AHEAD: usize = 4096;

    /// A layout with room ahead, where the layout asked for is noted.
    fn whole(layout: Layout) -> Layout {
        let align = layout.align().max(16);
        let ahead = Self::AHEAD.max(align);
        Layout::from_size_align(layout.size() + ahead, align).expect("small")
    }

    fn ahead(layout: Layout) -> usize {
        Self::AHEAD.max(layout.align())
    }
}

// SAFETY: blocks are the system's, from `ahead` bytes on.
unsafe impl GlobalAlloc for Checked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        assert!(layout.size() > 0);
        // SAFETY: not of size zero.
        let start = unsafe { System.alloc(Self::whole(layout)) };
        assert!(!start.is_null());
        let block = start.wrapping_add(Self::ahead(layout));
        let note = block.wrapping_sub(size_of::<Layout>()).cast::<Layout>();
        // SAFETY: there are 4,096 bytes ahead of the block.
        unsafe { note.write_unaligned(layout) };
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let note = block.wrapping_sub(size_of::<Layout>()).cast::<Layout>();
        // SAFETY: as written by `alloc`.
        let noted = unsafe { note.read_unaligned() };
        assert_eq!(noted, layout, "given back as it was obtained");
        let start = block.wrapping_sub(Self::ahead(layout));
        // SAFETY: what `alloc` obtained.
        unsafe { System.dealloc(start, Self::whole(layout)) }
    }
}

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).expect("valid")
}

/// What a block is filled with: a byte tells its place.
static PATTERN: [u8; 8192] = {
    let mut bytes = [0; 8192];
    let mut place = 0;
    while place < bytes.len() {
        bytes[place] = ((place % 251) ^ (place / 251)).to_le_bytes()[0];
        place += 1;
    }
    bytes
};

static ZEROS: [u8; 8192] = [0; 8192];

fn pattern(size: usize, seed: usize) -> &'static [u8] {
    &PATTERN[seed * 7..seed * 7 + size]
}

fn fill(block: *mut u8, size: usize, seed: usize) {
    // SAFETY: a block of that size, which nobody else has, and a pattern as long.
    unsafe { block.copy_from_nonoverlapping(pattern(size, seed).as_ptr(), size) };
}

fn check(block: *mut u8, expected: &[u8]) {
    // SAFETY: a block of at least that size, written in full.
    let bytes = unsafe { slice::from_raw_parts(block, expected.len()) };
    assert!(bytes == expected, "contents of {}", expected.len());
}

/// What the allocator attributes of `size` bytes.
fn tagged<const MIN: usize>(size: usize) -> u64 {
    if size >= MIN { size as u64 } else { 0 }
}

fn every_size<A: GlobalAlloc, const MIN: usize>(allocator: &GroupAlloc<A, MIN>, sizes: &[usize]) {
    let _alone = ALONE.lock().unwrap_or_else(|broken| broken.into_inner());
    let ambient = Ambient::new().expect("memory");
    for align in (0..13).map(|shift| 1 << shift) {
        for &size in sizes {
            let layout = layout(size, align);
            let scope = ambient.enter();
            // SAFETY: not of size zero.
            let block = unsafe { allocator.alloc(layout) };
            // SAFETY: not of size zero.
            let zeroed = unsafe { allocator.alloc_zeroed(layout) };
            drop(scope);
            assert_eq!(block.align_offset(align), 0);
            assert_eq!(zeroed.align_offset(align), 0);
            assert_eq!(ambient.live(), 2 * tagged::<MIN>(size), "{layout:?}");
            check(zeroed, &ZEROS[..size]);
            fill(block, size, 1);
            fill(zeroed, size, 2);
            check(block, pattern(size, 1));
            // SAFETY: allocated above.
            unsafe { allocator.dealloc(block, layout) };
            assert_eq!(ambient.live(), tagged::<MIN>(size));
            check(zeroed, pattern(size, 2));
            // SAFETY: allocated above.
            unsafe { allocator.dealloc(zeroed, layout) };
            assert_eq!(ambient.live(), 0);
        }
    }
}

fn every_resize<A: GlobalAlloc, const MIN: usize>(allocator: &GroupAlloc<A, MIN>) {
    let _alone = ALONE.lock().unwrap_or_else(|broken| broken.into_inner());
    let [owner, other] = [(), ()].map(|()| Ambient::new().expect("memory"));
    for align in [1, 8, 64, 4096] {
        for before in SIZES {
            for after in SIZES {
                let old = layout(before, align);
                // SAFETY: not of size zero.
                let block = owner.run(|| unsafe { allocator.alloc(old) });
                fill(block, before, 3);
                // SAFETY: allocated above, and `after` is not zero.
                let block = other.run(|| unsafe { allocator.realloc(block, old, after) });
                assert_eq!(block.align_offset(align), 0);
                check(block, pattern(before.min(after), 3));
                fill(block, after, 4);
                let expected = match (before >= MIN, after >= MIN) {
                    (true, true) => (after as u64, 0),
                    (false, true) => (0, after as u64),
                    (_, false) => (0, 0),
                };
                assert_eq!((owner.live(), other.live()), expected, "{before} to {after}");
                check(block, pattern(after, 4));
                // SAFETY: of this size since the realloc.
                unsafe { allocator.dealloc(block, layout(after, align)) };
                assert_eq!((owner.live(), other.live()), (0, 0));
            }
        }
    }
}

#[test]
fn every_size_to_5000() {
    let sizes: Vec<usize> = (1..5000).collect();
    every_size(&ALLOCATOR, &sizes);
}

#[test]
fn every_size_where_all_are_tagged() {
    let sizes: Vec<usize> = (1..5000).step_by(3).collect();
    every_size(&GroupAlloc::<System, 0>::wrapping(System), &sizes);
    every_size(&GroupAlloc::<System, 1>::wrapping(System), &SIZES);
}

#[test]
fn blocks_go_back_to_the_allocator_below_as_they_came() {
    every_size(&GroupAlloc::<Checked>::wrapping(Checked), &SIZES);
    every_size(&GroupAlloc::<Checked, 0>::wrapping(Checked), &SIZES);
    every_resize(&GroupAlloc::<Checked>::wrapping(Checked));
}

#[test]
fn a_resized_block_stays_its_owners_across_the_border() {
    every_resize(&ALLOCATOR);
    every_resize(&GroupAlloc::<System, 0>::wrapping(System));
}

#[test]
fn what_has_no_room_for_a_trailer_is_refused() {
    let _alone = ALONE.lock().unwrap_or_else(|broken| broken.into_inner());
    let ambient = Ambient::new().expect("memory");
    let _scope = ambient.enter();
    let most = isize::MAX.unsigned_abs();
    for (size, align) in [(most, 1), (most - 7, 1), (most - 8, 1), (most - 4095, 4096)] {
        // SAFETY: not of size zero.
        assert!(unsafe { ALLOCATOR.alloc(layout(size, align)) }.is_null());
        // SAFETY: not of size zero.
        assert!(unsafe { ALLOCATOR.alloc_zeroed(layout(size, align)) }.is_null());
        for old in [16, 2000] {
            let old = layout(old, align);
            // SAFETY: not of size zero.
            let block = unsafe { ALLOCATOR.alloc(old) };
            fill(block, old.size(), 5);
            // SAFETY: allocated above; the size with its alignment is a layout's.
            assert!(unsafe { ALLOCATOR.realloc(block, old, size) }.is_null());
            check(block, pattern(old.size(), 5));
            // SAFETY: allocated above, and not resized.
            unsafe { ALLOCATOR.dealloc(block, old) };
        }
    }
    assert_eq!(ambient.live(), 0);
}
