//! Ours: a group of the plan is one of a hierarchy, and the member that spawns there.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use benches::system::processors;
use fief_core::{Cgroup, Controller, Hierarchy, RebindOptions, Registry};
use fief_cpu::{Cpu, Group, Pool};

use crate::cpu::{
    load::Job,
    system::{BATCH, Plan, Running, System, Uses},
};

/// Own workers, without tokio.
#[derive(Debug)]
pub(super) struct OwnPool;

/// The controller with its groups and workers.
struct World {
    registry: Registry,
    cpu: Controller<Cpu>,
    pool: Pool,
    groups: Vec<Place>,
    twin: Mutex<Option<[Hierarchy; 2]>>,
}

/// A group of the plan, and its member, once something is spawned there.
struct Place {
    parent: Option<usize>,
    cgroup: Cgroup,
    member: OnceLock<Group>,
}

impl System for OwnPool {
    fn name(&self) -> &'static str {
        "fief pool"
    }

    fn refuses(&self, plan: &Plan) -> Option<String> {
        // The css has no settings yet.
        if plan.is_weighted() || plan.has_quota() {
            Some("no weights and no quotas yet".to_owned())
        } else if plan.uses == Uses::Sockets {
            Some("not tokio's sockets".to_owned())
        } else {
            None
        }
    }

    fn start(&self, plan: &Plan) -> Result<Arc<dyn Running>> {
        Ok(Arc::new(World::new(plan)?))
    }
}

impl World {
    fn new(plan: &Plan) -> Result<Self> {
        let registry = Registry::new();
        let tenants = registry.create_hierarchy("tenants")?;
        let cpus = u32::try_from(processors())?;
        let cpu = registry.register(Cpu::builder().cpus(cpus).build())?;
        cpu.bind(&tenants)?;
        let pool = Pool::builder(&cpu).workers(processors()).start()?;
        let mut groups: Vec<Place> = Vec::with_capacity(plan.groups.len());
        for (number, group) in plan.groups.iter().enumerate() {
            let above = group.parent.map_or_else(|| tenants.root(), |it| groups[it].cgroup.clone());
            let cgroup = above.create_child(&number.to_string())?;
            groups.push(Place { parent: group.parent, cgroup, member: OnceLock::new() });
        }
        Ok(Self { registry, cpu, pool, groups, twin: Mutex::new(None) })
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
        drop(self.member(group)?.spawn(job)?);
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

    fn stop(&self) -> Result<()> {
        self.pool.shutdown();
        Ok(())
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("groups", &self.groups.len()).finish_non_exhaustive()
    }
}
