//! What is easily got wrong in sharing CPU time: a test for each.
//!
//! Paths are from the folder of this crate, or from the root of the repository where they begin with `benches/`; "here" is
//! this file.
//!
//! | | Trap | Proved by |
//! |---|---|---|
//! | 1 | wall time that is charged though the machine took the CPU away | here: `trap_1_a_slice_is_charged_what_it_used_however_long_it_took`; `src/meter.rs`: `time_that_was_taken_away_is_not_charged`, `a_thread_is_not_charged_for_its_sleep` |
//! | 2 | a runtime whose sockets nobody looks at | `tests/tokio_io.rs`: `datagrams_are_answered_beside_hogs_in_every_mode`, `a_runner_lets_the_runtime_look_at_its_sockets` |
//! | 3 | tokio's budget | `tests/tokio_io.rs`: `who_is_always_ready_gives_way` |
//! | 4 | lost wake-ups | `src/tests/loom_sleep.rs`: `what_is_pushed_as_a_worker_goes_to_sleep_is_run`, `a_slot_that_a_claim_leaves_goes_to_who_waits`; `src/tests/loom_leaf.rs`: `a_push_meets_a_take`; `src/tests/loom_job.rs`: `no_wake_up_is_lost`; `tests/stress.rs`: `no_job_is_lost_and_none_runs_twice` |
//! | 5 | a drop while queued, parked or granted | `tests/wrap.rs`: `it_can_be_dropped_in_every_state`; `tests/tokio_life.rs`: `jobs_are_dropped_in_every_state`; `src/tests/loom_claim.rs`: `a_grant_to_who_is_gone_is_handed_on` |
//! | 6 | a panic in a poll | `tests/tokio_life.rs`: `panics_end_in_their_jobs`; `tests/wrap.rs`: `a_panic_in_a_poll_loses_no_cpu`; `tests/lease.rs`: `a_panic_in_blocking_or_under_a_lease_loses_no_cpu` |
//! | 7 | polls for which nobody woke | `tests/wrap.rs`: `a_poll_for_which_it_was_not_woken_does_nothing_but_changes_the_task`, `siblings_and_timeouts_do_not_hold_up_others` |
//! | 8 | long polls | `tests/figures.rs`: `long_polls_are_counted_and_told_of`, `long_polls_belong_to_whoever_made_them` |
//! | 9 | jobs that block | `tests/lease.rs`: `a_closure_that_blocks_leaves_the_cpu_to_others`; `tests/rescue.rs`: `who_is_in_a_hurry_is_served_inside_a_long_poll` |
//! | 10 | a lock that is held by somebody who waits for his turn | `tests/lease.rs`: `a_guard_keeps_the_cpu` |
//! | 11 | a storm of wake-ups | here: `trap_11_ten_thousand_wake_ups_of_a_group_are_one_activation` |
//! | 12 | a herd of groups behind a light one | here: `trap_12_a_herd_behind_a_light_group_gets_what_that_gets`; `tests/tree_rules/gaming.rs`: `many_groups_and_many_jobs_get_no_more_than_one` |
//! | 13 | games | `tests/tree_rules/gaming.rs`: `no_rhythm_of_naps_yields_and_polls_pays`, `a_nap_does_not_reset_what_is_owed`, `many_groups_and_many_jobs_get_no_more_than_one` |
//! | 14 | debt without end | `tests/tree_rules/gaming.rs`: `debt_ends_somewhere_and_that_is_counted` |
//! | 15 | weights that change, and groups that go, while they run | here: `trap_15_a_group_finds_nothing_of_the_one_whose_place_it_takes`; `tests/tree_rules/fairness.rs`: `a_weight_counts_from_the_moment_it_is_set`; `tests/limits.rs`: `shares_follow_weights_that_change_live`; `tests/tree_rules/life.rs`: `a_group_removed_while_it_runs_is_charged_to_all_above_it` |
//! | 16 | what tokio keeps for the worker that woke it | `tests/tokio_io.rs`: `a_runner_is_not_parked_behind_the_poll_that_woke_it` |
//! | 17 | virtual time that comes round | `src/tree/tests.rs`: `a_long_sleep_is_no_debt`, `the_heap_is_ordered_across_the_wrap` |
//! | 18 | jobs that a batch hides from who has nothing to do | here: `trap_18_what_a_worker_took_is_found_by_who_has_nothing_to_do`; `src/tests/loom_sleep.rs`: `what_a_worker_has_taken_is_found_beside_its_long_poll`, `what_is_left_in_a_ring_is_found_beside_a_long_poll` |
//! | 19 | threads and runtimes inside jobs | said in the crate's documentation; here: `trap_19_threads_of_a_job_are_nobodys` |
//! | 20 | timers that are late | here: `trap_20_a_release_is_told_to_the_nanosecond`; `tests/tokio_life.rs`: `a_throttled_group_is_released_while_runners_sleep` |
//!
//! Races that Linux has had:
//!
//! | | Race | Proved by |
//! |---|---|---|
//! | 71 | a group held back though it has used less, as what a CPU took for it was lost | here: `race_71_what_a_slice_does_not_use_is_given_back`; `tests/tree_rules/quota.rs`: `no_window_has_more_than_its_quota_and_a_long_backlog_gets_all_of_it` |
//! | 72 | a group held back by a limit that was raised meanwhile | here: `race_72_a_release_comes_near_when_the_quota_is_raised`; `tests/tree_rules/quota.rs`: `a_quota_that_is_raised_or_taken_away_while_it_holds_counts_at_once`; `tests/limits.rs`: `who_sleeps_is_woken_by_a_quota_that_is_raised` |

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    task::{Poll, Waker},
    thread,
    time::Duration,
};

