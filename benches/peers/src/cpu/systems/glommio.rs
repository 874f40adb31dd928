//! glommio: an executor a processor on `io_uring`, with a task queue for each group.

use std::{sync::Arc, sync::OnceLock, time::Duration, time::Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use glommio::{Latency, LocalExecutorBuilder, Placement, Shares};

use super::shards::{Order, Orders, Shards};
use crate::cpu::system::{BATCH, Plan, Running, System, Uses};

/// What a queue asks for, in plans of a light group and of others; without it, another may keep the processor
/// for 100 ms.
const LATENCIES: [Duration; 2] = [Duration::from_micros(200), Duration::from_millis(1)];
/// Queues beyond these take minutes to make.
const MOST_GROUPS: usize = 1_000;

/// glommio 0.9.
#[derive(Debug)]
pub(super) struct Glommio;

impl System for Glommio {
    fn name(&self) -> &'static str {
        "glommio"
    }

    fn refuses(&self, plan: &Plan) -> Option<String> {
        if plan.is_deep() {
            return Some("no groups below others".to_owned());
        }
        if plan.has_quota() {
            return Some("no quotas".to_owned());
        }
        if plan.uses == Uses::Sockets {
            return Some("not tokio's sockets".to_owned());
        }
        if plan.groups.len() > MOST_GROUPS {
            return Some(format!("more than {MOST_GROUPS} groups"));
        }
        static PROBE: OnceLock<Option<String>> = OnceLock::new();
        let probe = || {
            let builder = builder(0).spawn(|| async {});
            let error = builder.and_then(|thread| thread.join()).err();
            error.map(|error| format!("the kernel refuses: {error}"))
        };
        PROBE.get_or_init(probe).clone()
    }

    /// With a latency of 200 µs it left all tasks of a group alone for good in 3 of 5 passes over the cases of
    /// B5 and B6; with 1 ms, in none of four.
    fn is_reliable(&self) -> bool {
        false
    }

    fn start(&self, plan: &Plan) -> Result<Arc<dyn Running>> {
        Ok(Arc::new(Shards::start("glommio", plan, run)?))
    }
}

/// As little memory as it works with: what may be locked is little for ordinary users.
fn builder(number: usize) -> LocalExecutorBuilder {
    LocalExecutorBuilder::new(Placement::Fixed(number)).io_memory(1 << 20).ring_depth(64)
}

fn run(number: usize, plan: &Plan, (mut orders, ready): Orders) -> Result<()> {
    let latency = LATENCIES[usize::from(!plan.has_classes())];
    let executor = builder(number).make().map_err(|error| anyhow!("{error}"))?;
    executor.run(async {
        let queues: Vec<_> = (0..)
            .zip(&plan.groups)
            .map(|(number, group)| {
                let shares = Shares::Static(usize::from(group.weight));
                let name: u32 = number;
                glommio::executor().create_task_queue(
                    shares,
                    Latency::Matters(latency),
                    &name.to_string(),
                )
            })
            .collect();
        ready.send(()).context("nobody waits")?;
        drop(ready);
        while let Some(order) = orders.recv().await {
            match order {
                Order::Run(group, job) => {
                    let task = glommio::spawn_local_into(job, queues[group]);
                    task.map_err(|error| anyhow!("{error}"))?.detach();
                }
                Order::Join(batches, time) => {
                    let start = Instant::now();
                    for _ in 0..batches {
                        let tasks: Vec<_> =
                            (0..BATCH).map(|_| glommio::spawn_local(async {})).collect();
                        for task in tasks {
                            task.await;
                        }
                    }
                    ensure!(time.send(start.elapsed()).is_ok(), "nobody waits");
                }
            }
        }
        Ok(())
    })
}
