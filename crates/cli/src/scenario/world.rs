//! What everybody in a scenario shares: trees, controllers, workers, data and the file.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use fief_core::{AnyController, Cgroup, Controller, Hierarchy, Registry, Removal};
use fief_cpu::{Cpu, Pool};
use fief_io::{Device, Io};
use fief_memory::Memory;
use tokio::runtime::{Builder, Handle, Runtime};

use super::{
    config::Scenario,
    member::Member,
    tenant::{Place, Tenant},
};
use crate::{
    sync::{Arc, Flag, Mutex, thread},
    workload::{
        data::Lineitem,
        drive::Drive,
        query::{Answer, Query},
    },
};

/// All of it.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) registry: Registry,
    pub(crate) trees: Vec<Hierarchy>,
    pub(crate) memory: Controller<Memory>,
    pub(crate) cpu: Controller<Cpu>,
    pub(crate) io: Controller<Io>,
    pub(crate) disk: Device,
    pub(crate) pool: Pool,
    pub(crate) runtime: Handle,
    pub(crate) data: Arc<Lineitem>,
    /// Every query with the answer it must give: those that keep little, and those that sort.
    pub(crate) queries: Vec<(Query, Answer)>,
    pub(crate) sorts: Vec<(Query, Answer)>,
    pub(crate) drive: Drive,
    /// Where files are put for a while.
    pub(crate) directory: PathBuf,
    pub(crate) tenants: Vec<Arc<Tenant>>,
    pub(crate) cpus: usize,
    /// Whether jobs run in groups, and not as tasks of the runtime.
    pub(crate) is_shared: Flag,
    /// Whether operations on the file ask first.
    pub(crate) asks: Flag,
    /// Whether it is ended early: whoever does something at length stops.
    pub(crate) is_ending: Flag,
    pub(crate) start: Instant,
    /// The first thing that went wrong in the background.
    fault: Mutex<Option<anyhow::Error>>,
}

/// What a world is made of, that takes time to make.
pub(crate) struct Input {
    pub(crate) data: Lineitem,
    pub(crate) queries: Vec<(Query, Answer)>,
    pub(crate) drive: Drive,
    pub(crate) directory: PathBuf,
}

impl Input {
    /// Makes data, answers and the file; `None` if `stop` is raised meanwhile.
    ///
    /// # Errors
    ///
    /// Names the directory where nothing can be written.
    pub(crate) fn make(scenario: &Scenario, directory: &Path, stop: &Flag) -> Result<Option<Self>> {
        let drive = Drive::make(directory)?;
        let directory = directory.to_owned();
        let data = Lineitem::generate(*scenario.data.scale.get_ref(), stop);
        let Some(data) = data else { return Ok(None) };
        let Some(queries) = Query::with_answers(&data, stop) else { return Ok(None) };
        Ok(Some(Self { data, queries, drive, directory }))
    }
}

/// A runtime for sockets, timers, and whatever runs without control.
///
/// # Errors
///
/// What the system refuses.
pub(crate) fn runtime() -> Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(cpus()).enable_all().thread_name("fief-tokio").build();
    runtime.context("cannot start a runtime")
}

fn cpus() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}

impl World {
    /// Sets up trees with the tenants' groups, and controllers that are bound to none of them.
    ///
    /// # Errors
    ///
    /// Those of the registry and the controllers, and of threads.
    pub(crate) fn new(scenario: &Scenario, input: Input, runtime: Handle) -> Result<Self> {
        let registry = Registry::new();
        let trees = scenario.trees.get_ref().iter().map(|name| registry.create_hierarchy(name));
        let trees = trees.collect::<Result<Vec<_>, _>>()?;
        let memory = registry.register(Memory::new())?;
        let cpu = registry.register(Cpu::new())?;
        let io = registry.register(Io::new())?;
        let disk = Device::builder("disk").depth(*scenario.device.depth.get_ref()).register(&io)?;
        let pool = Pool::builder(&cpu).tokio(runtime.clone()).nice(19).start()?;
        let tenants = scenario.tenants.iter().map(|config| Tenant::new(config).map(Arc::new));
        let tenants = tenants.collect::<Result<Vec<_>>>()?;
        let (sorts, queries) =
            input.queries.into_iter().partition(|(query, _)| matches!(query, Query::Sort { .. }));
        let world = Self {
            registry,
            trees,
            memory,
            cpu,
            io,
            disk,
            pool,
            runtime,
            data: Arc::new(input.data),
            queries,
            sorts,
            drive: input.drive,
            directory: input.directory,
            tenants,
            cpus: cpus(),
            is_shared: Flag::default(),
            asks: Flag::default(),
            is_ending: Flag::default(),
            start: Instant::now(),
            fault: Mutex::default(),
        };
        for (tenant, config) in world.tenants.iter().zip(&scenario.tenants) {
            world.open(tenant, config.groups.get_ref())?;
        }
        Ok(world)
    }

