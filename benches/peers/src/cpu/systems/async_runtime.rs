//! async-runtime: a pool that steals work, with three priorities.

use std::{
    fmt,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use async_runtime::{Priority, Runtime, RuntimeBuilder};
use benches::system::processors;

use crate::cpu::{
    load::Job,
    system::{BATCH, Class, Plan, Running, System, Uses},
};

/// async-runtime 0.3.6.
#[derive(Debug)]
pub(super) struct AsyncRuntime;

struct Pool {
    runtime: Mutex<Option<Runtime>>,
    priorities: Vec<Priority>,
}

impl System for AsyncRuntime {
    fn name(&self) -> &'static str {
        "async-runtime"
    }

    fn refuses(&self, plan: &Plan) -> Option<String> {
        if plan.is_weighted() || plan.is_deep() {
            Some("priorities, no weights and no groups".to_owned())
        } else if plan.has_quota() {
            Some("no quotas".to_owned())
        } else if plan.uses == Uses::Sockets {
            Some("not tokio's sockets".to_owned())
        } else {
            None
        }
    }

    fn start(&self, plan: &Plan) -> Result<Arc<dyn Running>> {
        let workers = NonZeroUsize::new(processors()).context("there is a processor")?;
        let has_classes = plan.has_classes();
        let priority = |class| match class {
            _ if !has_classes => Priority::Normal,
            Class::Light => Priority::High,
            Class::Batch => Priority::Background,
        };
        let priorities = plan.groups.iter().map(|group| priority(group.class)).collect();
        let runtime = Mutex::new(Some(RuntimeBuilder::new(workers).build()?));
        Ok(Arc::new(Pool { runtime, priorities }))
    }
}

impl Pool {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Runtime>> {
        self.runtime.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running for Pool {
    fn spawn(&self, group: usize, job: Job) -> Result<()> {
        let spawner = self.lock().as_ref().context("stopped")?.spawner();
        spawner.spawn(self.priorities[group], job)?.detach();
        Ok(())
    }

    fn spawn_and_join(&self, batches: u32) -> Result<Option<Duration>> {
        let spawner = self.lock().as_ref().context("stopped")?.spawner();
        let (priority, (sender, time)) = (self.priorities[0], mpsc::channel());
        let inner = self.lock().as_ref().context("stopped")?.spawner();
        let driver = async move {
            let start = Instant::now();
            for _ in 0..batches {
                let tasks = (0..BATCH).map(|_| inner.spawn(priority, async {}));
                let Ok(tasks) = tasks.collect::<Result<Vec<_>, _>>() else { return };
                for task in tasks {
                    task.await;
                }
            }
            sender.send(start.elapsed()).ok();
        };
        spawner.spawn(priority, driver)?.detach();
        Ok(Some(time.recv().context("it ended")?))
    }

    fn stop(&self) -> Result<()> {
        let runtime = self.lock().take();
        runtime
            .map_or(Ok(()), |runtime| runtime.shutdown_now().map_err(|error| anyhow!("{error:?}")))
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("priorities", &self.priorities).finish_non_exhaustive()
    }
}
