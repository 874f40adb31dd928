//! What is easily got wrong in limiting I/O: a test for each.
//!
//! Paths are from the folder of this crate; "here" is this file.
//!
//! | | Trap | Proved by |
//! |---|---|---|
//! | 1 | rate × time that overflows | `src/tree/tests/bucket.rs`: `trap_01_rate_times_time_does_not_overflow`; `tests/tree_rules/traps.rs`: `trap_01_a_long_pause_is_no_overflow`; `tests/bad_input.rs`: `extremes_of_what_is_allowed_hold` |
//! | 2 | a clock that goes back | here: `trap_2_a_clock_that_goes_back_gives_nothing_twice`; `tests/tree_rules/traps.rs`: `trap_02_a_clock_that_goes_back_stands_still`; `src/latency/tests.rs`: `a_clock_that_stands_still_or_goes_back_harms_nothing` |
//! | 3 | a herd | here: `trap_3_only_who_is_granted_is_woken` |
//! | 4 | sleeps that are too long, and refill that drifts | here: `trap_4_sleeps_that_are_too_long_cost_no_rate`; `tests/tree_rules/rates.rs`: `rates_are_exact` |
//! | 5 | a timer that is late | here: `trap_5_anybody_who_comes_lets_others_go_on`; `tests/tree_rules/rates.rs`: `trap_05_a_late_timer_costs_no_rate`; `tests/waiting.rs`: `a_turn_that_nobody_saw_to_is_a_stall` |
//! | 6 | large requests that starve, or get all | `tests/tree_rules/shares.rs`: `trap_06_a_large_request_neither_starves_nor_hogs`; `tests/tree_rules/life.rs`: `a_large_request_is_charged_piece_by_piece` |
//! | 7 | what is dropped or forgotten while it waits or has its turn | `tests/waiting.rs`: `a_drop_gives_back_what_was_granted_and_not_taken`, `what_is_forgotten_is_counted_and_wedges_nothing`; `tests/tree_rules/life.rs`: `cancelling_gives_back_exactly_what_was_charged`; `tests/stress.rs`: `nothing_drifts_and_nobody_is_stuck` |
//! | 8 | who waits behind who is held back | here: `trap_8_a_direction_or_a_device_that_is_held_back_holds_up_no_other`; `tests/tree_rules/traps.rs`: `trap_08_nobody_waits_behind_who_is_held_back` |
//! | 9 | limits that change while others sleep | `tests/waiting.rs`: `a_raised_limit_reaches_who_sleeps`; `tests/tree_rules/traps.rs`: `trap_09_a_change_reaches_those_who_wait`; `src/tree/tests/bucket.rs`: `trap_09_a_change_mints_nothing` |
//! | 10 | limits of 0, of 1 B/s and of everything | `tests/bad_input.rs`: `a_setting_out_of_range_names_the_group_the_value_and_the_rule` (0 is refused), `extremes_of_what_is_allowed_hold`; `tests/tree_rules/traps.rs`: `trap_10_rates_of_nothing_one_and_everything`, `trap_10_a_limit_without_a_burst_opens`, `trap_10_the_largest_requests_take_few_steps`; `src/tree/tests/bucket.rs`: `trap_10_the_least_and_the_greatest_rate` |
//! | 11 | what is held at one level while another refuses | `tests/tree_rules/traps.rs`: `trap_11_nothing_is_held_at_one_level_while_another_refuses`; `tests/model.rs`: `what_is_counted_is_what_was_granted` |
//! | 12 | charged by two layers | `tests/paid.rs`: `trap_12_a_wrapper_in_a_wrapper_charges_once`; `tests/tower.rs`: `trap_12_a_layer_over_a_wrapped_file_charges_once` |
//! | 13 | virtual time that stands still, and newcomers who get all | `tests/tree_rules/traps.rs`: `trap_13_virtual_time_always_goes_on`, `trap_13_a_newcomer_has_no_claim_to_the_past` |
//! | 14 | bursts that defeat weights | `tests/tree_rules/shares.rs`: `trap_14_bursts_do_not_defeat_weights` |
//! | 15 | writes that end in the page cache | `Limited::sync_every` has them written back under the next write's permit. `src/limited/writeback.rs`: `trap_15_the_disk_works_under_the_permit_of_the_next_write`, `files_are_written_back_whichever_way_they_are_written`; with `O_DIRECT`, `tests/files_odirect.rs`: `large_requests_are_split_so_that_direct_io_takes_them` |
//! | 16 | probing the cache, which makes the disk read | nothing is probed: a read is charged wherever its bytes come from. Here: `trap_16_a_read_that_the_cache_serves_is_charged` |
//! | 17 | permits of two devices, or two of one | a permit is no lock, and waits can have a deadline. Here: `trap_17_who_holds_a_permit_need_not_wait_for_another` |
//! | 18 | waits that come after the resource is taken | here: `trap_18_nothing_is_done_before_its_turn`; `tests/tower.rs`: `a_request_waits_before_the_inner_service_is_asked`; `tests/waiting.rs`: `a_deadline_that_cannot_be_kept_fails_at_once` |
//! | 19 | retries that are free | here: `trap_19_each_attempt_pays`; `tests/limited.rs`: `an_operation_that_fails_is_counted_and_its_bytes_given_back` |
//! | 20 | forks, and runtimes that shut down | `tests/fork.rs`; here: `trap_20_tasks_of_a_runtime_that_is_gone_leave_nothing`; `tests/stress.rs`: `tasks_of_a_runtime_that_is_dropped_leave_nothing` |
//!
//! Races that Linux has had:
//!
//! | | Race | Proved by |
//! |---|---|---|
//! | 71 | a group held back though it has used less, as what a thread took ahead was lost | here: `race_71_what_threads_took_ahead_is_there_for_who_needs_it`; `tests/waiting.rs`: `what_was_leased_is_given_back_where_it_was_charged_after_a_move` |
//! | 72 | a limit raised from next to nothing, that holds nothing back afterwards | here: `race_72_a_limit_that_is_raised_holds_from_then_on` |
//! | 74 | operations that end when their group, or their device, is gone | `tests/waiting.rs`: `a_removed_group_refuses_who_stays_there`, `a_removed_device_refuses_everything_and_lets_permits_end`; `tests/members.rs`: `a_removed_group_refuses_who_waits_and_leaves_its_figures_to_its_parent`; here: `race_74_who_ends_last_finds_everything_gone` |

