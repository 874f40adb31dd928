//! All in one: what is charged to whom, who is told where it is, and how it ends.
#![cfg(all(feature = "cpu", feature = "io", feature = "memory"))]

use std::{
    future,
    io::Write as _,
    sync::{Arc, mpsc},
    time::Duration,
};

use fief::{RunError, cpu::blocking, prelude::*};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a future does that uses all there is.
async fn work(bytes: u64) -> Result<u64, Failure> {
    let here = here().ok_or("nowhere")?;
    let mut memory = here.reserve()?;
    memory.grow_async(bytes).await?;
    let mut file = here.limit(tempfile::tempfile()?)?;
    blocking(|| file.write_all(&[7; 10_000]))?;
    let mut sum = 0_u64;
    for number in 0..200_000 {
        sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(number));
    }
    Ok(memory.used())
}

#[test]
fn a_future_is_charged_memory_cpu_and_io() {
    let fief = Fief::new().unwrap();
    let (acme, other) = (fief.group("acme").unwrap(), fief.group("other").unwrap());
    assert_eq!(acme.run(work(1 << 20)).join().unwrap().unwrap(), 1 << 20);
    let memory = acme.memory().unwrap();
    assert!(memory.peak() >= 1 << 20, "{}", memory.peak());
    memory.drain();
    assert_eq!(memory.current(), 0, "all is given back");
    assert!(acme.cpu().unwrap().usage() > Duration::ZERO);
    let stats = |group: &Group| group.io().unwrap().stats(fief.disk());
    assert_eq!((stats(&acme).wbytes, stats(&other).wbytes), (10_000, 0));
    assert_eq!(other.memory().unwrap().peak(), 0);
    assert!(!acme.cgroup().is_populated(), "the membership has ended");
}

#[test]
fn a_path_is_created_once_whoever_asks() {
    let fief = Fief::new().unwrap();
    let ids: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| fief.group("acme/alice/query").unwrap().cgroup().id()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(fief.group("/acme").unwrap().cgroup().path(), "/acme");
    assert_eq!(fief.group("").unwrap().cgroup().path(), "/");
    assert_eq!(fief.hierarchy().root().descendant_count(), 3);
}

#[test]
fn a_path_that_is_none_is_refused_by_name() {
    let fief = Fief::new().unwrap();
    let refused = |path: &str| fief.group(path).unwrap_err().to_string();
    assert_eq!(refused("a//b"), "path \"a//b\" of hierarchy groups is not / or /name/name");
    assert!(refused("memory.max").contains("memory.max"), "{}", refused("memory.max"));
    assert_eq!(fief.group(".").unwrap_err().to_string(), refused("."));
}

#[test]
fn who_is_run_from_a_group_keeps_its_other_places() {
    let fief = Fief::new().unwrap();
    let plans = fief.registry().create_hierarchy("by-plan").unwrap();
    let gold = plans.root().create_child("gold").unwrap();
    let (outer, inner) = (fief.group("outer").unwrap(), fief.group("inner").unwrap());
    let of_all = plans.clone();
    let inner_run = inner;
    let places = outer.run(async move {
        let here = here().unwrap();
        gold.attach(here.task()).unwrap();
        let seen = inner_run.run(async move {
            let here = fief::here().unwrap();
            (here.group().cgroup().path(), here.task().cgroup(&of_all).map(|cgroup| cgroup.path()))
        });
        seen.await.unwrap()
    });
    let expected = ("/inner".to_owned(), Some("/gold".to_owned()));
    assert_eq!(places.join().unwrap(), expected);
}

#[test]
fn a_kill_cancels_and_names_the_group() {
    let fief = Fief::new().unwrap();
    let acme = fief.group("acme").unwrap();
    let (begun, has_begun) = mpsc::channel();
    let run = acme.run(async move {
        begun.send(()).unwrap();
        future::pending::<()>().await;
    });
    has_begun.recv().unwrap();
    assert_eq!(acme.cgroup().kill().unwrap(), 1);
    let error = run.join().unwrap_err();
    assert!(matches!(error, RunError::Cancelled { .. }), "{error:?}");
    assert_eq!(error.to_string(), "a future of /acme was cancelled");
}

/// Says where it is dropped.
struct Tell(mpsc::Sender<Option<String>>);

impl Drop for Tell {
    fn drop(&mut self) {
        let here = here().map(|here| here.group().cgroup().path());
        // Nobody may be there to hear it.
        self.0.send(here).unwrap_or_default();
    }
}

#[test]
fn dropping_the_run_aborts_and_the_drop_knows_where_it_is() {
    let fief = Fief::new().unwrap();
    let acme = fief.group("acme").unwrap();
    let (tell, told) = mpsc::channel();
    let (begun, has_begun) = mpsc::channel();
    let run = acme.run(async move {
        let _tell = Tell(tell);
        begun.send(()).unwrap();
        future::pending::<()>().await;
    });
    has_begun.recv().unwrap();
    drop(run);
    assert_eq!(told.recv().unwrap().as_deref(), Some("/acme"));
    assert!(here().is_none(), "nowhere outside");
}

