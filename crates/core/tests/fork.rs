//! The child of a fork may drop what it has, and is told that it can do no more.
#![cfg(unix)]
#![expect(unsafe_code, reason = "fork is what is tested")]

use std::{
    ffi::{c_int, c_uint},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
};

use fief_core::{
    Activity, AgentError, Css, HookError, Pressure, Reclaimer, Registry, ReleaseAgent, Removal,
    State, StructuralError, Subsystem, VirtualClock, prepare_thread,
};

unsafe extern "C" {
    fn fork() -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn _exit(status: c_int) -> !;
    fn alarm(seconds: c_uint) -> c_uint;
}

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

/// Runs `child` in a forked child and returns its exit status.
fn in_child(child: impl FnOnce() -> bool) -> c_int {
    // SAFETY: the child touches only what is documented to work in one, and leaves by `_exit`.
    let pid = unsafe { fork() };
    if pid == 0 {
        // SAFETY: ends a child that hangs.
        unsafe { alarm(60) };
        let is_well = child();
        // SAFETY: ends the child without running the parent's exit handlers.
        unsafe { _exit(if is_well { 0 } else { 1 }) }
    }
    let mut status = -1;
    // SAFETY: `status` is a live word, and `pid` our own child.
    let waited = unsafe { waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid);
    status
}

#[test]
fn a_forked_child_can_drop_and_no_more() {
    let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let controller = registry.register(Unit).unwrap();
    controller.bind(&hierarchy).unwrap();
    let group = hierarchy.root().create_child("a").unwrap();
    let task = registry.create_task("t").unwrap();
    let reference = controller.css(&group).unwrap();
    let spare = Registry::builder().reclaimer(Reclaimer::Manual).build();
    let spare_root = spare.register(Unit).unwrap();
    let kept = spare_root.root().unwrap();

    let status = in_child(|| {
        let is_forked = |result: Result<(), StructuralError>| {
            matches!(result, Err(StructuralError::Forked { operation: "synchronize", .. }))
        };
        let refused = is_forked(registry.synchronize());
        let refused_too = group.remove(Removal::Detach).is_err()
            && group.files().is_err()
            && group.read("cgroup.stat").is_err()
            && group.write("cgroup.kill", "1").is_err();
        let found = registry.read().css(&controller, &group).is_some();
        let copy = reference.clone();
        drop((copy, reference.clone()));
        drop((task, group.clone()));
        // The last handle of a registry goes, and the reference that is out stays good.
        drop((spare, spare_root));
        let is_kept = kept.clone().state() == State::Online;
        // A registry of the child's own works.
        let own = Registry::builder().reclaimer(Reclaimer::Manual).build();
        is_kept && refused && refused_too && found && own.create_hierarchy("own").is_ok()
    });
    assert_eq!(status, 0);
    group.remove(Removal::Detach).unwrap();
    drop(reference);
}

