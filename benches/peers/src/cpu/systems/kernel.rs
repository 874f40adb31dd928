//! The kernel's own cpu controller: a tokio runtime for each group that has tasks, its threads in a group
//! of the kernel.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use anyhow::{Result, ensure};
use benches::system::processors;
use tokio::runtime::{Handle, Runtime};

use super::tokio::{runtime, spawn_and_join};
use crate::cpu::{
    cgroup::{Kernel, enter},
    load::Job,
    system::{Plan, Running, System},
};

/// Groups beyond these have more threads than are good for a machine.
const MOST_GROUPS: usize = 100;

/// The kernel refuses smaller ones.
const LEAST_QUOTA: Duration = Duration::from_millis(1);

/// The kernel's groups, with quotas counted by the period.
#[derive(Debug)]
pub(super) struct Groups {
    pub(super) name: &'static str,
    pub(super) period: Duration,
}

#[derive(Debug)]
struct Runtimes {
    /// Where the threads of each group go in.
    doors: Vec<PathBuf>,
    /// Where competitors go in.
    outside: PathBuf,
    inside: Mutex<Option<Inside>>,
}

/// Runtimes go before the groups that their threads are in.
#[derive(Debug)]
struct Inside {
    runtimes: HashMap<usize, Runtime>,
    /// Held to be dropped.
    _kernels: [Kernel; 2],
}

impl System for Groups {
    fn name(&self) -> &'static str {
        self.name
    }

    fn refuses(&self, plan: &Plan) -> Option<String> {
        if plan.groups.len() > MOST_GROUPS {
            return Some(format!("a runtime a group: more than {MOST_GROUPS}"));
        }
        if self.period != DEFAULT_PERIOD && !plan.has_quota() {
            return Some("differs by its quotas only".to_owned());
        }
        let is_small = |quota| self.period.mul_f64(quota) < LEAST_QUOTA;
        if plan.groups.iter().filter_map(|group| group.quota).any(is_small) {
            return Some(format!("quotas of less than {LEAST_QUOTA:?} a period"));
        }
        static PROBE: OnceLock<Option<String>> = OnceLock::new();
        let probe = || Kernel::new("fief-probe").err().map(|error| format!("{error:#}"));
        PROBE.get_or_init(probe).clone()
    }

    fn start(&self, plan: &Plan) -> Result<Arc<dyn Running>> {
        let mut kernel = Kernel::new("fief-bench")?;
        let weight = 100 * u64::try_from(processors())?;
        kernel.set_weight(0, weight)?;
        for group in &plan.groups {
            // Number 0 is the one around all.
            let number = kernel.add(group.parent.map_or(0, |parent| parent + 1))?;
            kernel.set_weight(number, group.weight.into())?;
            if let Some(quota) = group.quota {
                kernel.set_quota(number, quota, self.period)?;
            }
        }
        let others = Kernel::new("fief-others")?;
        // Three threads on each processor have three times what the groups have together.
        others.set_weight(0, 3 * weight)?;
        let doors = (1..=plan.groups.len()).map(|number| kernel.door(number)).collect();
        let outside = others.door(0);
        let inside = Inside { runtimes: HashMap::new(), _kernels: [kernel, others] };
        Ok(Arc::new(Runtimes { doors, outside, inside: Mutex::new(Some(inside)) }))
    }
}

/// The kernel's.
pub(super) const DEFAULT_PERIOD: Duration = Duration::from_millis(100);

impl Runtimes {
    /// Returns the runtime of a group, which starts with the first task there.
    fn handle(&self, group: usize) -> Result<Handle> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Inside { runtimes, .. }) = &mut *inside else { anyhow::bail!("stopped") };
        if let Some(runtime) = runtimes.get(&group) {
            return Ok(runtime.handle().clone());
        }
        let door = self.doors[group].clone();
        let runtime = runtime("kernel", move || {
            enter(&door).expect("the group was made for it");
        })?;
        let handle = runtime.handle().clone();
        runtimes.insert(group, runtime);
        Ok(handle)
    }
}

impl Running for Runtimes {
    fn spawn(&self, group: usize, job: Job) -> Result<()> {
        self.handle(group)?.spawn(job);
        Ok(())
    }

    fn spawn_and_join(&self, batches: u32) -> Result<Option<Duration>> {
        spawn_and_join(&self.handle(0)?, batches).map(Some)
    }

    fn compete(&self) -> Result<()> {
        Ok(enter(&self.outside)?)
    }

    fn stop(&self) -> Result<()> {
        let inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner).take();
        ensure!(inside.is_some(), "stopped twice");
        drop(inside);
        Ok(())
    }
}