use std::{
    error::Error,
    io::{self, Read, Seek, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Poll, Waker},
    thread,
    time::Duration,
};

use fief_core::{Clock, Registry, Removal};
use fief_io::{Acquire, Device, Io, Limits, Op, Refusal, Stream};

use scene::{Checked, Count, Scene, poll, poll_by};

#[path = "support/scene.rs"]
mod scene;

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Has a stream use up what its group may read.
fn exhaust(stream: &Stream) {
    while stream.try_acquire(Op::read(1)).is_ok() {}
}

/// A clock that goes where it is told to, in nanoseconds.
#[derive(Default)]
struct Swing(AtomicU64);

impl Clock for Swing {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Relaxed))
    }
}

#[test]
fn trap_2_a_clock_that_goes_back_gives_nothing_twice() -> Checked {
    let clock = Arc::new(Swing::default());
    let registry = Registry::new();
    let tenants = registry.create_hierarchy("by-tenant")?;
    let io = registry.register(Io::builder().clock(Arc::clone(&clock) as _).build())?;
    io.bind(&tenants)?;
    let disk = Device::builder("disk").latency_target(MILLI).register(&io)?;
    let web = tenants.root().create_child("web")?;
    io.css(&web).ok_or("removed")?.set_limits(&disk, Limits::new().riops(10))?;
    let stream = disk.stream(&web)?;
    let granted = |at: u64| {
        clock.0.store(at, Relaxed);
        let mut granted = 0;
        while stream.try_acquire(Op::read(1)).is_ok() {
            granted += 1;
        }
        granted
    };
    let begun = 1_000_000_000;
    granted(begun);
    assert_eq!(granted(begun + 100_000_000), 1);
    for at in [0, begun, begun + 1, begun + 100_000_000] {
        assert_eq!(granted(at), 0, "it was there at {at} before");
    }
    assert_eq!(granted(begun + 200_000_000), 1, "a tenth of a second is one");
    let mut waits = stream.acquire(Op::read(1));
    assert!(poll(&mut waits).is_pending());
    clock.0.store(0, Relaxed);
    io.subsystem().tick();
    assert!(poll(&mut waits).is_pending());
    clock.0.store(begun + 300_000_000, Relaxed);
    io.subsystem().tick();
    let Poll::Ready(permit) = poll(&mut waits) else { return Err("it waits still".into()) };
    assert_eq!(permit?.waited().limit, 100 * MILLI);
    Ok(())
}