    /// Makes a tenant's groups, one in each tree, by one edit.
    fn open(&self, tenant: &Tenant, paths: &[String]) -> Result<()> {
        let (edited, ()) = self.registry.edit(|edit| {
            for (tree, path) in self.trees.iter().zip(paths) {
                edit.create(tree.root(), path.trim_start_matches('/'));
            }
        })?;
        tenant.settle(edited.cgroups());
        Ok(())
    }

    /// Makes a group of that name below the tenant's in each tree, and a member of all of them, or of where the
    /// tenant's members were moved; with the groups.
    ///
    /// # Errors
    ///
    /// Those of the registry.
    pub(crate) fn fork(&self, tenant: &Tenant, name: &str) -> Result<(Member, Vec<Cgroup>)> {
        tenant.pass(|places| {
            let task = self.registry.create_task(name)?;
            let (edited, ()) = self.registry.edit(|edit| {
                for place in places {
                    let child = edit.create(&place.top, name);
                    match &place.moved {
                        Some(elsewhere) => edit.join(&task, elsewhere),
                        None => edit.join(&task, child),
                    }
                }
            })?;
            let groups = edited.cgroups().to_vec();
            Ok((Member::new(self, task)?, groups))
        })
    }

    /// Lets a member go, and removes the groups that were made for it; what it held may be on its way back.
    ///
    /// # Errors
    ///
    /// Those of the registry.
    pub(crate) fn unfork(&self, tenant: &Tenant, member: Member, groups: &[Cgroup]) -> Result<()> {
        // A worker may not have let go of its last job yet.
        let task = member.task();
        self.registry.edit(|edit| {
            self.trees.iter().for_each(|tree| edit.join(task, tree.root()));
            groups.iter().for_each(|group| edit.remove(group, Removal::Detach));
        })?;
        tenant.gone(member);
        Ok(())
    }

    /// Makes a member of the tenant's own groups.
    ///
    /// # Errors
    ///
    /// Those of the registry.
    pub(crate) fn member(&self, tenant: &Tenant, name: &str) -> Result<Member> {
        let places = tenant.places();
        let places: Vec<&Cgroup> = places.iter().map(Place::members).collect();
        let task = self.registry.create_task_in(name, &places)?;
        Member::new(self, task)
    }

    /// The controller of that name.
    pub(crate) fn controller(&self, name: &str) -> Option<&dyn AnyController> {
        match name {
            "memory" => Some(&self.memory),
            "cpu" => Some(&self.cpu),
            "io" => Some(&self.io),
            _ => None,
        }
    }

    /// The tenant of that name.
    pub(crate) fn tenant(&self, name: &str) -> Option<&Arc<Tenant>> {
        self.tenants.iter().find(|tenant| tenant.name == name)
    }

    /// Where the controller of that name is bound.
    pub(crate) fn hierarchy_of(&self, controller: &str) -> Option<Hierarchy> {
        match controller {
            "memory" => self.memory.hierarchy(),
            "cpu" => self.cpu.hierarchy(),
            "io" => self.io.hierarchy(),
            _ => None,
        }
    }

    /// The number of the tree where the controller of that name is bound.
    pub(crate) fn tree_of(&self, controller: &str) -> Option<usize> {
        let bound = self.hierarchy_of(controller)?;
        self.trees.iter().position(|tree| *tree == bound)
    }

    /// A tenant's group where the controller of that name is bound.
    pub(crate) fn group_of(&self, tenant: &Tenant, controller: &str) -> Option<Cgroup> {
        tenant.top(self.tree_of(controller)?)
    }

    /// How long it has been running.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Takes note of what went wrong, if nothing did before.
    pub(crate) fn fail(&self, error: anyhow::Error) {
        self.fault.lock().get_or_insert(error);
    }

    /// Returns whether something went wrong.
    pub(crate) fn has_failed(&self) -> bool {
        self.fault.lock().is_some()
    }

    /// What went wrong.
    pub(crate) fn take_fault(&self) -> Option<anyhow::Error> {
        self.fault.lock().take()
    }
}
