//! What the rescue lane does and does not do, in pools of one worker.
#![expect(clippy::unwrap_used, reason = "a job's panic is its test's")]

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    task::Poll,
    thread,
    time::Duration,
};

use fief_core::{Hierarchy, VirtualClock};
use fief_cpu::{Group, JoinHandle, Pool};

pub(crate) type Outcome = Result<(), Box<dyn Error>>;

/// So long something that is bound to happen may take.
const LONG: Duration = Duration::from_secs(30);

/// Somebody inside a poll.
pub(crate) struct Busy {
    end: Sender<()>,
    job: JoinHandle<()>,
}

impl Busy {
    /// Has the only worker be inside a poll from now on.
    pub(crate) fn begin(group: &Group) -> Result<Self, Box<dyn Error>> {
        let (end, ended) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let job = group.spawn(async move {
            tell.send(()).unwrap();
            ended.recv_timeout(LONG).unwrap();
        })?;
        told.recv_timeout(LONG)?;
        Ok(Self { end, job })
    }

    pub(crate) fn end(self) -> Outcome {
        self.end.send(())?;
        Ok(self.job.join()?)
    }
}

fn group(pool: &Pool, tenants: &Hierarchy, name: &str) -> Result<Group, Box<dyn Error>> {
    Ok(pool.group(&tenants.root().create_child(name)?)?)
}

/// Has a job of the group say that it was there.
fn call(group: &Group) -> Result<Receiver<()>, Box<dyn Error>> {
    let (tell, told) = mpsc::channel();
    drop(group.spawn(async move { tell.send(()).unwrap() })?);
    Ok(told)
}

/// Who has a latency setting, or is next anyway, is served while the worker is inside a poll.
pub(crate) fn serves_who_is_in_a_hurry(pool: &Pool, tenants: &Hierarchy) -> Outcome {
    let hog = group(pool, tenants, "hog")?;
    let (light, next) = (group(pool, tenants, "light")?, group(pool, tenants, "next")?);
    light.css().set_latency(Duration::from_millis(1))?;
    assert_eq!(
        (light.css().stats().own_nr_rescues, light.css().latency()),
        (0, Duration::from_millis(1))
    );
    let busy = Busy::begin(&hog)?;
    call(&light)?.recv_timeout(LONG)?;
    assert_eq!(light.css().stats().own_nr_rescues, 1);
    call(&next)?.recv_timeout(LONG)?;
    assert_eq!((next.css().stats().own_nr_rescues, hog.css().stats().own_nr_rescues), (1, 0));
    // Whoever is woken, too, not only who is new.
    let (to, from) = tokio::sync::oneshot::channel();
    let (tell, told) = mpsc::channel();
    drop(light.spawn(async move {
        tell.send(()).unwrap();
        from.await.unwrap();
        tell.send(()).unwrap();
    })?);
    told.recv_timeout(LONG)?;
    to.send(()).unwrap();
    told.recv_timeout(LONG)?;
    busy.end()?;
    // Whoever wakes it, too, though it be the only worker, inside the poll.
    let (to, from) = tokio::sync::oneshot::channel();
    let (tell, told) = mpsc::channel();
    let (ready, is_ready) = mpsc::channel();
    drop(light.spawn(async move {
        ready.send(()).unwrap();
        from.await.unwrap();
        tell.send(()).unwrap();
    })?);
    is_ready.recv_timeout(LONG)?;
    hog.spawn(async move {
        to.send(()).unwrap();
        told.recv_timeout(LONG).unwrap();
    })?
    .join()?;
    Ok(())
}

/// What the lane has taken is run by a worker that has nothing else to do.
pub(crate) fn hides_nothing(pool: &Pool, tenants: &Hierarchy) -> Outcome {
    let hog = group(pool, tenants, "hog")?;
    let light = group(pool, tenants, "light")?;
    light.css().set_latency(Duration::from_millis(1))?;
    hog.css().set_idle(true)?; // so that it is a worker which is busy with it
    // Polls are short here, so that several jobs are taken at a time.
    for _ in 0..100 {
        call(&light)?.recv_timeout(LONG)?;
    }
    let busy = Busy::begin(&hog)?;
    let cgroup = tenants.root().child("light").ok_or("removed")?;
    cgroup.freeze()?;
    let (end, ended) = mpsc::channel::<()>();
    let (tell, is_stuck) = mpsc::channel();
    let stuck = light.spawn(async move {
        tell.send(()).unwrap();
        ended.recv_timeout(LONG).unwrap();
    })?;
    let told: Result<Vec<_>, _> = (0..10).map(|_| call(&light)).collect();
    cgroup.thaw()?;
    is_stuck.recv_timeout(LONG)?; // in the lane
    busy.end()?;
    for told in told? {
        told.recv_timeout(LONG)?;
    }
    end.send(())?;
    Ok(stuck.join()?)
}

