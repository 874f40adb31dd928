//! The subsystem: how groups get their memory, and what becomes of it.

use std::fmt;

use fief_core::{
    Barrier, Clock, ControlFile, Css, CssRef, HookError, Member, Migration, MonotonicClock,
    Subsystem,
};

use crate::{css::MemoryCss, files, node::Node, shared::Shared, stock::drain, sync::Arc};

/// The memory controller: register it, and bind the controller to a hierarchy.
#[derive(Clone)]
#[doc(alias = "memory_cgrp_subsys")]
pub struct Memory {
    shared: Arc<Shared>,
}

/// How a memory controller is to be.
#[derive(Clone)]
pub struct MemoryBuilder {
    barrier: Barrier,
    clock: Arc<dyn Clock>,
}

impl Memory {
    /// Makes the subsystem, with the settings of [`Memory::builder`].
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Returns the settings of a new controller.
    #[must_use]
    pub fn builder() -> MemoryBuilder {
        MemoryBuilder { barrier: Barrier::default(), clock: Arc::new(MonotonicClock::new()) }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryBuilder {
    /// Sets which fence a charge pays; see [`Barrier`].
    #[must_use]
    pub fn barrier(self, barrier: Barrier) -> Self {
        Self { barrier, ..self }
    }

    /// Sets the clock for deadlines, delays and pressure. Default: a [`MonotonicClock`].
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Makes the subsystem.
    #[must_use]
    pub fn build(self) -> Memory {
        Memory { shared: Shared::new(self.barrier, self.clock) }
    }
}

impl Subsystem for Memory {
    type State = MemoryCss;

    fn name(&self) -> &'static str {
        "memory"
    }

    fn new_css(&self, parent: Option<&Css<MemoryCss>>) -> Result<MemoryCss, HookError> {
        let node = parent.map_or_else(
            || Node::root(Arc::clone(&self.shared)),
            |parent| Node::below(&parent.node),
        );
        Ok(MemoryCss::of(node))
    }

    fn online(&self, css: &Css<MemoryCss>) -> Result<(), HookError> {
        let own = css.try_get().ok_or("a css that comes online is released")?;
        css.node.css.get_or_init(|| CssRef::downgrade(&own));
        Ok(())
    }

    fn drain(&self, css: &Css<MemoryCss>) {
        css.node.be_exact();
        drain::drain_own(&css.node);
    }

    fn killed(&self, css: &Css<MemoryCss>) {
        css.node.close();
    }

    fn offline(&self, css: &Css<MemoryCss>) {
        drain::drain_own(&css.node);
        css.node.retire();
    }

    fn files(&self) -> &[ControlFile] {
        files::FILES
    }

    fn read_file(&self, css: &Css<MemoryCss>, file: &str) -> Result<String, HookError> {
        files::read(css, file)
    }

    fn write_file(&self, css: &Css<MemoryCss>, file: &str, input: &str) -> Result<(), HookError> {
        files::write(css, file, input)
    }

    fn attach(&self, migration: &Migration<'_, MemoryCss>) {
        migration.target.node.be_swift();
    }

    fn fork(&self, css: &Css<MemoryCss>, _task: &Member) {
        css.node.be_swift();
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").finish_non_exhaustive()
    }
}

impl fmt::Debug for MemoryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBuilder").field("barrier", &self.barrier).finish_non_exhaustive()
    }
}
