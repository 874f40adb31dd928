//! Ours: a group of the plan is one of a hierarchy, and the member that spawns there.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use benches::system::processors;
use fief_core::{Cgroup, Controller, Hierarchy, RebindOptions, Registry};
use fief_cpu::{Cpu, Group, Pool, tree::Bandwidth};
use tokio::runtime::{Handle, Runtime};

use super::tokio::runtime;
use crate::cpu::{
    load::Job,
    machine::be_nice,
    system::{self, BATCH, Body, Class, Plan, Running, System, Uses},
};

/// Our controller, with workers of a kind.
#[derive(Debug)]
pub(super) struct Fief {
    pub(super) name: &'static str,
    pub(super) ground: Ground,
}

/// What the workers run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// Threads of their own.
    Threads,
    /// Threads of their own, nicer than usual, inside a runtime of tokio's that does the I/O and lends a hand.
    Attached,
    /// Tasks of a runtime of tokio's, one for each of its threads.
    Runners,
    /// None: a runtime of tokio's runs what we wrapped.
    Wrapped,
}

/// What workers attached to a runtime are nicer, by default.
const NICER: i32 = 5;
/// How far ahead of its turn a light group may be.
const LATENCY: Duration = Duration::from_millis(1);
/// The period that quotas are written down by; it says nothing of when they are counted.
const PERIOD: Duration = Duration::from_millis(100);

/// The controller with its groups and workers.
struct World {
    registry: Registry,
    cpu: Controller<Cpu>,
    pool: Pool,
    ground: Ground,
    runtime: Mutex<Option<Runtime>>,
    /// Where wrapped futures are spawned.
    wrapping: Option<Handle>,
    groups: Vec<Place>,
    twin: Mutex<Option<[Hierarchy; 2]>>,
}

/// A group of the plan, and its member, once something is spawned there.
struct Place {
    parent: Option<usize>,
    cgroup: Cgroup,
    member: OnceLock<Group>,
}

impl System for Fief {
    fn name(&self) -> &'static str {
        self.name
    }

    fn refuses(&self, plan: &Plan) -> Option<String> {
        let needs_tokio = plan.uses == Uses::Sockets && self.ground == Ground::Threads;
        needs_tokio.then(|| "not tokio's sockets".to_owned())
    }

    fn start(&self, plan: &Plan) -> Result<Arc<dyn Running>> {
        Ok(Arc::new(World::new(self.ground, plan)?))
    }
}

/// Sets what the plan wants of a group.
fn limit(cpu: &Controller<Cpu>, cgroup: &Cgroup, group: &system::Group) -> Result<()> {
    let css = cpu.css(cgroup).context("the controller is bound")?;
    if group.weight != 100 {
        css.set_weight(group.weight)?;
    }
    if let Some(quota) = group.quota {
        css.set_max(Bandwidth::new(PERIOD.mul_f64(quota), PERIOD)?);
    }
    if group.class == Class::Light {
        css.set_latency(LATENCY)?;
    }
    Ok(())
}

impl World {
    fn new(ground: Ground, plan: &Plan) -> Result<Self> {
        let registry = Registry::new();
        let tenants = registry.create_hierarchy("tenants")?;
        let cpus = u32::try_from(processors())?;
        let cpu = registry.register(Cpu::builder().cpus(cpus).build())?;
        cpu.bind(&tenants)?;
        let runtime = match ground {
            Ground::Threads => None,
            Ground::Attached | Ground::Runners | Ground::Wrapped => Some(runtime("io", || {})?),
        };
        let builder = Pool::builder(&cpu).workers(processors());
        let handle = runtime.as_ref().map(|runtime| runtime.handle().clone());
        let builder = match (ground, handle.clone()) {
            (Ground::Attached, Some(handle)) => builder.tokio(handle),
            (Ground::Runners, Some(handle)) => builder.runners(handle),
            (Ground::Threads | Ground::Wrapped, _) | (_, None) => builder,
        };
        let pool = builder.start()?;
        let mut groups: Vec<Place> = Vec::with_capacity(plan.groups.len());
        for (number, group) in plan.groups.iter().enumerate() {
            let above = group.parent.map_or_else(|| tenants.root(), |it| groups[it].cgroup.clone());
            let cgroup = above.create_child(&number.to_string())?;
            limit(&cpu, &cgroup, group)?;
            groups.push(Place { parent: group.parent, cgroup, member: OnceLock::new() });
        }
        let wrapping = handle.filter(|_| ground == Ground::Wrapped);
        let (runtime, twin) = (Mutex::new(runtime), Mutex::new(None));
        Ok(Self { registry, cpu, pool, ground, runtime, wrapping, groups, twin })
    }