#[test]
fn trap_3_only_who_is_granted_is_woken() -> Checked {
    let scene = Scene::new(Device::builder("disk"))?;
    let group = scene.group("web", Limits::new().riops(1_000))?;
    let streams: Vec<_> = (0..100).map(|_| scene.disk.stream(&group)).collect::<Result<_, _>>()?;
    exhaust(&streams[0]);
    let count = Arc::<Count>::default();
    let waker = Waker::from(Arc::clone(&count));
    let mut waits: Vec<_> = streams.iter().map(|stream| stream.acquire(Op::read(1))).collect();
    assert!(waits.iter_mut().all(|waits| poll_by(waits, &waker).is_pending()));
    for passed in 1..=100 {
        scene.pass(MILLI);
        assert_eq!(count.get(), passed, "one each millisecond");
        assert_eq!(scene.disk.stats().waiting, 100 - passed);
    }
    assert!(waits.iter_mut().all(|waits| poll(waits).is_ready()));
    Ok(())
}

/// Has who was granted come back at once, until all wait.
fn settle<'s>(streams: &'s [Stream], waits: &mut [Acquire<'s>]) {
    loop {
        let mut is_over = true;
        for (stream, waits) in streams.iter().zip(&mut *waits) {
            if poll(waits).is_ready() {
                is_over = false;
                *waits = stream.acquire(Op::read(1));
            }
        }
        if is_over {
            return;
        }
    }
}

#[test]
fn trap_4_sleeps_that_are_too_long_cost_no_rate() -> Checked {
    let scene = Scene::new(Device::builder("disk"))?;
    let group = scene.group("web", Limits::new().riops(5_000))?;
    let streams: Vec<_> = (0..8).map(|_| scene.disk.stream(&group)).collect::<Result<_, _>>()?;
    let mut waits: Vec<Acquire<'_>> =
        streams.iter().map(|stream| stream.acquire(Op::read(1))).collect();
    settle(&streams, &mut waits);
    let before = scene.css(&group).stats(&scene.disk).rios;
    for _ in 0..1_000 {
        scene.pass(MILLI * 21 / 10);
        settle(&streams, &mut waits);
    }
    let done = scene.css(&group).stats(&scene.disk).rios - before;
    assert!(done.abs_diff(2_100 * 5) <= 1, "{done} in 2.1 s of 5,000 a second");
    Ok(())
}

#[test]
fn trap_5_anybody_who_comes_lets_others_go_on() -> Checked {
    let scene = Scene::new(Device::builder("disk"))?;
    let slow = scene.group("slow", Limits::new().riops(10))?;
    let [slow, other] = [&slow, &scene.tenants.root()].map(|group| scene.disk.stream(group));
    let (slow, other) = (slow?, other?);
    exhaust(&slow);
    let mut waits = slow.acquire(Op::read(1));
    assert!(poll(&mut waits).is_pending());
    // The timer never comes.
    scene.clock.advance(SECOND);
    drop(other.acquire(Op::read(1)));
    assert!(poll(&mut waits).is_pending(), "nobody came");
    let now = std::time::Instant::now();
    slow.acquire_until(Op::read(1), now).expect_err("one was before it");
    assert!(poll(&mut waits).is_ready());
    Ok(())
}

#[test]
fn trap_8_a_direction_or_a_device_that_is_held_back_holds_up_no_other() -> Checked {
    let scene = Scene::new(Device::builder("disk").depth(4))?;
    let group = scene.group("web", Limits::new().riops(1))?;
    let network = Device::builder("network").depth(1).register(&scene.io)?;
    let stream = scene.disk.stream(&group)?;
    exhaust(&stream);
    let mut reads = stream.acquire(Op::read(1));
    assert!(poll(&mut reads).is_pending());
    for _ in 0..20 {
        stream.try_acquire(Op::write(1))?.done(1);
        let mut writes = stream.acquire(Op::write(1));
        assert!(poll(&mut writes).is_ready(), "writes are not limited");
    }
    let sending = network.stream(&group)?;
    for _ in 0..20 {
        let _sent = sending.try_acquire(Op::read(1))?;
        assert!(sending.try_acquire(Op::read(1)).is_err(), "one at a time");
        // The network is full, and the disk's reads are held back; the disk's writes are neither.
        stream.try_acquire(Op::write(1))?.done(1);
    }
    assert!(poll(&mut reads).is_pending());
    Ok(())
}

