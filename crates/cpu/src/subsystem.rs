//! The subsystem: how groups get their place in the tree, and how members follow.

use std::{fmt, time::Duration};

use fief_core::{Clock, ControlFile, Css, CssRef, HookError, Migration, Subsystem};

use crate::{
    css::CpuCss,
    files,
    leaf::Leaf,
    polls::{LongPoll, Watch},
    sched::Sched,
    shared::Shared,
    sync::{Arc, thread},
    time::{Time, nanos},
    tree::{CpuTree, TreeSettings},
};

/// So many slices that run at once can the tree tell apart.
const CPUS_MAX: u32 = 65_536;

/// The CPU controller: register it, bind the controller to a hierarchy, and start a [`Pool`](crate::Pool).
///
/// Clones are the same controller, which serves one registry: to register it in a second one is refused.
#[derive(Clone)]
#[doc(alias = "cpu_cgrp_subsys")]
pub struct Cpu {
    shared: Arc<Shared>,
}

/// How a CPU controller is to be.
#[derive(Clone)]
#[must_use]
pub struct CpuBuilder {
    cpus: u32,
    tree: TreeSettings,
    time: Time,
    polls: Watch,
}

impl Cpu {
    /// Makes the subsystem, with the settings of [`Cpu::builder`].
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Returns the settings of a new controller.
    pub fn builder() -> CpuBuilder {
        let cpus = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let cpus = u32::try_from(cpus).map_or(CPUS_MAX, |cpus| cpus.min(CPUS_MAX));
        let (tree, polls) = (TreeSettings::default(), Watch::default());
        CpuBuilder { cpus, tree, time: Time::machine(), polls }
    }

    /// Returns how many may run at a time.
    #[must_use]
    pub fn cpus(&self) -> u32 {
        self.shared.cpus
    }

    /// Does what is due by the controller's [clock](CpuBuilder::clock), which no thread of its own can wait for: tells
    /// leases that their slices are over, takes back grants that nobody came for, and lets in groups whose quota has come.
    /// By the machine's clock it is done without.
    pub fn tick(&self) {
        let _next = self.shared.sched.tick();
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new()
    }
}

impl CpuBuilder {
    /// Sets how many may run at a time, 1 to 65,536; fewer and more are taken as these. Default: as many as the process
    /// may use.
    pub fn cpus(self, cpus: u32) -> Self {
        Self { cpus: cpus.clamp(1, CPUS_MAX), ..self }
    }

    /// Sets how the tree shares: the slice, and how far ahead of its share a group may get.
    pub fn tree(self, tree: TreeSettings) -> Self {
        Self { tree, ..self }
    }

    /// Sets the clock, for tests: what passes on it is what polls are charged. Default: the machine's, and
    /// threads are charged by their own clocks.
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { time: Time::of(clock), ..self }
    }

    /// Sets how long a poll takes that is long, by the wall. Default: 10 ms.
    ///
    /// Such polls are counted ([`CpuCss::long_polls`]), and told of ([`on_long_poll`](Self::on_long_poll)).
    pub fn long_poll(self, threshold: Duration) -> Self {
        Self { polls: Watch { threshold: nanos(threshold), ..self.polls }, ..self }
    }

    /// Sets what is called with each long poll: on the worker, after the slice, under no lock.
    ///
    /// The worker does nothing else meanwhile, and the time is charged to nobody. Panics are caught.
    pub fn on_long_poll(self, hear: impl Fn(&LongPoll) + Send + Sync + 'static) -> Self {
        Self { polls: Watch { hear: Some(Arc::new(hear)), ..self.polls }, ..self }
    }

    /// Makes the subsystem.
    #[must_use]
    pub fn build(self) -> Cpu {
        let Self { cpus, tree, time, polls } = self;
        let sched = Sched::new(CpuTree::new(tree), cpus, time, polls);
        Cpu { shared: Shared::new(sched, cpus) }
    }
}

impl Subsystem for Cpu {
    type State = CpuCss;

    fn name(&self) -> &'static str {
        "cpu"
    }

    fn new_css(&self, parent: Option<&Css<CpuCss>>) -> Result<CpuCss, HookError> {
        let sched = &self.shared.sched;
        let above = parent.map(|parent| Arc::clone(&parent.leaf));
        let node = above.as_ref().map(|above| above.node);
        let leaf = sched.add(node, |node| Leaf::new(sched, node, above))?;
        Ok(CpuCss { shared: Arc::clone(&self.shared), leaf })
    }

    fn online(&self, css: &Css<CpuCss>) -> Result<(), HookError> {
        let own = css.try_get().ok_or("a css that comes online is released")?;
        css.leaf.css.get_or_init(|| CssRef::downgrade(&own));
        Ok(())
    }

    fn files(&self) -> &[ControlFile] {
        files::FILES
    }

    fn read_file(&self, css: &Css<CpuCss>, file: &str) -> Result<String, HookError> {
        files::read(css, file)
    }

    fn write_file(&self, css: &Css<CpuCss>, file: &str, input: &str) -> Result<(), HookError> {
        files::write(css, file, input)
    }

    fn attach(&self, migration: &Migration<'_, CpuCss>) {
        if let Some(member) = self.shared.member(migration.task.id)
            && let Some(css) = migration.target.try_get()
        {
            member.follow(css);
        }
    }
}

impl fmt::Debug for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let free = self.shared.sched.free();
        f.debug_struct("Cpu").field("cpus", &self.shared.cpus).field("free", &free).finish()
    }
}

impl fmt::Debug for CpuBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CpuBuilder").field("cpus", &self.cpus).finish_non_exhaustive()
    }
}