    /// Returns the member of a group.
    fn member(&self, number: usize) -> Result<&Group> {
        let Place { cgroup, member, .. } = &self.groups[number];
        if let Some(member) = member.get() {
            return Ok(member);
        }
        let new = self.pool.group(cgroup)?;
        // Another thread's may be there meanwhile: this one goes.
        Ok(member.get_or_init(|| new))
    }
}

impl Running for World {
    fn spawn(&self, group: usize, job: Job) -> Result<()> {
        let member = self.member(group)?;
        match &self.wrapping {
            Some(handle) => drop(handle.spawn(member.wrap(job))),
            None => drop(member.spawn(job)?),
        }
        Ok(())
    }

    fn spawn_and_join(&self, batches: u32) -> Result<Option<Duration>> {
        let member = self.member(0)?.clone();
        let driver = async move {
            let start = Instant::now();
            for _ in 0..batches {
                let tasks = (0..BATCH).map(|_| member.spawn(async {}));
                for task in tasks.collect::<Result<Vec<_>, _>>()? {
                    task.await?;
                }
            }
            anyhow::Ok(start.elapsed())
        };
        self.member(0)?.spawn(driver)?.join()?.map(Some)
    }

    fn twin(&self) -> Result<bool> {
        let own = self.cpu.hierarchy().context("the controller is bound")?;
        let twin = self.registry.create_hierarchy("twins")?;
        let mut cgroups: Vec<Cgroup> = Vec::with_capacity(self.groups.len());
        for (number, Place { parent, member, .. }) in self.groups.iter().enumerate() {
            let above = parent.map_or_else(|| twin.root(), |parent| cgroups[parent].clone());
            let cgroup = above.create_child(&number.to_string())?;
            if let Some(member) = member.get() {
                cgroup.attach(member.task())?;
            }
            cgroups.push(cgroup);
        }
        *self.twin.lock().unwrap_or_else(PoisonError::into_inner) = Some([twin, own]);
        Ok(true)
    }

    fn rebind(&self) -> Result<()> {
        let mut twin = self.twin.lock().unwrap_or_else(PoisonError::into_inner);
        let hierarchies = twin.as_mut().context("there is no twin")?;
        self.cpu.rebind(&hierarchies[0], &RebindOptions::new())?;
        hierarchies.swap(0, 1);
        Ok(())
    }

    fn checkpoints(&self, group: usize, times: u32) -> Result<Option<Duration>> {
        let lease = self.member(group)?.enter()?;
        let start = Instant::now();
        for _ in 0..times {
            lease.checkpoint()?;
        }
        Ok(Some(start.elapsed()))
    }

    fn lease(&self, group: usize, body: Body<'_>) -> Result<()> {
        let lease = self.member(group)?.enter()?;
        // It is not killed; if it were, it would run on.
        body(&mut || lease.checkpoint().unwrap_or_default());
        Ok(())
    }

    fn compete(&self) -> Result<()> {
        if self.ground == Ground::Attached {
            be_nice(NICER)?;
        }
        Ok(())
    }

    fn stop(&self) -> Result<()> {
        self.pool.shutdown();
        drop(self.runtime.lock().unwrap_or_else(PoisonError::into_inner).take());
        Ok(())
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("groups", &self.groups.len()).finish_non_exhaustive()
    }
}