#[test]
fn trap_16_a_read_that_the_cache_serves_is_charged() -> Checked {
    let scene = Scene::new(Device::builder("disk"))?;
    let group = scene.group("web", Limits::new())?;
    let mut file = scene.disk.stream(&group)?.limit(tempfile::tempfile()?);
    file.write_all(&[7; 40_000])?;
    for round in 1..=3 {
        file.rewind()?;
        file.read_exact(&mut [0; 40_000])?;
        assert_eq!(scene.css(&group).stats(&scene.disk).rbytes, round * 40_000);
    }
    Ok(())
}

#[test]
fn trap_17_who_holds_a_permit_need_not_wait_for_another() -> Checked {
    let scene = Scene::new(Device::builder("disk").depth(1))?;
    let other = Device::builder("network").depth(1).register(&scene.io)?;
    let root = scene.tenants.root();
    let streams = [scene.disk.stream(&root)?, other.stream(&root)?];
    // The place of the one device, and then that of the other, in both orders.
    let all = std::sync::Barrier::new(2);
    let outcomes = thread::scope(|scope| {
        let take = |first: usize| {
            let (streams, all) = (&streams, &all);
            scope.spawn(move || -> Result<Refusal, Box<dyn Error + Send + Sync>> {
                let _held = streams[first].try_acquire(Op::read(1))?;
                all.wait();
                // One that cannot wait never does, though its device is full.
                drop(streams[1 - first].charge_urgent(Op::read(1))?);
                let next = streams[1 - first].acquire_timeout(Op::read(1), 20 * MILLI);
                all.wait(); // the other has given up too
                Ok(next.err().ok_or("there was no room")?.why)
            })
        };
        [take(0), take(1)].map(|taker| taker.join().expect("it does not panic"))
    });
    for outcome in outcomes {
        let why = outcome.map_err(|error| error.to_string())?;
        assert!(matches!(why, Refusal::TimedOut { .. }), "{why}");
    }
    // A second permit of the same device, likewise.
    let held = streams[0].try_acquire(Op::read(1))?;
    let error = streams[0].acquire_timeout(Op::read(1), MILLI).unwrap_err();
    assert!(matches!(error.why, Refusal::TimedOut { .. }), "{error}");
    assert!(matches!(
        streams[0].try_acquire(Op::read(1)).unwrap_err().why,
        Refusal::WouldBlock { retry_in: None }
    ));
    streams[0].charge_urgent(Op::read(1))?.done(1);
    drop(held);
    let stats = scene.disk.stats();
    assert_eq!((stats.waiting, stats.in_flight), (0, 0), "{stats:?}");
    Ok(())
}

/// Counts what it is asked for.
#[derive(Default)]
struct Asked(u64);

impl Read for Asked {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0 += 1;
        Ok(buf.len())
    }
}

#[test]
fn trap_18_nothing_is_done_before_its_turn() -> Checked {
    let scene = Scene::new(Device::builder("disk").depth(1))?;
    let stream = scene.disk.stream(&scene.tenants.root())?;
    let held = stream.try_acquire(Op::read(1))?;
    let asked = thread::scope(|scope| {
        let mut file = stream.limit(Asked::default());
        let reads = scope.spawn(move || {
            file.read_exact(&mut [0; 10]).expect("it is admitted in the end");
            file.into_inner().0
        });
        while scene.disk.stats().waiting == 0 {
            thread::yield_now();
        }
        drop(held);
        reads.join().expect("it does not panic")
    });
    assert_eq!(asked, 1);
    // Refused, it is not asked at all.
    let group = scene.group("web", Limits::new())?;
    let css = scene.css(&group);
    let mut file = scene.disk.stream_at(&css)?.limit(Asked::default());
    group.remove(Removal::Detach)?;
    assert!(file.read(&mut [0; 10]).is_err());
    assert_eq!(file.into_inner().0, 0);
    Ok(())
}

/// Fails so often, and then reads.
struct Flaky(u64);

impl Read for Flaky {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Ok(buf.len());
        }
        self.0 -= 1;
        Err(io::ErrorKind::ConnectionReset.into())
    }
}

#[test]
fn trap_19_each_attempt_pays() -> Checked {
    let scene = Scene::new(Device::builder("bucket"))?;
    let group = scene
        .group("web", Limits::new().riops(1).with_burst(fief_io::Dimension::Riops, Some(5)))?;
    let stream = scene.disk.stream(&group)?;
    let mut object = stream.limit(Flaky(4));
    let mut attempts = 0;
    while object.read(&mut [0; 1_000]).is_err() {
        attempts += 1;
    }
    assert_eq!(attempts, 4);
    let stats = scene.css(&group).stats(&scene.disk);
    assert_eq!((stats.rios, stats.rbytes), (5, 1_000), "{stats:?}");
    assert!(stream.try_acquire(Op::read(1)).is_err(), "five of five are used up");
    Ok(())
}

