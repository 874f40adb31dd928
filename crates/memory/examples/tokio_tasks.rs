//! Queries as tokio tasks: they wait for memory without holding a thread, and slow down above `high`.
//!
//! Nothing here needs a runtime of its own: the futures work on any. Each query is a group with one member,
//! so that the controller knows when all of them wait, and can choose a victim.
#![expect(clippy::print_stdout, reason = "it is an example")]

use std::{error::Error, time::Duration};

use fief_core::{Cgroup, Controller, CssRef, Limit, Registry};
use fief_memory::{ChargeError, Memory, MemoryCss};

type Failure = Box<dyn Error + Send + Sync>;

/// A query: takes memory in steps, holds it while it works, and gives all back.
async fn query(css: CssRef<MemoryCss>, steps: u64) -> Result<u64, ChargeError> {
    let mut held = css.reserve();
    for _ in 0..steps {
        held.grow_async(4 << 20).await?; // waits for others to give back
        css.over_high().await; // where the tenant is asked to be slow
        tokio::time::sleep(Duration::from_millis(2)).await; // the work
    }
    Ok(held.used())
}

/// Makes a group for a query, with a member that is cancelled if the group is.
fn group(
    tenant: &Cgroup,
    memory: &Controller<Memory>,
    name: &str,
) -> Result<(fief_core::Task, CssRef<MemoryCss>, tokio::sync::oneshot::Receiver<()>), Failure> {
    let group = tenant.create_child(name)?;
    let task = group.create_task(name)?;
    let (cancel, cancelled) = tokio::sync::oneshot::channel();
    let cancel = std::sync::Mutex::new(Some(cancel));
    task.on_cancel(move || {
        let cancel = cancel.lock().ok().and_then(|mut cancel| cancel.take());
        cancel.map(|cancel| cancel.send(()));
    });
    let css = memory.css(&group).ok_or("removed")?;
    Ok((task, css, cancelled))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let registry = Registry::new();
    let tenants = registry.create_hierarchy("by-tenant")?;
    let memory = registry.register(Memory::new())?;
    memory.bind(&tenants)?;
    let tenant = tenants.root().create_child("analytics")?;
    let limit = memory.css(&tenant).ok_or("removed")?;
    limit.set_max(Limit::At(64 << 20));
    limit.set_high(Limit::At(56 << 20));

    // Twelve queries of up to 24 MiB share 64.
    let mut running = Vec::new();
    for number in 1..=12 {
        let (task, css, cancelled) = group(&tenant, &memory, &format!("query-{number}"))?;
        running.push(tokio::spawn(async move {
            let _member = task; // for as long as it runs
            tokio::select! {
                done = query(css, 1 + number % 6) => done.map(Some),
                _ = cancelled => Ok(None),
            }
        }));
    }
    for (number, query) in (1..).zip(running) {
        match query.await? {
            Ok(Some(bytes)) => println!("query {number} worked in {} MiB", bytes >> 20),
            Ok(None) => println!("query {number} was cancelled, so that others can go on"),
            Err(error) => println!("query {number}: {error}"),
        }
    }
    println!("peak of the tenant: {} MiB; in use: {}", limit.peak() >> 20, limit.drain().bytes);
    println!("{}", tenant.read("memory.events")?);
    Ok(())
}
