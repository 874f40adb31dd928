//! tokio: one runtime for everything, or two of which one is nice.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use benches::system::processors;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::cpu::{
    load::Job,
    machine::be_nice,
    system::{BATCH, Class, Plan, Running, System},
};

/// The value that gives the light runtime nearly all it asks for.
const NICE: i32 = 10;

/// One runtime, which knows no groups.
#[derive(Debug)]
pub(super) struct Tokio;

/// A runtime for light groups and a nice one for the others.
#[derive(Debug)]
pub(super) struct TwoTokios;

/// Runtimes, by class.
#[derive(Debug)]
struct Runtimes {
    runtimes: Mutex<Vec<Runtime>>,
    handles: Vec<Handle>,
}

impl System for Tokio {
    fn name(&self) -> &'static str {
        "tokio"
    }

    /// Takes part wherever a group means nothing else than its tasks: to show what comes of it.
    fn refuses(&self, plan: &Plan) -> Option<String> {
        if plan.has_quota() {
            Some("no quotas".to_owned())
        } else if plan.is_deep() {
            Some("no groups".to_owned())
        } else {
            None
        }
    }

    fn start(&self, plan: &Plan) -> Result<Arc<dyn Running>> {
        let runtime = runtime("tokio", || {})?;
        let handles = vec![runtime.handle().clone(); plan.groups.len()];
        Ok(Arc::new(Runtimes { runtimes: Mutex::new(vec![runtime]), handles }))
    }
}

impl System for TwoTokios {
    fn name(&self) -> &'static str {
        "tokio ×2, nice 10"
    }

    fn refuses(&self, plan: &Plan) -> Option<String> {
        (!plan.has_classes()).then(|| "two classes, no groups".to_owned())
    }

    fn start(&self, plan: &Plan) -> Result<Arc<dyn Running>> {
        let light = runtime("light", || {})?;
        let batch = runtime("batch", || {
            be_nice(NICE).ok();
        })?;
        let handle = |class| match class {
            Class::Light => light.handle().clone(),
            Class::Batch => batch.handle().clone(),
        };
        let handles = plan.groups.iter().map(|group| handle(group.class)).collect();
        Ok(Arc::new(Runtimes { runtimes: Mutex::new(vec![light, batch]), handles }))
    }
}

/// Returns a runtime with a worker for each processor.
pub(super) fn runtime(name: &str, on_start: impl Fn() + Send + Sync + 'static) -> Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(processors()).thread_name(name).on_thread_start(on_start).enable_all();
    Ok(builder.build()?)
}

/// Spawns batches from a task of the runtime and awaits them; returns the time.
pub(super) fn spawn_and_join(handle: &Handle, batches: u32) -> Result<Duration> {
    let driver = async move {
        let start = Instant::now();
        for _ in 0..batches {
            let tasks: Vec<_> = (0..BATCH).map(|_| tokio::spawn(async {})).collect();
            for task in tasks {
                task.await?;
            }
        }
        Ok(start.elapsed())
    };
    handle.block_on(handle.spawn(driver))?
}

impl Running for Runtimes {
    fn spawn(&self, group: usize, job: Job) -> Result<()> {
        self.handles[group].spawn(job);
        Ok(())
    }

    fn spawn_and_join(&self, batches: u32) -> Result<Option<Duration>> {
        spawn_and_join(self.handles.first().context("there is a group")?, batches).map(Some)
    }

    fn stop(&self) -> Result<()> {
        let runtimes =
            std::mem::take(&mut *self.runtimes.lock().unwrap_or_else(PoisonError::into_inner));
        ensure!(!runtimes.is_empty(), "stopped twice");
        drop(runtimes);
        Ok(())
    }
}