#[test]
fn trap_20_tasks_of_a_runtime_that_is_gone_leave_nothing() -> Checked {
    // By a clock that nobody advances there is no thread that could help.
    let scene = Scene::new(Device::builder("disk").depth(2))?;
    let slow = scene.group("slow", Limits::new().riops(1))?;
    let streams = [scene.disk.stream(&slow)?, scene.disk.stream(&scene.tenants.root())?];
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    for at in 0..200 {
        let stream = streams[at % 2].clone();
        runtime.spawn(async move {
            loop {
                let permit = stream.acquire(Op::read(100)).await;
                tokio::task::yield_now().await;
                drop(permit);
            }
        });
    }
    while scene.disk.stats().waiting < 100 {
        thread::yield_now();
    }
    drop(runtime);
    let stats = scene.disk.stats();
    assert_eq!((stats.waiting, stats.in_flight), (0, 0), "{stats:?}");
    streams[1].try_acquire(Op::read(1))?.done(1);
    Ok(())
}

#[test]
fn race_71_what_threads_took_ahead_is_there_for_who_needs_it() -> Checked {
    let scene = Scene::new(Device::builder("disk"))?;
    let limits = Limits::new().rbps(1 << 30).riops(1_000_000);
    let limits = limits.with_burst(fief_io::Dimension::Riops, Some(1_000));
    let group = scene.group("web", limits)?;
    let stream = scene.disk.stream(&group)?;
    // Threads that take something ahead, and use one operation of it.
    let (ready, over) = (std::sync::Barrier::new(5), std::sync::Barrier::new(5));
    let here = thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                stream.try_acquire(Op::read(1)).expect("there is room").done(1);
                ready.wait();
                over.wait();
            });
        }
        ready.wait();
        let mut here = 0_u64;
        while stream.try_acquire(Op::read(1)).is_ok() {
            here += 1;
        }
        over.wait();
        here
    });
    // Debt lets one more through.
    assert!((996..=997).contains(&here), "{here} of a thousand, of which four are used");
    Ok(())
}

#[test]
fn race_72_a_limit_that_is_raised_holds_from_then_on() -> Checked {
    let scene = Scene::new(Device::builder("disk"))?;
    let group = scene.group("web", Limits::new().rbps(1))?;
    let stream = scene.disk.stream(&group)?;
    exhaust(&stream);
    let mut waits = stream.acquire(Op::read(10_000));
    assert!(poll(&mut waits).is_pending(), "for hours");
    scene.pass(MILLI);
    scene.limit(&group, Limits::new().rbps(1_000_000))?;
    // A million a second from now on: what was not allowed before is not made up for.
    let mut granted = 0;
    for _ in 0..1_000 {
        scene.pass(MILLI);
        while let Poll::Ready(permit) = poll(&mut waits) {
            permit?.done(10_000);
            granted += 10_000;
            waits = stream.acquire(Op::read(10_000));
        }
    }
    let most = 1_000_000 + 65_536 + 10_000;
    assert!((900_000..=most).contains(&granted), "{granted} in a second");
    Ok(())
}

#[test]
fn race_74_who_ends_last_finds_everything_gone() -> Checked {
    let scene = Scene::new(Device::builder("disk").depth(8))?;
    let group = scene.group("web", Limits::new().rbps(1_000))?;
    let below = group.create_child("api")?;
    let (at, member) = (scene.disk.stream_at(&scene.css(&below))?, scene.disk.stream(&below)?);
    let permits = [&at, &member].map(|stream| stream.charge_urgent(Op::read(100)));
    let [at_permit, member_permit] = permits.map(|permit| permit.map(fief_io::Permit::into_owned));
    let (at_permit, member_permit) = (at_permit?, member_permit?);
    drop(at);
    member.task().ok_or("no task")?.join(&scene.tenants.root())?;
    below.remove(Removal::Detach)?;
    group.remove(Removal::Detach)?;
    at_permit.done(10);
    let root = scene.css(&scene.tenants.root());
    let figures = || {
        let stats = root.stats(&scene.disk);
        (stats.rbytes, stats.rios, stats.inflight)
    };
    assert_eq!(figures(), (110, 2, 1));
    scene.disk.remove();
    member_permit.done(20);
    assert_eq!(scene.disk.stats().in_flight, 0);
    scene.io.unbind()?;
    scene.io.unregister()?;
    drop((root, member));
    Ok(())
}