/// Threads come and go, and css with them, while others fork: no child finds a lock taken by a
/// thread that it does not have.
#[test]
fn a_first_clone_in_a_forked_child_never_waits() {
    let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let controller = registry.register(Unit).unwrap();
    controller.bind(&hierarchy).unwrap();
    let reference = controller.root().unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for name in ["a", "b"] {
            let (hierarchy, is_over) = (&hierarchy, &is_over);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    thread::scope(|scope| scope.spawn(prepare_thread).join().unwrap());
                    let group = hierarchy.root().create_child(name).unwrap();
                    group.remove(Removal::Detach).unwrap();
                }
            });
        }
        for _ in 0..100 {
            let forking = scope.spawn(|| in_child(|| reference.clone().state() == State::Online));
            assert_eq!(forking.join().unwrap(), 0);
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

/// The child has none of an agent's threads: it waits for none, and can start none for a registry
/// of its parent's.
#[test]
fn a_forked_child_drops_an_agent_and_starts_none() {
    let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let agent = ReleaseAgent::remover(&hierarchy).unwrap();
    let mut agent = Some(agent);
    let status = in_child(|| {
        drop(agent.take());
        let refused = ReleaseAgent::remover(&hierarchy);
        matches!(refused, Err(AgentError::Structural(StructuralError::Forked { .. })))
    });
    assert_eq!(status, 0);
    assert!(agent.is_some_and(|agent| agent.stop().told == 0));
}

/// Another thread is at the queue of notices as the process forks: the child finds it locked, sometimes.
#[test]
fn notices_and_watches_can_be_dropped_in_a_forked_child() {
    let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    hierarchy.root().set_notify_on_release(true).unwrap();
    let groups: Vec<_> =
        (0..70).map(|name| hierarchy.root().create_child(&name.to_string()).unwrap()).collect();
    let notices = hierarchy.notices();
    hierarchy.renotify().unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                (0..10).for_each(|_| drop(notices.try_recv()));
                hierarchy.renotify().unwrap();
            }
        });
        for _ in 0..100 {
            let (dropped, accepted) = (notices.recv().unwrap(), notices.recv().unwrap());
            let watch = groups[0].watch().unwrap();
            let status = in_child(|| {
                drop((dropped, watch));
                accepted.accept().is_none()
            });
            assert_eq!(status, 0);
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

/// Another thread makes caches and publishes as the process forks: the child waits for neither.
#[test]
fn a_forked_child_looks_up_through_caches() {
    let registry = Registry::builder().reclaimer(Reclaimer::Manual).build();
    let controller = registry.register(Unit).unwrap();
    let task = registry.create_task("t").unwrap();
    let cache = registry.cache();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                drop(registry.cache());
                registry.synchronize().unwrap();
            }
        });
        for _ in 0..100 {
            let there = registry.cache();
            let status = in_child(|| {
                let found = cache.css(&controller, &task).is_some();
                let own = registry.cache();
                drop(there);
                found && own.css(&controller, &task).is_some() && task.css(&controller).is_some()
            });
            assert_eq!(status, 0);
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

/// Another thread reads a pressure with many triggers as the process forks: the child finds its record
/// locked nearly always.
#[test]
fn stalls_can_end_in_a_forked_child() {
    let pressure = Pressure::new(Arc::new(VirtualClock::new()));
    let threshold = "some 1000000 2000000".parse().expect("a threshold");
    let triggers: Vec<_> = (0..1000).map(|_| pressure.trigger(threshold)).collect();
    let (is_over, looks) = (AtomicBool::new(false), AtomicU32::new(0));
    let all_ended = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let _stats = pressure.stats();
                looks.fetch_add(1, Ordering::Relaxed);
            }
        });
        let all_ended = (0..20).all(|_| {
            let (stall, mut work) = (pressure.stall(), pressure.work());
            let seen = looks.load(Ordering::Relaxed);
            while looks.load(Ordering::Relaxed) < seen + 3 {
                thread::yield_now();
            }
            let status = in_child(|| {
                work.set(Activity::Idle);
                drop(work.stall());
                drop((stall, work));
                true
            });
            status == 0
        });
        is_over.store(true, Ordering::Relaxed);
        all_ended
    });
    assert!(all_ended, "a child waited for its parent's thread");
    drop(triggers);
    assert_eq!((pressure.miscounts(), pressure.stats().some.total), (0, 0));
}

/// Another thread reads the path all the time, so that a fork often finds it in the middle of that.
#[test]
fn a_child_reads_paths() {
    let registry = Registry::new();
    let hierarchy = registry.create_hierarchy("h").unwrap();
    let web = hierarchy.root().create_child("web").unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                assert_eq!(web.path(), "/web");
            }
        });
        let statuses: Vec<_> = (0..200).map(|_| in_child(|| web.path() == "/web")).collect();
        done.store(true, Ordering::Relaxed);
        assert_eq!(statuses, [0; 200]);
    });
}