/// The idle class waits for the workers, whatever its latency; so does all below it.
pub(crate) fn leaves_the_idle_alone(pool: &Pool, tenants: &Hierarchy) -> Outcome {
    let hog = group(pool, tenants, "hog")?;
    let idle = tenants.root().create_child("idle")?;
    let below = pool.group(&idle.create_child("below")?)?;
    let idle = pool.group(&idle)?;
    let light = group(pool, tenants, "light")?;
    for group in [&idle, &below, &light] {
        group.css().set_latency(Duration::from_millis(1))?;
    }
    idle.css().set_idle(true)?;
    assert!(idle.css().idle());
    let busy = Busy::begin(&hog)?;
    let told = [call(&idle)?, call(&below)?];
    for _ in 0..5 {
        call(&light)?.recv_timeout(LONG)?; // the lane has looked
    }
    assert_eq!((idle.css().stats().own_nr_rescues, below.css().stats().own_nr_rescues), (0, 0));
    assert!(told.iter().all(|told| told.try_recv().is_err()));
    busy.end()?;
    for told in &told {
        told.recv_timeout(LONG)?;
    }
    Ok(())
}

/// Who is not done after a slice goes on, as long as the worker is inside a poll.
pub(crate) fn goes_on(pool: &Pool, tenants: &Hierarchy, clock: &VirtualClock) -> Outcome {
    let busy = Busy::begin(&group(pool, tenants, "hog")?)?;
    let light = group(pool, tenants, "light")?;
    light.css().set_latency(Duration::from_millis(1))?;
    let hand = clock.clone();
    let mut polls = 0;
    light
        .spawn(std::future::poll_fn(move |context| {
            hand.advance(Duration::from_micros(300)); // longer than a slice
            polls += 1;
            context.waker().wake_by_ref();
            if polls == 4 { Poll::Ready(()) } else { Poll::Pending }
        }))?
        .join()?;
    assert_eq!(light.css().stats().own_nr_rescues, 4);
    busy.end()
}

/// A lane of 10 % gives 2 ms at once, and then what the time that passes gives.
pub(crate) fn keeps_to_its_share(
    pool: &Pool,
    tenants: &Hierarchy,
    clock: &VirtualClock,
) -> Outcome {
    let hog = group(pool, tenants, "hog")?;
    let count = Arc::new(AtomicU64::new(0));
    let busy = Busy::begin(&hog)?;
    let mut late = Vec::new();
    for round in 1..=5 {
        let light = group(pool, tenants, &format!("light {round}"))?;
        light.css().set_latency(Duration::from_millis(1))?;
        let work = || {
            let (count, clock) = (Arc::clone(&count), clock.clone());
            light.spawn(async move {
                clock.advance(Duration::from_millis(1));
                count.fetch_add(1, Ordering::Relaxed);
            })
        };
        // Before them, 2 ms, 1.1 ms and 0.2 ms are left.
        for done in 1..=3 {
            work()?.join()?;
            while light.css().usage() < Duration::from_millis(done) {
                thread::yield_now();
            }
        }
        // Now 0.7 ms have to be paid back.
        late.push(work()?);
        assert_eq!(light.css().stats().own_nr_rescues, 3);
        clock.advance(Duration::from_millis(27));
    }
    // The lane has looked again and again, and is asleep: nobody was served who was refused.
    assert_eq!(count.load(Ordering::Relaxed), 15);
    assert!(late.iter().all(|job| !job.is_finished()));
    busy.end()?;
    late.into_iter().try_for_each(JoinHandle::join)?;
    Ok(())
}
