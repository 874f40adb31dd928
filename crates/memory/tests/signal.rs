//! Signal handlers that charge in the middle of a charge, and threads that are stopped there.
//!
//! That a charge met one under way shows in the usage: it did not come from what the thread has charged ahead.
#![cfg(unix)]
#![expect(unsafe_code, reason = "a signal handler that charges is what is tested")]

use std::{
    ffi::c_int,
    hint::spin_loop,
    ptr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU64, Ordering},
    },
    thread,
};

use fief_core::{Barrier, Registry};
use fief_memory::{Memory, MemoryCss};

const SIGALRM: c_int = 14;

unsafe extern "C" {
    fn signal(number: c_int, handler: extern "C" fn(c_int)) -> usize;
    fn pthread_self() -> usize;
    fn pthread_kill(thread: usize, number: c_int) -> c_int;
}

/// What the handler charges; one test at a time.
static GROUP: AtomicPtr<MemoryCss> = AtomicPtr::new(ptr::null_mut());
static ALONE: Mutex<()> = Mutex::new(());
static HANDLED: AtomicU64 = AtomicU64::new(0);
/// How often the handler found a charge under way.
static MET: AtomicU64 = AtomicU64::new(0);

/// Whether the handler stops its thread where it found a charge under way.
static STOP: AtomicU8 = AtomicU8::new(GO_ON);
const GO_ON: u8 = 0;
const STOP_NEXT: u8 = 1;
const STOPPED: u8 = 2;

extern "C" fn handle(_number: c_int) {
    // SAFETY: set by `interrupt`, whose caller's reference outlives all signals.
    let Some(css) = (unsafe { GROUP.load(Ordering::Acquire).as_ref() }) else { return };
    let before = css.current();
    let is_charged = css.try_charge(3).is_ok();
    if css.current() != before {
        MET.fetch_add(1, Ordering::Relaxed);
        if STOP.load(Ordering::Relaxed) == STOP_NEXT {
            STOP.store(STOPPED, Ordering::Release);
            while STOP.load(Ordering::Acquire) == STOPPED {
                spin_loop();
            }
        }
    }
    if is_charged {
        css.uncharge(3);
    }
    HANDLED.fetch_add(1, Ordering::Release);
}

/// Charges and uncharges on this thread, and sends it signals until `is_enough`; then does `then` elsewhere.
///
/// Returns what that found.
fn interrupt<T: Send>(
    css: &MemoryCss,
    is_enough: impl Fn() -> bool + Sync,
    then: impl FnOnce() -> T + Send,
) -> T {
    HANDLED.store(0, Ordering::Relaxed);
    MET.store(0, Ordering::Relaxed);
    GROUP.store(ptr::from_ref(css).cast_mut(), Ordering::Release);
    // SAFETY: the handler does only what may be done in one: it charges what the thread has charged ahead, or
    // counters, and takes no lock, since the thread it interrupts takes none here.
    unsafe { signal(SIGALRM, handle) };
    // SAFETY: no conditions.
    let target = unsafe { pthread_self() };
    css.try_charge(1).expect("there is room"); // and something is charged ahead
    let is_over = AtomicBool::new(false);
    let found = thread::scope(|scope| {
        let sender = scope.spawn(|| {
            while !is_enough() {
                let before = HANDLED.load(Ordering::Acquire);
                // SAFETY: the thread is there until this one is joined.
                unsafe { pthread_kill(target, SIGALRM) };
                while HANDLED.load(Ordering::Acquire) == before && !is_enough() {
                    thread::yield_now();
                }
            }
            let found = then();
            is_over.store(true, Ordering::Release);
            found
        });
        while !is_over.load(Ordering::Acquire) {
            for _ in 0..100 {
                css.try_charge(1).expect("there is room");
                css.uncharge(1);
            }
        }
        sender.join().expect("no panic")
    });
    css.uncharge(1);
    GROUP.store(ptr::null_mut(), Ordering::Release);
    found
}

fn with_both_barriers(test: impl Fn(&MemoryCss)) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for barrier in [Barrier::Auto, Barrier::Fence] {
        let registry = Registry::new();
        let hierarchy = registry.create_hierarchy("h").expect("the name is free");
        let memory = registry
            .register(Memory::builder().barrier(barrier).build())
            .expect("the name is free");
        memory.bind(&hierarchy).expect("it is inactive");
        let web = hierarchy.root().create_child("web").expect("the name is free");
        test(&memory.css(&web).expect("bound here"));
        assert_eq!(
            memory.root().expect("registered").usage_exact(),
            (0, 0),
            "nothing is lost or gained"
        );
    }
}

/// Trap 14: the mark of a charge under way is not set twice, nor taken off by the inner one.
#[test]
fn a_handler_that_charges_in_the_middle_of_a_charge_loses_nothing() {
    with_both_barriers(|css| {
        interrupt(css, || MET.load(Ordering::Relaxed) >= 20, || {});
        assert_eq!(css.usage_exact(), (0, 0));
    });
}

/// Trap 15: the owner of what is to be called in is stopped in the middle of a charge, and does not go on
/// before the drain is through.
#[test]
fn a_drain_does_not_wait_for_an_owner_that_is_stopped() {
    with_both_barriers(|css| {
        STOP.store(STOP_NEXT, Ordering::Relaxed);
        let is_stopped = || STOP.load(Ordering::Acquire) == STOPPED;
        let drain = || {
            let drained = css.drain();
            let ahead = css.current();
            STOP.store(GO_ON, Ordering::Release);
            (drained, ahead)
        };
        let (drained, ahead) = interrupt(css, is_stopped, drain);
        assert_eq!((drained.pockets, drained.inside), (0, 1), "it is left to its owner");
        assert!(ahead > 3, "{ahead} bytes");
        assert_eq!(css.usage_exact(), (0, 0));
        assert_eq!(css.stats().events_local.drain_skip, 1);
    });
}