use fief_core::{Clock, Controller, Hierarchy, Registry, VirtualClock};
use fief_cpu::{
    Bandwidth, Cpu, Killed, Manual, Pool, Turned,
    tree::{CpuTree, NodeId, TreeSettings},
};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const MS: u64 = 1_000_000;
const MILLI: Duration = Duration::from_millis(1);

/// A clock that counts how often it is read.
#[derive(Default)]
struct Counting(VirtualClock, AtomicU64);

struct Scene {
    clock: Arc<Counting>,
    worker: Manual,
    cpu: Controller<Cpu>,
    _registry: Registry,
    tree: Hierarchy,
}

impl Clock for Counting {
    fn now(&self) -> Duration {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.now()
    }
}

fn scene() -> Result<Scene, Box<dyn std::error::Error>> {
    let (clock, registry) = (Arc::<Counting>::default(), Registry::new());
    let tree = registry.create_hierarchy("by-tenant")?;
    let same: Arc<dyn Clock> = Arc::<Counting>::clone(&clock);
    let cpu = registry.register(Cpu::builder().cpus(1).clock(same).build())?;
    cpu.bind(&tree)?;
    let worker = Pool::builder(&cpu).manual()?;
    Ok(Scene { clock, worker, cpu, _registry: registry, tree })
}

/// A future that never ends, and uses so much each time.
fn hog(clock: &Arc<Counting>, each: Duration) -> impl Future<Output = ()> + Send + use<> {
    let clock = clock.0.clone();
    poll_fn(move |context| {
        clock.advance(each);
        context.waker().wake_by_ref();
        Poll::Pending
    })
}

/// Two groups that wait.
fn two() -> (CpuTree, [NodeId; 2]) {
    let mut tree = CpuTree::new(TreeSettings::default());
    let nodes = [(); 2].map(|()| tree.add(tree.root()).expect("the root is there"));
    for node in nodes {
        tree.activate(node, 0).expect("it is there");
    }
    (tree, nodes)
}

/// Seen before this was a rule: 24 ms charged for 3.5 ms of work, and nothing served for seconds.
#[test]
fn trap_1_a_slice_is_charged_what_it_used_however_long_it_took() -> Outcome {
    let (mut tree, [unlucky, other]) = two();
    let pick = tree.pick_at(unlucky, 0).ok_or("it waits")?;
    let now = 24 * MS;
    tree.settle(pick, 3_500_000, now);
    assert_eq!(tree.stats(unlucky)?.usage, 3_500_000);
    let mut between = 0;
    loop {
        let pick = tree.pick(now).ok_or("both wait")?;
        let node = pick.node();
        tree.settle(pick, 100_000, now);
        if node == unlucky {
            break;
        }
        assert_eq!(node, other);
        between += 100_000;
    }
    assert!((3_400_000..=3_700_000).contains(&between), "{between}");
    Ok(())
}

