//! clockworker: an executor a processor on tokio's runtime for one thread, with a queue for each group.

use std::{sync::Arc, time::Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use clockworker::ExecutorBuilder;

use super::shards::{Order, Orders, Shards};
use crate::cpu::system::{BATCH, Plan, Running, System};

/// Its preemption mask has so many bits.
const MOST_GROUPS: usize = 256;

/// clockworker 0.2.6.
#[derive(Debug)]
pub(super) struct Clockworker;

impl System for Clockworker {
    fn name(&self) -> &'static str {
        "clockworker"
    }

    fn refuses(&self, plan: &Plan) -> Option<String> {
        if plan.is_deep() {
            Some("no groups below others".to_owned())
        } else if plan.has_quota() {
            Some("no quotas".to_owned())
        } else if plan.groups.len() > MOST_GROUPS {
            Some(format!("more than {MOST_GROUPS} groups"))
        } else {
            None
        }
    }

    fn start(&self, plan: &Plan) -> Result<Arc<dyn Running>> {
        Ok(Arc::new(Shards::start("clockworker", plan, run)?))
    }
}

fn run(_number: usize, plan: &Plan, (mut orders, ready): Orders) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let groups = plan.groups.iter().enumerate();
    let executor = groups
        .fold(ExecutorBuilder::new(), |builder, (number, group)| {
            builder.with_queue(number, group.weight.into())
        })
        .build()
        .map_err(|error| anyhow!(error))?;
    let queues = (0..plan.groups.len()).map(|number| executor.queue(number));
    let queues: Vec<_> =
        queues.map(|queue| queue.ok().context("a queue")).collect::<Result<_>>()?;
    runtime.block_on(executor.run_until(async {
        ready.send(()).context("nobody waits")?;
        drop(ready);
        while let Some(order) = orders.recv().await {
            match order {
                Order::Run(group, job) => queues[group].spawn_detached(job),
                Order::Join(batches, time) => {
                    let start = Instant::now();
                    for _ in 0..batches {
                        let tasks: Vec<_> = (0..BATCH).map(|_| queues[0].spawn(async {})).collect();
                        for task in tasks {
                            ensure!(task.await.is_ok(), "a task failed");
                        }
                    }
                    ensure!(time.send(start.elapsed()).is_ok(), "nobody waits");
                }
            }
        }
        Ok(())
    }))
}
