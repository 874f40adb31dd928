//! Everything in one: a registry with the three controllers, bound to one tree, and workers.

use fief_core::{Cgroup, Controller, CreateError, Hierarchy, LookupError, Registry};
use fief_cpu::{Cpu, Pool, PoolBuilder};
use fief_io::{Device, DeviceBuilder, Io};
use fief_memory::Memory;
use std::sync::Arc;

use crate::{
    error::{GroupError, StartError},
    group::Group,
};

/// A process's groups: a registry, a hierarchy with the controllers `memory`, `cpu` and `io` bound to it, a
/// device, and workers that run what its groups are given.
///
/// It is for the common case, and hides nothing: [`registry`](Self::registry) and the controllers are those of the
/// crates below, and more hierarchies, controllers, devices and pools can be added to them.
///
/// Clones are the same one. With the last clone its workers are [shut down](Self::shutdown); groups and what they
/// hold stay.
///
/// ```
/// use fief::prelude::*;
///
/// let fief = Fief::new()?;
/// let acme = fief.group("acme/alice")?; // made on first use, and its parent
/// acme.write("cpu.weight", "300")?;
/// assert_eq!(acme.run(async { 6 * 7 }).join()?, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Fief {
    parts: Arc<Parts>,
    pool: Arc<Pool>,
}

/// What a group needs, and its futures; not the workers, who would wait for themselves.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) registry: Registry,
    pub(crate) hierarchy: Hierarchy,
    pub(crate) memory: Controller<Memory>,
    pub(crate) cpu: Controller<Cpu>,
    pub(crate) io: Controller<Io>,
    pub(crate) disk: Device,
}

/// How a [`Fief`] is to be.
#[must_use]
#[derive(Debug)]
pub struct FiefBuilder {
    registry: Option<Registry>,
    hierarchy: String,
    memory: Memory,
    cpu: Cpu,
    io: Io,
    disk: DeviceBuilder,
    workers: Option<usize>,
    #[cfg(feature = "tokio")]
    tokio: Option<tokio::runtime::Handle>,
}

impl Fief {
    /// Starts one with the defaults of [`builder`](Self::builder).
    ///
    /// # Errors
    ///
    /// What the system refuses: threads.
    pub fn new() -> Result<Self, StartError> {
        Self::builder().start()
    }

    /// Returns the settings of a new one: a registry of its own, a hierarchy `groups`, a device `disk` without a
    /// depth, and as many workers as the process has CPUs, on threads of their own.
    pub fn builder() -> FiefBuilder {
        FiefBuilder {
            registry: None,
            hierarchy: "groups".to_owned(),
            memory: Memory::new(),
            cpu: Cpu::new(),
            io: Io::new(),
            disk: Device::builder("disk"),
            workers: None,
            #[cfg(feature = "tokio")]
            tokio: None,
        }
    }

    /// Returns the group at a path, as `acme` or `acme/alice`; what is not there is created.
    ///
    /// Several threads may ask for the same new group at once: all get the one.
    ///
    /// # Concurrency
    ///
    /// A short lock for each component; the registry's structural lock for each that is created.
    ///
    /// # Errors
    ///
    /// If a name breaks a rule, or a limit on groups or a controller refuses a new one; the groups above it that were
    /// created stay.
    pub fn group(&self, path: &str) -> Result<Group, GroupError> {
        let hierarchy = &self.parts.hierarchy;
        let relative = path.strip_prefix('/').unwrap_or(path);
        let mut cgroup = hierarchy.root();
        if relative.is_empty() {
            return Ok(Group::new(&self.parts, cgroup));
        }
        for name in relative.split('/') {
            if name.is_empty() {
                let path = path.to_owned();
                return Err(LookupError::Path { hierarchy: hierarchy.name(), path }.into());
            }
            cgroup = child(&cgroup, name)?;
        }
        Ok(Group::new(&self.parts, cgroup))
    }

    /// Returns a group of any hierarchy of the registry, to run futures there: what is not bound to that hierarchy
    /// charges the root of its own.
    ///
    /// # Errors
    ///
    /// Refuses a group of another registry.
    pub fn group_of(&self, cgroup: &Cgroup) -> Result<Group, GroupError> {
        let ours = self.parts.registry.hierarchies().contains(&cgroup.hierarchy());
        if ours {
            Ok(Group::new(&self.parts, cgroup.clone()))
        } else {
            Err(GroupError::Foreign { cgroup: cgroup.path() })
        }
    }

