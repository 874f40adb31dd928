//! Futures that somebody else polls, for a group.

use std::{
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use fief_core::{Cgroup, Controller, Hierarchy, Registry, VirtualClock};
use fief_cpu::{Bandwidth, Cpu, Group, Lease, Pool, Turned, Wrapped};

type Outcome = Result<(), Box<dyn std::error::Error>>;

struct World {
    _registry: Registry,
    tenants: Hierarchy,
    cpu: Controller<Cpu>,
    clock: Arc<VirtualClock>,
}

impl World {
    /// A controller whose time passes as the test says.
    fn new(cpus: u32) -> Result<Self, Box<dyn std::error::Error>> {
        let clock = Arc::new(VirtualClock::new());
        let own: Arc<dyn fief_core::Clock> = Arc::<VirtualClock>::clone(&clock);
        Self::of(Cpu::builder().cpus(cpus).clock(own).build(), clock)
    }

    /// One by the machine's clock.
    fn real(cpus: u32) -> Result<Self, Box<dyn std::error::Error>> {
        Self::of(Cpu::builder().cpus(cpus).build(), Arc::default())
    }

    fn of(cpu: Cpu, clock: Arc<VirtualClock>) -> Result<Self, Box<dyn std::error::Error>> {
        let registry = Registry::new();
        let tenants = registry.create_hierarchy("by-tenant")?;
        let cpu = registry.register(cpu)?;
        cpu.bind(&tenants)?;
        Ok(Self { _registry: registry, tenants, cpu, clock })
    }

    fn group(&self, name: &str) -> Result<(Cgroup, Group), Box<dyn std::error::Error>> {
        let cgroup = self.tenants.root().create_child(name)?;
        let group = Group::new(&self.cpu, &cgroup)?;
        Ok((cgroup, group))
    }

    #[track_caller]
    fn assert_free(&self, free: u32) {
        let cpu = self.cpu.subsystem();
        assert_eq!(format!("{cpu:?}"), format!("Cpu {{ cpus: {}, free: {free} }}", cpu.cpus()));
    }
}

/// Counts how often it was woken.
#[derive(Default)]
struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A future that a test looks into.
#[derive(Clone, Default)]
struct Probe(Arc<Inside>);

#[derive(Default)]
struct Inside {
    polls: AtomicU32,
    is_ready: AtomicBool,
    wakes_itself: AtomicBool,
    panics: AtomicBool,
    /// What a poll takes.
    cost: std::sync::Mutex<Option<(Arc<VirtualClock>, Duration)>>,
    drops: AtomicU32,
    waker: std::sync::Mutex<Option<Waker>>,
}

struct Probed(Probe);

impl Probe {
    fn future(&self) -> Probed {
        Probed(self.clone())
    }

    fn polls(&self) -> u32 {
        self.0.polls.load(Ordering::SeqCst)
    }

    fn wake(&self) {
        let waker = self.0.waker.lock().expect("no panic").clone();
        waker.expect("it was polled").wake();
    }
}

impl Future for Probed {
    type Output = u32;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<u32> {
        let inside = &self.0.0;
        let polls = inside.polls.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some((clock, cost)) = &*inside.cost.lock().expect("no panic") {
            clock.advance(*cost);
        }
        *inside.waker.lock().expect("no panic") = Some(context.waker().clone());
        if inside.panics.load(Ordering::SeqCst) {
            std::panic::resume_unwind(Box::new(9));
        }
        if inside.is_ready.load(Ordering::SeqCst) {
            return Poll::Ready(polls);
        }
        if inside.wakes_itself.load(Ordering::SeqCst) {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Probed {
    fn drop(&mut self) {
        self.0.0.drops.fetch_add(1, Ordering::SeqCst);
    }
}

/// A wrapped future with its task: what polls it, and how often that was told to.
struct Task {
    probe: Probe,
    wrapped: Wrapped<Probed>,
    told: Arc<Count>,
    seen: Option<u32>,
}

impl Task {
    fn new(group: &Group) -> Self {
        let probe = Probe::default();
        let wrapped = group.wrap(probe.future());
        Self { probe, wrapped, told: Arc::default(), seen: None }
    }

    /// One that never sleeps, and takes 50 µs a poll.
    fn hog(world: &World, group: &Group) -> Self {
        let hog = Self::new(group);
        hog.probe.0.wakes_itself.store(true, Ordering::SeqCst);
        let cost = (Arc::clone(&world.clock), Duration::from_micros(50));
        *hog.probe.0.cost.lock().expect("no panic") = Some(cost);
        hog
    }

    /// Polls it as an executor does: if it was told to, or never yet. Returns whether the future was.
    fn drive(&mut self) -> bool {
        let (told, polls) = (self.told(), self.probe.polls());
        if self.seen.replace(told) == Some(told) {
            return false;
        }
        assert_eq!(self.poll(), Poll::Pending);
        self.probe.polls() > polls
    }

    fn poll(&mut self) -> Poll<u32> {
        let waker = Waker::from(Arc::clone(&self.told));
        Pin::new(&mut self.wrapped).poll(&mut Context::from_waker(&waker))
    }

    fn told(&self) -> u32 {
        self.told.0.load(Ordering::SeqCst)
    }
}

/// Takes the only CPU.
fn hold(group: &Group) -> Lease {
    group.enter_timeout(Duration::from_secs(5)).expect("it is free")
}

#[test]
fn a_future_has_a_cpu_while_it_is_polled() -> Outcome {
    let world = World::new(1)?;
    let (_, web) = world.group("web")?;
    let mut task = Task::new(&web);
    world.assert_free(1);
    assert_eq!(task.poll(), Poll::Pending);
    assert_eq!((task.probe.polls(), task.told()), (1, 0));
    world.assert_free(1);
    // Nobody else waits: its task is told at once, and no CPU is held until it comes.
    task.probe.wake();
    assert_eq!(task.told(), 1);
    world.assert_free(1);
    task.probe.0.is_ready.store(true, Ordering::SeqCst);
    assert_eq!(task.poll(), Poll::Ready(2));
    world.assert_free(1);
    Ok(())
}

#[test]
fn a_future_waits_for_a_cpu_and_is_told() -> Outcome {
    let world = World::new(1)?;
    let ((_, web), (_, batch)) = (world.group("web")?, world.group("batch")?);
    let mut task = Task::new(&web);
    let lease = hold(&batch);
    assert_eq!(task.poll(), Poll::Pending);
    assert_eq!((task.probe.polls(), task.told()), (0, 0), "it has to wait");
    // Polls of which it was not told do nothing.
    assert_eq!(task.poll(), Poll::Pending);
    assert_eq!(task.probe.polls(), 0);
    drop(lease);
    assert_eq!(task.told(), 1);
    world.assert_free(0); // it is its own until it comes
    assert_eq!(task.poll(), Poll::Pending);
    assert_eq!(task.probe.polls(), 1);
    world.assert_free(1);
    // The same when it is woken while others run.
    let lease = hold(&batch);
    task.probe.wake();
    task.probe.wake();
    assert_eq!(task.told(), 1);
    drop(lease);
    assert_eq!(task.told(), 2);
    assert_eq!(task.poll(), Poll::Pending);
    assert_eq!(task.probe.polls(), 2);
    world.assert_free(1);
    Ok(())
}

#[test]
fn a_poll_for_which_it_was_not_woken_does_nothing_but_changes_the_task() -> Outcome {
    let world = World::new(1)?;
    let (_, web) = world.group("web")?;
    let mut task = Task::new(&web);
    assert_eq!(task.poll(), Poll::Pending);
    let former = std::mem::take(&mut task.told);
    for _ in 0..3 {
        assert_eq!(task.poll(), Poll::Pending);
    }
    assert_eq!(task.probe.polls(), 1);
    task.probe.wake();
    assert_eq!((former.0.load(Ordering::SeqCst), task.told()), (0, 1));
    // And while it waits.
    assert_eq!(task.poll(), Poll::Pending);
    let lease = hold(&web);
    task.probe.wake();
    let former = std::mem::take(&mut task.told);
    assert_eq!(task.poll(), Poll::Pending);
    drop(lease);
    assert_eq!((former.0.load(Ordering::SeqCst), task.told()), (1, 1));
    assert_eq!(task.poll(), Poll::Pending);
    assert_eq!(task.probe.polls(), 3);
    world.assert_free(1);
    Ok(())
}

#[test]
fn one_that_wakes_itself_keeps_its_cpu_until_it_is_anothers_turn() -> Outcome {
    let world = World::new(1)?;
    let ((_, web), (_, batch)) = (world.group("web")?, world.group("batch")?);
    let (mut task, mut other) = (Task::hog(&world, &web), Task::new(&batch));
    // Slices of 200 µs, 50 a poll: nobody else waits at their ends.
    for _ in 0..10 {
        assert!(task.drive());
        world.assert_free(0);
    }
    // This one is far behind: it is the next.
    assert_eq!(other.poll(), Poll::Pending);
    assert_eq!(other.probe.polls(), 0);
    assert_eq!([(); 2].map(|()| task.drive()), [true, false]);
    assert_eq!(other.told(), 1);
    assert!(other.drive());
    assert_eq!(other.probe.polls(), 1);
    assert!(task.drive(), "its turn again");
    Ok(())
}

#[test]
fn it_can_be_dropped_in_every_state() -> Outcome {
    let world = World::new(1)?;
    let ((_, web), (_, batch)) = (world.group("web")?, world.group("batch")?);
    let dropped = |task: Task| {
        let probe = task.probe.clone();
        drop(task);
        assert_eq!(probe.0.drops.load(Ordering::SeqCst), 1);
        world.assert_free(1);
        // What wakes it later wakes nobody.
        if probe.0.waker.lock().expect("no panic").is_some() {
            probe.wake();
            world.assert_free(1);
        }
    };
    // Not polled.
    dropped(Task::new(&web));
    // Idle.
    let mut task = Task::new(&web);
    assert_eq!(task.poll(), Poll::Pending);
    dropped(task);
    // Told to come for itself.
    let mut task = Task::new(&web);
    assert_eq!(task.poll(), Poll::Pending);
    task.probe.wake();
    dropped(task);
    // Waiting, first time and later.
    let (mut first, mut later, mut next) = (Task::new(&web), Task::new(&web), Task::new(&web));
    assert_eq!(later.poll(), Poll::Pending);
    let lease = hold(&batch);
    assert_eq!(first.poll(), Poll::Pending);
    later.probe.wake();
    assert_eq!(next.poll(), Poll::Pending);
    drop((first, later));
    drop(lease);
    assert_eq!(next.told(), 1, "those that are gone are passed over");
    assert_eq!(next.poll(), Poll::Pending);
    dropped(next);
    // Granted and not polled: it goes to the next.
    let (mut granted, mut next) = (Task::new(&web), Task::new(&batch));
    let lease = hold(&batch);
    assert_eq!(granted.poll(), Poll::Pending);
    assert_eq!(next.poll(), Poll::Pending);
    drop(lease);
    let (first, second) =
        if granted.told() == 1 { (granted, &mut next) } else { (next, &mut granted) };
    assert_eq!((first.told(), second.told()), (1, 0));
    drop(first);
    assert_eq!(second.told(), 1);
    assert_eq!(second.poll(), Poll::Pending);
    assert_eq!(second.probe.polls(), 1);
    world.assert_free(1);
    // Running on: it has kept its grant, and is charged for what it did.
    let mut task = Task::hog(&world, &web);
    let before = web.css().usage();
    assert_eq!(task.poll(), Poll::Pending);
    world.assert_free(0);
    dropped(task);
    assert_eq!(web.css().usage() - before, Duration::from_micros(50));
    // Done.
    let mut task = Task::new(&web);
    task.probe.0.is_ready.store(true, Ordering::SeqCst);
    assert_eq!(task.poll(), Poll::Ready(1));
    dropped(task);
    Ok(())
}

#[test]
fn a_panic_in_a_poll_loses_no_cpu() -> Outcome {
    let world = World::new(1)?;
    let (_, web) = world.group("web")?;
    let mut task = Task::new(&web);
    task.probe.0.panics.store(true, Ordering::SeqCst);
    let poll = || task.poll();
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(poll)).expect_err("its own");
    assert_eq!(panic.downcast_ref(), Some(&9));
    assert_eq!(task.probe.0.drops.load(Ordering::SeqCst), 1);
    world.assert_free(1);
    drop(task);
    world.assert_free(1);
    Ok(())
}

#[test]
#[should_panic(expected = "a wrapped future is polled after it was ready")]
fn a_future_is_not_polled_after_it_was_ready() {
    let world = World::new(1).expect("no panic");
    let (_, web) = world.group("web").expect("no panic");
    let mut task = Task::new(&web);
    task.probe.0.is_ready.store(true, Ordering::SeqCst);
    assert_eq!(task.poll(), Poll::Ready(1));
    let _ready = task.poll();
}

#[test]
fn a_grant_that_nobody_comes_for_is_taken_back() -> Outcome {
    let world = World::new(1)?;
    let ((_, web), (_, batch)) = (world.group("web")?, world.group("batch")?);
    let (mut late, mut next) = (Task::new(&web), Task::new(&batch));
    let lease = hold(&batch);
    assert_eq!(late.poll(), Poll::Pending);
    drop(lease);
    assert_eq!(late.told(), 1);
    // Nobody else waits: it may take its time.
    world.clock.advance(Duration::from_secs(1));
    world.cpu.subsystem().tick();
    world.assert_free(0);
    assert_eq!(next.poll(), Poll::Pending);
    assert_eq!(next.told(), 0);
    world.cpu.subsystem().tick();
    assert_eq!(next.told(), 1);
    // Now it comes, and waits.
    assert_eq!(late.poll(), Poll::Pending);
    assert_eq!((late.probe.polls(), late.told()), (0, 1));
    assert_eq!(next.poll(), Poll::Pending);
    assert_eq!(next.probe.polls(), 1);
    assert_eq!(late.told(), 2);
    assert_eq!(late.poll(), Poll::Pending);
    assert_eq!(late.probe.polls(), 1);
    world.assert_free(1);
    Ok(())
}

#[test]
fn one_that_always_is_late_runs_at_last() -> Outcome {
    let world = World::new(1)?;
    let ((_, web), (_, batch)) = (world.group("web")?, world.group("batch")?);
    let (mut late, mut hog) = (Task::new(&web), Task::hog(&world, &batch));
    assert!(hog.drive());
    // Its task comes two milliseconds after it was told, and there always is somebody else.
    let mut rounds = 0;
    while late.probe.polls() == 0 {
        assert_eq!(late.poll(), Poll::Pending);
        for _ in 0..40 {
            if !hog.drive() {
                world.clock.advance(Duration::from_micros(50));
            }
            world.cpu.subsystem().tick();
        }
        rounds += 1;
        assert!(rounds < 20, "it never runs");
    }
    assert!(rounds > 2, "{rounds}: it was late");
    Ok(())
}

#[test]
fn a_frozen_groups_futures_wait() -> Outcome {
    let world = World::new(2)?;
    let (cgroup, web) = world.group("web")?;
    let (mut task, mut new) = (Task::new(&web), Task::new(&web));
    assert_eq!(task.poll(), Poll::Pending);
    cgroup.freeze()?;
    assert!(cgroup.is_frozen());
    task.probe.wake();
    assert_eq!((task.poll(), new.poll()), (Poll::Pending, Poll::Pending));
    assert_eq!((task.probe.polls(), new.probe.polls()), (1, 0));
    cgroup.thaw()?;
    assert_eq!((task.poll(), new.poll()), (Poll::Pending, Poll::Pending));
    assert_eq!((task.probe.polls(), new.probe.polls()), (2, 1));
    world.assert_free(2);
    // One that keeps its grant has to stop first, after one more poll.
    task.probe.0.wakes_itself.store(true, Ordering::SeqCst);
    task.probe.wake();
    assert_eq!(task.poll(), Poll::Pending);
    world.assert_free(1);
    cgroup.freeze()?;
    assert!(!cgroup.is_frozen());
    assert_eq!(task.poll(), Poll::Pending);
    assert!(cgroup.is_frozen());
    world.assert_free(2);
    let polls = task.probe.polls();
    assert_eq!(task.poll(), Poll::Pending);
    assert_eq!(task.probe.polls(), polls);
    Ok(())
}

#[test]
fn a_killed_groups_futures_are_let_go() -> Outcome {
    let world = World::new(1)?;
    let ((cgroup, web), (_, batch)) = (world.group("web")?, world.group("batch")?);
    let (mut waiting, mut idle) = (Task::new(&web), Task::new(&web));
    assert_eq!(idle.poll(), Poll::Pending);
    let lease = hold(&batch);
    assert_eq!(waiting.poll(), Poll::Pending);
    cgroup.kill()?;
    assert_eq!(waiting.told(), 1);
    for round in 1..4 {
        assert_eq!(waiting.poll(), Poll::Pending);
        assert_eq!(waiting.probe.polls(), round);
        waiting.probe.wake();
        assert_eq!(waiting.told(), round + 1);
    }
    idle.probe.0.is_ready.store(true, Ordering::SeqCst);
    idle.probe.wake();
    assert_eq!(idle.poll(), Poll::Ready(2));
    drop(lease);
    world.assert_free(1);
    // Who comes later is accounted for.
    let mut later = Task::new(&web);
    let _lease = hold(&batch);
    assert_eq!(later.poll(), Poll::Pending);
    assert_eq!(later.probe.polls(), 0);
    Ok(())
}

#[test]
fn a_job_that_came_before_runs_before_if_there_is_a_worker() -> Outcome {
    let world = World::new(1)?;
    let ((_, web), (_, batch)) = (world.group("web")?, world.group("batch")?);
    let mut worker = Pool::builder(&world.cpu).manual()?;
    assert_eq!(worker.turn(), Turned::Idle(None));
    let lease = hold(&batch);
    let (mut task, job) = (Task::new(&web), web.spawn_fn(|| 1)?);
    assert_eq!(task.poll(), Poll::Pending);
    let later = web.spawn_fn(|| 2)?;
    drop(lease);
    assert_eq!(task.told(), 0);
    assert_eq!(worker.turn(), Turned::Ran);
    assert_eq!((job.is_finished(), later.is_finished(), task.told()), (true, false, 0));
    // The worker passes its slot on, and looks for another one in vain.
    assert_eq!(worker.turn(), Turned::Ran);
    assert_eq!((later.is_finished(), task.told()), (false, 1));
    assert_eq!(worker.turn(), Turned::Idle(None));
    assert_eq!(task.poll(), Poll::Pending);
    assert_eq!(task.probe.polls(), 1);
    assert_eq!(worker.turn(), Turned::Ran);
    assert!(later.is_finished());
    assert_eq!(worker.turn(), Turned::Idle(None));
    world.assert_free(1);
    Ok(())
}

/// A future that uses a CPU now and then.
async fn work(rounds: u32, running: Arc<(AtomicU32, AtomicU32)>) -> u32 {
    for round in 0..rounds {
        let now = running.0.fetch_add(1, Ordering::SeqCst) + 1;
        running.1.fetch_max(now, Ordering::SeqCst);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(30) {
            std::hint::spin_loop();
        }
        running.0.fetch_sub(1, Ordering::SeqCst);
        if round % 10 == 9 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
    rounds
}

#[test]
fn on_tokio_no_more_run_than_there_are_cpus_and_all_end() -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build()?;
    let world = World::real(2)?;
    let pool = Pool::builder(&world.cpu).workers(2).start()?;
    let groups = [world.group("web")?.1, world.group("batch")?.1];
    let running = Arc::new((AtomicU32::new(0), AtomicU32::new(0)));
    let mut handles = Vec::new();
    for number in 0..40 {
        let wrapped = groups[number % 2].wrap(work(100, Arc::clone(&running)));
        handles.push(runtime.spawn(wrapped));
    }
    let own = groups[0].spawn_fn(|| 3)?;
    for handle in handles {
        assert_eq!(runtime.block_on(handle)?, 100);
    }
    assert_eq!(own.join()?, 3);
    assert!(running.1.load(Ordering::SeqCst) <= 2);
    drop(pool);
    world.assert_free(2);
    Ok(())
}

#[test]
fn siblings_and_timeouts_do_not_hold_up_others() -> Outcome {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let world = World::real(1)?;
    let groups = [world.group("web")?.1, world.group("batch")?.1];
    let running = Arc::new((AtomicU32::new(0), AtomicU32::new(0)));
    let done = Arc::new(AtomicU64::new(0));
    let mut handles = Vec::new();
    for number in 0..20 {
        let (own, other) = (groups[number % 2].clone(), groups[(number + 1) % 2].clone());
        let (running, done) = (Arc::clone(&running), Arc::clone(&done));
        handles.push(runtime.spawn(async move {
            for round in 0..10 {
                let mut first = pin!(own.wrap(work(5, Arc::clone(&running))));
                let mut second = pin!(other.wrap(work(5, Arc::clone(&running))));
                // Both, by one task; the loser is dropped wherever it is.
                let select = std::future::poll_fn(|context| {
                    if first.as_mut().poll(context).is_ready() {
                        return Poll::Ready(());
                    }
                    second.as_mut().poll(context).map(drop)
                });
                select.await;
                let wrapped = own.wrap(work(10, Arc::clone(&running)));
                let _late = tokio::time::timeout(Duration::from_micros(round * 100), wrapped).await;
                // One sibling is woken, and blocks the task while the other has a grant.
                let mut third = pin!(own.wrap(work(2, Arc::clone(&running))));
                let mut is_ready = false;
                let join = std::future::poll_fn(|context| {
                    if !is_ready && third.as_mut().poll(context).is_ready() {
                        is_ready = true;
                    }
                    thread::sleep(Duration::from_micros(100));
                    if is_ready { Poll::Ready(()) } else { Poll::Pending }
                });
                join.await;
                done.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for handle in handles {
        runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(30), handle).await })??;
    }
    assert_eq!(done.load(Ordering::Relaxed), 200);
    assert!(running.1.load(Ordering::SeqCst) <= 1);
    world.assert_free(1);
    Ok(())
}

#[test]
fn a_quota_holds_for_futures_of_others() -> Outcome {
    let world = World::new(2)?;
    let (_, web) = world.group("web")?;
    let bandwidth = Bandwidth::new(Duration::from_millis(20), Duration::from_millis(100))?;
    web.css().set_max(bandwidth);
    let mut hogs: Vec<_> = (0..3).map(|_| Task::hog(&world, &web)).collect();
    let mut polls = 0;
    let begun = fief_core::Clock::now(&*world.clock);
    let mut longest = (Duration::ZERO, begun);
    loop {
        let now = fief_core::Clock::now(&*world.clock);
        if now - begun >= Duration::from_secs(2) {
            break;
        }
        let ran: u64 = hogs.iter_mut().map(|hog| u64::from(hog.drive())).sum();
        polls += ran;
        if ran == 0 {
            world.clock.advance(Duration::from_micros(50));
            world.cpu.subsystem().tick();
        } else {
            longest = (longest.0.max(now - longest.1), now);
        }
    }
    // 20 % of two seconds, in polls of 50 µs: 8000. A slice each is out as it ends.
    assert!((7_950..=8_050).contains(&polls), "{polls}");
    assert!(longest.0 <= Duration::from_millis(5), "it stalled for {:?}", longest.0);
    // What it did with a grant that it still has is charged as well.
    drop(hogs);
    assert_eq!(web.css().usage(), Duration::from_micros(50 * polls));
    world.assert_free(2);
    Ok(())
}

#[test]
fn weights_hold_though_the_executor_knows_nothing_of_them() -> Outcome {
    let world = World::new(1)?;
    let ((_, web), (_, batch)) = (world.group("web")?, world.group("batch")?);
    // One future against nine, equal weights: an executor that polls in turn gives it one of ten parts.
    let mut tasks: Vec<_> =
        (0..10).map(|n| Task::hog(&world, if n == 0 { &web } else { &batch })).collect();
    let mut used = [0; 2];
    for _ in 0..4000 {
        for (number, task) in tasks.iter_mut().enumerate() {
            used[number.min(1)] += u32::from(task.drive());
        }
    }
    let share = f64::from(used[0]) / f64::from(used[0] + used[1]);
    assert!((share - 0.5).abs() < 0.02, "{used:?}");
    Ok(())
}