#[test]
fn a_panic_is_told_and_leaves_the_worker_nowhere() {
    let fief = Fief::builder().workers(1).start().unwrap();
    let acme = fief.group("acme").unwrap();
    let error = acme.run(async { panic!("no rows") }).join().unwrap_err();
    assert_eq!(error.to_string(), "in /acme: the job panicked: no rows");
    let member = fief.group("other").unwrap().enter().unwrap();
    let outside = member.member().spawn_fn(|| here().is_none()).unwrap();
    assert!(outside.join().unwrap(), "the panic left the worker in a group");
}

#[test]
fn a_removed_group_runs_nothing() {
    let fief = Fief::new().unwrap();
    let acme = fief.group("acme").unwrap();
    acme.cgroup().remove(Removal::Strict).unwrap();
    let error = acme.run(async {}).join().unwrap_err();
    assert!(matches!(error, RunError::Task(_)) && error.to_string().contains("/acme"), "{error}");
    assert!(acme.memory().is_none() && acme.cpu().is_none() && acme.io().is_none());
    // Whoever asks by path has a new one.
    fief.group("acme").unwrap().run(async {}).join().unwrap();
}

#[test]
fn the_last_clone_ends_the_workers() {
    let fief = Fief::new().unwrap();
    let acme = fief.group("acme").unwrap();
    let run = acme.run(future::pending::<()>());
    drop(fief);
    assert!(matches!(run.join(), Err(RunError::Cancelled { .. })));
    let error = acme.run(async {}).join().unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot run in /acme: the workers of the cpu controller were shut down"
    );
}

#[test]
fn what_runs_follows_its_controllers_to_another_tree() {
    let fief = Fief::new().unwrap();
    let acme = fief.group("acme").unwrap();
    let plans = fief.registry().create_hierarchy("by-plan").unwrap();
    let gold = plans.root().create_child("gold").unwrap();
    let (go, gone) = mpsc::channel::<()>();
    let (begun, has_begun) = mpsc::channel();
    let to = gold.clone();
    let run = acme.run(async move {
        let here = here().unwrap();
        to.attach(here.task()).unwrap();
        let mut file = here.limit(tempfile::tempfile().unwrap()).unwrap();
        blocking(|| file.write_all(&[1; 100])).unwrap();
        begun.send(()).unwrap();
        blocking(|| gone.recv()).unwrap();
        blocking(|| file.write_all(&[1; 1_000])).unwrap();
        here.reserve().unwrap().cgroup()
    });
    has_begun.recv().unwrap();
    let pair = (acme.cgroup().clone(), gold.clone());
    let options = RebindOptions::new().mapping([pair]);
    fief.registry().rebind(&[fief.cpu(), fief.io()], &plans, &options).unwrap();
    go.send(()).unwrap();
    assert_eq!(run.join().unwrap(), "/acme", "memory stayed");
    let stats = fief.io().css(&gold).unwrap().stats(fief.disk());
    assert_eq!(stats.wbytes, 1_100, "the css went along with what it had counted");
}

#[test]
fn a_start_that_fails_leaves_nothing_behind() {
    let registry = Registry::new();
    let taken = registry.create_hierarchy("taken").unwrap();
    let start = || Fief::builder().registry(&registry);
    assert!(start().hierarchy("taken").start().is_err());
    assert!(start().workers(0).start().is_err());
    assert!(start().disk(Device::builder("no space")).start().is_err());
    assert_eq!(registry.hierarchies(), [taken]);
    let fief = start().start().unwrap();
    fief.group("acme").unwrap().run(async {}).join().unwrap();
}

#[test]
fn a_group_of_another_hierarchy_is_charged_at_the_root() {
    let fief = Fief::new().unwrap();
    let plans = fief.registry().create_hierarchy("by-plan").unwrap();
    let gold = plans.root().create_child("gold").unwrap();
    let group = fief.group_of(&gold).unwrap();
    group.run(work(4096)).join().unwrap().unwrap();
    let root = fief.group("/").unwrap();
    assert_eq!(root.io().unwrap().stats(fief.disk()).wbytes, 10_000);
    let elsewhere = Registry::new().create_hierarchy("groups").unwrap();
    let error = fief.group_of(&elsewhere.root()).unwrap_err();
    assert_eq!(error.to_string(), "/ is of another registry");
}

#[test]
fn a_run_that_waits_for_memory_goes_on_when_there_is_some() {
    let fief = Fief::new().unwrap();
    let acme = fief.group("acme").unwrap();
    acme.write("memory.max", "1M").unwrap();
    let held = Arc::new(acme.memory().unwrap());
    held.try_charge(1 << 20).unwrap();
    let run = acme.run(work(1 << 19));
    held.uncharge(1 << 20);
    assert_eq!(run.join().unwrap().unwrap(), 1 << 19);
}