#[test]
fn trap_11_ten_thousand_wake_ups_of_a_group_are_one_activation() -> Outcome {
    let mut scene = scene()?;
    let web = scene.worker.group(&scene.tree.root().create_child("web")?)?;
    let wakers = Arc::new(Mutex::new(Vec::<Waker>::new()));
    let mut handles = Vec::new();
    for _ in 0..10_000 {
        let (wakers, mut is_first) = (Arc::clone(&wakers), true);
        handles.push(web.spawn(poll_fn(move |context| {
            if std::mem::take(&mut is_first) {
                wakers.lock().unwrap().push(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        }))?);
    }
    scene.worker.run_until_idle();
    let wakers = std::mem::take(&mut *wakers.lock().unwrap());
    assert_eq!(wakers.len(), 10_000);
    // The scheduler reads the clock once whenever a group begins to wait.
    let before = scene.clock.1.load(Ordering::Relaxed);
    wakers.into_iter().for_each(Waker::wake);
    assert_eq!(scene.clock.1.load(Ordering::Relaxed) - before, 1);
    scene.worker.run_until_idle();
    assert!(handles.iter().all(|handle| handle.is_finished()));
    Ok(())
}

#[test]
fn trap_12_a_herd_behind_a_light_group_gets_what_that_gets() -> Outcome {
    let mut scene = scene()?;
    let root = scene.tree.root();
    let (web, light) = (root.create_child("web")?, root.create_child("light")?);
    web.write("cpu.weight", "900")?;
    light.write("cpu.weight", "100")?;
    drop(scene.worker.group(&web)?.spawn(hog(&scene.clock, MILLI))?);
    for number in 0..200 {
        let group = light.create_child(&format!("g{number}"))?;
        group.write("cpu.weight", "10000")?;
        drop(scene.worker.group(&group)?.spawn(hog(&scene.clock, MILLI))?);
    }
    for _ in 0..100 {
        assert_eq!(scene.worker.turn(), Turned::Ran);
    }
    let light = scene.cpu.css(&light).ok_or("it is bound")?.usage();
    assert!((MILLI * 8..=MILLI * 12).contains(&light), "{light:?} of 100 ms");
    Ok(())
}

#[test]
fn trap_15_a_group_finds_nothing_of_the_one_whose_place_it_takes() -> Outcome {
    let (mut tree, [gone, _]) = two();
    tree.set_weight(gone, 7, 0)?;
    let pick = tree.pick_at(gone, 0).ok_or("it waits")?;
    tree.deactivate(gone, 0);
    tree.remove(gone)?;
    let during = tree.add(tree.root())?;
    assert_ne!(during.index(), gone.index(), "its place is in use while it runs");
    tree.settle(pick, 5 * MS, 0);
    let after = tree.add(tree.root())?;
    assert_eq!(after.index(), gone.index(), "its place is free");
    assert_ne!(after, gone);
    assert!(tree.stats(gone).is_err() && tree.set_weight(gone, 9, 0).is_err());
    assert_eq!((tree.weight(after)?, tree.stats(after)?.usage), (100, 0));
    assert!(!tree.is_active(after));
    Ok(())
}

#[test]
fn trap_18_what_a_worker_took_is_found_by_who_has_nothing_to_do() -> Outcome {
    let registry = Registry::new();
    let tree = registry.create_hierarchy("by-tenant")?;
    let cpu = registry.register(Cpu::builder().cpus(2).build())?;
    cpu.bind(&tree)?;
    let pool = Pool::builder(&cpu).workers(2).start()?;
    let web = pool.group(&tree.root().create_child("web")?)?;
    for round in 0..200 {
        let (ran, all) = mpsc::channel();
        let mut jobs = Vec::new();
        // The one in the middle stays until all others have run, those behind it in a batch too.
        let mut all = Some(all);
        for number in 0..65 {
            if number != 20 {
                let ran = ran.clone();
                jobs.push(web.spawn(async move { ran.send(()).is_ok() })?);
            } else if let Some(all) = all.take() {
                jobs.push(web.spawn(async move {
                    (0..64).all(|_| all.recv_timeout(Duration::from_secs(20)).is_ok())
                })?);
            }
        }
        for job in jobs {
            assert!(job.join()?, "jobs are hidden in round {round}");
        }
    }
    Ok(())
}

#[test]
fn trap_19_threads_of_a_job_are_nobodys() -> Outcome {
    let mut scene = scene()?;
    let group = scene.tree.root().create_child("web")?;
    let web = scene.worker.group(&group)?;
    let clock = scene.clock.0.clone();
    let killed = group.clone();
    let (say, heard) = mpsc::channel();
    let _job = web.spawn_fn(move || {
        clock.advance(MILLI);
        killed.kill().expect("it is not removed");
        let inside = fief_cpu::checkpoint();
        let other = thread::spawn(fief_cpu::checkpoint).join().expect("no panic");
        say.send((inside, other)).expect("it is heard");
    })?;
    scene.worker.run_until_idle();
    assert_eq!(heard.recv()?, (Err(Killed), Ok(())));
    Ok(())
}

#[test]
fn trap_20_a_release_is_told_to_the_nanosecond() -> Outcome {
    let mut scene = scene()?;
    let group = scene.tree.root().create_child("web")?;
    group.write("cpu.max", "1000 10000")?;
    let _job = scene.worker.group(&group)?.spawn(hog(&scene.clock, MILLI * 3))?;
    let release = loop {
        match scene.worker.turn() {
            Turned::Ran => {}
            Turned::Idle(release) => break release.ok_or("a quota holds it back")?,
            ended => return Err(format!("{ended:?}").into()),
        }
    };
    assert!(release > MILLI, "{release:?}");
    scene.clock.0.advance(release - Duration::from_nanos(1));
    assert_eq!(scene.worker.turn(), Turned::Idle(Some(Duration::from_nanos(1))));
    scene.clock.0.advance(Duration::from_nanos(1));
    assert_eq!(scene.worker.turn(), Turned::Ran);
    Ok(())
}

#[test]
fn race_71_what_a_slice_does_not_use_is_given_back() -> Outcome {
    let (mut tree, [group, _]) = two();
    let quota = Bandwidth::new(MILLI * 10, MILLI * 100)?.with_burst(MILLI * 10)?;
    tree.set_bandwidth(group, quota, 0)?;
    // It has saved up all it can; then slices are taken that come to nothing, by two workers at once.
    let now = 1_000 * MS;
    for _ in 0..1_000 {
        let picks = [tree.pick_at(group, now), tree.pick_at(group, now)];
        for pick in picks {
            tree.settle(pick.ok_or("held back, and nothing was used")?, 0, now);
        }
    }
    let mut used = 0;
    while let Some(pick) = tree.pick_at(group, now) {
        tree.settle(pick, 100_000, now);
        used += 100_000;
    }
    assert_eq!(used, 10 * MS);
    Ok(())
}

#[test]
fn race_72_a_release_comes_near_when_the_quota_is_raised() -> Outcome {
    let (mut tree, [group, _]) = two();
    tree.set_bandwidth(group, Bandwidth::new(MILLI, MILLI * 1_000)?, 0)?;
    let pick = tree.pick_at(group, 0).ok_or("it waits")?;
    tree.settle(pick, 50 * MS, 0);
    let far = tree.next_release().ok_or("it is held back")?;
    assert!(far > 40_000 * MS, "{far}");
    let now = 10 * MS;
    tree.set_bandwidth(group, Bandwidth::new(MILLI * 500, MILLI * 1_000)?, now)?;
    let near = tree.next_release().ok_or("what it owes it owes")?;
    assert!((now + 90 * MS..now + 110 * MS).contains(&near), "{near}");
    assert!(tree.pick_at(group, near - 1).is_none() && tree.pick_at(group, near).is_some());
    Ok(())
}
