//! A signal handler that allocates in the middle of a count neither loses nor breaks anything.
//!
//! The allocator below hands out pieces of a static array by one atomic add, so it may be called in a
//! handler; the system's may not.
#![cfg(unix)]
#![expect(unsafe_code, reason = "a signal handler that allocates is what is tested")]

use std::{
    alloc::{GlobalAlloc, Layout},
    cell::UnsafeCell,
    ffi::c_int,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use fief_alloc::{Ambient, GroupAlloc, stats};

const ROOM: usize = 1 << 20;

/// A ring of memory: whoever asks gets the next piece, and nobody looks into it but at its trailer.
struct Ring {
    bytes: UnsafeCell<[u8; ROOM]>,
    next: AtomicUsize,
}

// SAFETY: pieces that are in use at one time are apart: few are, and the ring is much larger.
unsafe impl Sync for Ring {}

// SAFETY: pieces lie in the ring, aligned to 8, the most that is asked for here.
unsafe impl GlobalAlloc for Ring {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        assert!(layout.align() <= 8);
        let step = layout.size().next_multiple_of(8);
        let place = self.next.fetch_add(step, Ordering::Relaxed) % (ROOM / 2);
        self.bytes.get().cast::<u8>().wrapping_add(place & !7)
    }

    unsafe fn dealloc(&self, _block: *mut u8, _layout: Layout) {}
}

/// Where pieces come from in the handler: others than those that it interrupts.
static IN_HANDLER: GroupAlloc<Ring, 1024> = GroupAlloc::wrapping(Ring::new());
static ELSEWHERE: GroupAlloc<Ring, 1024> = GroupAlloc::wrapping(Ring::new());

impl Ring {
    const fn new() -> Self {
        Self { bytes: UnsafeCell::new([0; ROOM]), next: AtomicUsize::new(0) }
    }
}

static GROUPS: OnceLock<[Ambient; 2]> = OnceLock::new();
static HANDLED: AtomicU64 = AtomicU64::new(0);

const SIGUSR1: c_int = if cfg!(target_os = "linux") { 10 } else { 30 };

unsafe extern "C" {
    fn signal(number: c_int, handler: extern "C" fn(c_int)) -> usize;
    fn pthread_self() -> usize;
    fn pthread_kill(thread: usize, number: c_int) -> c_int;
}

const LARGE: Layout = Layout::new::<[u64; 250]>();
const SMALL: Layout = Layout::new::<[u64; 3]>();

/// Allocates and frees a large block and a small one; keeps `kept` large ones.
fn pair(allocator: &GroupAlloc<Ring, 1024>, kept: usize) {
    for layout in [LARGE, SMALL] {
        // SAFETY: not of size zero.
        let block = unsafe { allocator.alloc(layout) };
        // SAFETY: allocated above.
        unsafe { allocator.dealloc(block, layout) };
    }
    for _ in 0..kept {
        // SAFETY: not of size zero.
        unsafe { allocator.alloc(LARGE) };
    }
}

extern "C" fn handle(_number: c_int) {
    // In the group that was interrupted, and in another.
    pair(&IN_HANDLER, 1);
    if let Some([_, other]) = GROUPS.get() {
        let _scope = other.enter();
        pair(&IN_HANDLER, 1);
    }
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

#[test]
fn a_handler_that_allocates_loses_nothing() {
    let [own, other] = GROUPS.get_or_init(|| [(), ()].map(|()| Ambient::new().expect("memory")));
    // SAFETY: the handler does only what may be done in one.
    unsafe { signal(SIGUSR1, handle) };
    let before = stats();
    let mut pairs = 0_u64;
    // SAFETY: no conditions.
    let target = unsafe { pthread_self() };
    let is_over = AtomicBool::new(false);
    let scope = own.enter();
    thread::scope(|threads| {
        let sender = threads.spawn(|| {
            for _ in 0..20_000 {
                // SAFETY: the thread is there until this one is joined.
                unsafe { pthread_kill(target, SIGUSR1) };
                thread::sleep(Duration::from_micros(1));
            }
            is_over.store(true, Ordering::Relaxed);
        });
        while !is_over.load(Ordering::Relaxed) {
            for _ in 0..100 {
                pair(&ELSEWHERE, 0);
                pairs += 1;
            }
        }
        sender.join().expect("no panic");
    });
    drop(scope);
    let handled = HANDLED.load(Ordering::Relaxed);
    assert!(handled > 1_000, "{handled} signals");
    let size = LARGE.size() as u64;
    assert_eq!((own.live(), other.live()), (handled * size, handled * size));
    let large = pairs + 2 * handled;
    assert_eq!(own.stats().allocated, large * size);
    assert_eq!(other.stats().allocated, 2 * handled * size);
    let small = pairs + 2 * handled;
    let after = stats();
    let count = after.untagged_allocated_blocks - before.untagged_allocated_blocks;
    assert_eq!((count, after.untagged()), (small, before.untagged()));
}