    /// Returns the registry.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.parts.registry
    }

    /// Returns the hierarchy in which [`group`](Self::group) looks.
    #[must_use]
    pub fn hierarchy(&self) -> &Hierarchy {
        &self.parts.hierarchy
    }

    /// Returns the memory controller.
    #[must_use]
    pub fn memory(&self) -> &Controller<Memory> {
        &self.parts.memory
    }

    /// Returns the CPU controller.
    #[must_use]
    pub fn cpu(&self) -> &Controller<Cpu> {
        &self.parts.cpu
    }

    /// Returns the I/O controller.
    #[must_use]
    pub fn io(&self) -> &Controller<Io> {
        &self.parts.io
    }

    /// Returns the device that [`Here::limit`](crate::Here::limit) charges.
    #[must_use]
    pub fn disk(&self) -> &Device {
        &self.parts.disk
    }

    /// Ends the workers, and cancels what they run: [`Pool::shutdown`]. The second call does nothing.
    pub fn shutdown(&self) {
        self.pool.shutdown();
    }
}

/// Finds or creates a child, whoever else does.
fn child(parent: &Cgroup, name: &str) -> Result<Cgroup, CreateError> {
    loop {
        if let Some(child) = parent.child(name) {
            return Ok(child);
        }
        match parent.create_child(name) {
            // Somebody was faster, or has removed it meanwhile.
            Err(CreateError::Exists { .. }) => {}
            created => return created,
        }
    }
}

impl FiefBuilder {
    /// Sets the registry. Default: one of its own.
    pub fn registry(self, registry: &Registry) -> Self {
        Self { registry: Some(registry.clone()), ..self }
    }

    /// Sets the name of the hierarchy that is created. Default: `groups`.
    pub fn hierarchy(self, name: &str) -> Self {
        Self { hierarchy: name.to_owned(), ..self }
    }

    /// Sets the memory controller, with its victim policy and patience.
    pub fn memory(self, memory: Memory) -> Self {
        Self { memory, ..self }
    }

    /// Sets the CPU controller, with its number of CPUs.
    pub fn cpu(self, cpu: Cpu) -> Self {
        Self { cpu, ..self }
    }

    /// Sets the I/O controller.
    pub fn io(self, io: Io) -> Self {
        Self { io, ..self }
    }

    /// Sets the device, with its name, depth and costs. Default: `disk`, which shares nothing and limits what
    /// `io.max` says.
    pub fn disk(self, disk: DeviceBuilder) -> Self {
        Self { disk, ..self }
    }

    /// Sets how many workers there are, 1 to 65,536. Default: the CPU controller's CPUs.
    pub fn workers(self, workers: usize) -> Self {
        Self { workers: Some(workers), ..self }
    }

    /// Has the workers poll inside a tokio runtime, whose sockets and timers then work in what groups run:
    /// [`PoolBuilder::tokio`].
    #[cfg(feature = "tokio")]
    pub fn tokio(self, handle: tokio::runtime::Handle) -> Self {
        Self { tokio: Some(handle), ..self }
    }

    /// Registers and binds the controllers, and starts the workers.
    ///
    /// # Errors
    ///
    /// If a name is taken or a setting out of its range, and what the system refuses. In a registry that was
    /// given, nothing is left behind.
    pub fn start(self) -> Result<Fief, StartError> {
        let registry = self.registry.unwrap_or_default();
        let mut undo = Undo::default();
        let hierarchy = registry.create_hierarchy(&self.hierarchy)?;
        undo.later({
            let hierarchy = hierarchy.clone();
            move || drop(hierarchy.destroy())
        });
        let memory = undo.registered(registry.register(self.memory)?);
        let cpu = undo.registered(registry.register(self.cpu)?);
        let io = undo.registered(registry.register(self.io)?);
        hierarchy.remount(&[&memory, &cpu, &io])?;
        undo.later({
            let hierarchy = hierarchy.clone();
            move || drop(hierarchy.remount(&[]))
        });
        let disk = self.disk.register(&io)?;
        let pool = Pool::builder(&cpu);
        #[cfg(feature = "tokio")]
        let pool = match self.tokio {
            Some(handle) => pool.tokio(handle),
            None => pool,
        };
        let pool = self.workers.into_iter().fold(pool, PoolBuilder::workers).start()?;
        undo.forget();
        let parts = Arc::new(Parts { registry, hierarchy, memory, cpu, io, disk });
        Ok(Fief { parts, pool: Arc::new(pool) })
    }
}

/// What a start that fails takes back, last things first.
#[derive(Default)]
struct Undo(Vec<Box<dyn FnOnce()>>);

impl Undo {
    fn later(&mut self, step: impl FnOnce() + 'static) {
        self.0.push(Box::new(step));
    }

    fn registered<S: fief_core::Subsystem>(&mut self, controller: Controller<S>) -> Controller<S> {
        let registered = controller.clone();
        self.later(move || drop(registered.unregister()));
        controller
    }

    fn forget(mut self) {
        self.0.clear();
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        while let Some(step) = self.0.pop() {
            step();
        }
    }
}
