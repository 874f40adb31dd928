//! Two tenants on the same workers, whose shares follow weights that change: `fief-core` and `fief-cpu` alone.
#![expect(clippy::print_stdout, reason = "it is an example")]

use std::{
    error::Error,
    hint::black_box,
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use fief_core::{Cgroup, Registry};
use fief_cpu::{Cpu, Group, Pool};

fn main() -> Result<(), Box<dyn Error>> {
    let registry = Registry::new();
    let tenants = registry.create_hierarchy("by-tenant")?;
    let cpu = registry.register(Cpu::new())?;
    cpu.bind(&tenants)?;
    let pool = Pool::builder(&cpu).start()?;

    // Each has more to do than there are CPUs, and one has ten times as many jobs as the other.
    let mut members: Vec<Group> = Vec::new();
    let mut groups: Vec<Cgroup> = Vec::new();
    for (name, jobs) in [("api", 8), ("analytics", 80)] {
        let group = tenants.root().create_child(name)?;
        let member = pool.group(&group)?;
        for _ in 0..jobs {
            drop(member.spawn(crunch())?); // it runs on without its handle
        }
        members.push(member);
        groups.push(group);
    }

    let usage = |group: &Cgroup| cpu.css(group).map_or(Duration::ZERO, |css| css.usage());
    for (setting, value) in [("weight", "100"), ("weight", "300"), ("idle", "1"), ("idle", "0")] {
        groups[0].write(&format!("cpu.{setting}"), value)?;
        let before: Vec<Duration> = groups.iter().map(usage).collect();
        thread::sleep(Duration::from_millis(300));
        let used = groups.iter().map(usage).zip(before).map(|(now, before)| now - before);
        let used: Vec<f64> = used.map(|used| used.as_secs_f64()).collect();
        let share = 100.0 * used[0] / (used[0] + used[1]);
        println!("api with {setting} {value:>3}: {share:5.1} % of {:.2} s", used[0] + used[1]);
    }

    // A quota: a quarter of one CPU for both together.
    tenants.root().write("cpu.max", "25000 100000")?;
    let before: Duration = groups.iter().map(usage).sum();
    thread::sleep(Duration::from_millis(400));
    let used = groups.iter().map(usage).sum::<Duration>() - before;
    println!("with a budget of 0.25 CPUs: {:.2} s in 0.40 s", used.as_secs_f64());
    print!("{}", groups[0].read("cpu.stat")?);
    Ok(())
}

/// Computes for ever, about 100 us at a time.
async fn crunch() {
    std::future::poll_fn(|context| {
        let start = Instant::now();
        while start.elapsed() < Duration::from_micros(100) {
            black_box((0..1000_u64).map(black_box).sum::<u64>());
        }
        context.waker().wake_by_ref();
        Poll::<()>::Pending
    })
    .await;
}
