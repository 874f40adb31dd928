//! Memory that must not grow: counted at the allocator, by one test in a process of its own.
#![expect(unsafe_code, reason = "an allocator that counts; see docs/unsafe.md")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicIsize, Ordering},
};

use fief_core::{Css, HookError, Reclaimer, Registry, Removal, Subsystem, prepare_thread};

/// The system's allocator, and how many bytes of it are out.
struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);

// SAFETY: the system's allocator does it all; the count is beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size().cast_signed(), Ordering::Relaxed);
        // SAFETY: the caller's promise is ours.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size().cast_signed(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Unit;

impl Subsystem for Unit {
    type State = ();

    fn name(&self) -> &str {
        "unit"
    }

    fn new_css(&self, _parent: Option<&Css<()>>) -> Result<(), HookError> {
        Ok(())
    }
}

/// Runs `round` four times and requires that the third and fourth leave nothing behind.
fn leaves_nothing(what: &str, mut round: impl FnMut()) {
    let mut after = || {
        round();
        LIVE.load(Ordering::Relaxed)
    };
    let [_first, second, _third, fourth] = std::array::from_fn(|_| after());
    assert!(fourth <= second + 64, "{what}: {} bytes more in two rounds", fourth - second);
}

#[test]
fn memory_is_flat() {
    assert!(prepare_thread(), "before there is any css");
    leaves_nothing("registries with a thousand groups", || {
        let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
        let hierarchy = registry.create_hierarchy("h").unwrap();
        registry.register(Unit).unwrap().bind(&hierarchy).unwrap();
        for name in 0..1_000 {
            hierarchy.root().create_child(&name.to_string()).unwrap();
        }
    });

    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let controller = registry.register(Unit).unwrap();
    leaves_nothing("binding to and fro", || {
        for _ in 0..500 {
            controller.bind(&hierarchy).unwrap();
            controller.unbind().unwrap();
        }
    });

    let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
    leaves_nothing("hierarchies that come and go", || {
        for _ in 0..500 {
            registry.create_hierarchy("h").unwrap().destroy().unwrap();
            registry.wait_reclaimed().unwrap();
        }
    });

    let hierarchy = registry.create_hierarchy("h").unwrap();
    registry.register(Unit).unwrap().bind(&hierarchy).unwrap();
    leaves_nothing("groups that come and go", || {
        for _ in 0..500 {
            let group = hierarchy.root().create_child("a").unwrap();
            let task = registry.create_task("t").unwrap();
            task.join(&group).unwrap();
            drop(task);
            group.remove(Removal::Detach).unwrap();
            registry.wait_reclaimed().unwrap();
        }
    });
}
