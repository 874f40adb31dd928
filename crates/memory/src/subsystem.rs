//! The subsystem: how groups get their memory, and what becomes of it.

use std::{fmt, time::Duration};

use fief_core::{
    Barrier, Clock, ControlFile, Css, CssRef, HookError, Member, Migration, MonotonicClock,
    Subsystem,
};

use crate::{
    css::MemoryCss,
    files,
    keeper::{self, Book, Keeper},
    node::Node,
    oom::policy::{LargestVictim, VictimPolicy},
    reclaim,
    shared::Shared,
    stock::drain,
    sync::Arc,
    wait,
};

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
    keeper: Keeper,
    policy: Arc<dyn VictimPolicy>,
    patience: Duration,
    reclaim: reclaim::Settings,
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
        MemoryBuilder {
            barrier: Barrier::default(),
            clock: Arc::new(MonotonicClock::new()),
            keeper: Keeper::default(),
            policy: Arc::new(LargestVictim),
            patience: Duration::from_secs(1),
            reclaim: reclaim::Settings::DEFAULT,
        }
    }

    /// Looks once after those that wait: deadlines, and whether anybody can go on.
    ///
    /// What the keeper does every 5 ms; for [`Keeper::Manual`], for clocks that are advanced by hand, and where
    /// no thread could be started. Does nothing if a pass is being made, from inside a policy or callback too.
    ///
    /// # Concurrency
    ///
    /// Takes the time of a look at the groups below each level where somebody waits, and of the wakers,
    /// policies and callbacks that it runs, under no lock. Cancelling a victim's members is a structural call: not
    /// possible from inside a hook, it is made up for by a later pass.
    pub fn tick(&self) {
        keeper::pass(&self.shared);
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

    /// Sets who looks after those that wait. Default: [`Keeper::Thread`].
    #[must_use]
    pub fn keeper(self, keeper: Keeper) -> Self {
        Self { keeper, ..self }
    }

    /// Sets who is chosen when nobody can go on. Default: [`LargestVictim`].
    #[must_use]
    pub fn victim_policy(self, policy: impl VictimPolicy) -> Self {
        Self { policy: Arc::new(policy), ..self }
    }

    /// Sets how long groups that hold memory have to give some back of which nobody knows whether they wait:
    /// those without tasks and [workers](MemoryCss::enter). Default: one second.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Sets the least that a [`Spiller`](crate::Spiller) is asked for, in bytes, if it has as much. Default: 1 MiB.
    ///
    /// So nobody writes tiny files. It is never more than a 64th of what is in use at the group that is short. A
    /// reclaimer that is called is asked for 4 KiB at least, or a 16th of what is lacking; and never for more than this.
    #[must_use]
    pub fn spill_floor(self, bytes: u64) -> Self {
        Self { reclaim: reclaim::Settings { floor: bytes, ..self.reclaim }, ..self }
    }

    /// Sets how far above its max a [`Reclaimer`](crate::Reclaimer) may charge a group while it runs, in bytes.
    ///
    /// Default: a 64th of the max, at least 1 MiB. Threads that reclaim at the same time may exceed it by a charge each.
    #[must_use]
    pub fn reclaim_reserve(self, bytes: u64) -> Self {
        Self { reclaim: reclaim::Settings { reserve: Some(bytes), ..self.reclaim }, ..self }
    }

    /// Makes the subsystem.
    #[must_use]
    pub fn build(self) -> Memory {
        let book = Book::new(self.keeper);
        let Self { barrier, clock, policy, patience, reclaim, .. } = self;
        Memory { shared: Shared::new(barrier, clock, policy, patience, book, reclaim) }
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
        wait::under_lock(&css.node, || {
            drain::drain_own(&css.node);
        });
    }

    fn killed(&self, css: &Css<MemoryCss>) {
        css.node.close();
        wait::look(&css.node); // who joins a line and is not found there finds the node closed
        wait::under_lock(&css.node, || css.node.summon(|request| request.payer == css.node.key));
    }

    fn offline(&self, css: &Css<MemoryCss>) {
        wait::under_lock(&css.node, || {
            drain::drain_own(&css.node);
        });
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
        migration.source.node.part();
        migration.target.node.receive();
    }

    fn fork(&self, css: &Css<MemoryCss>, _task: &Member) {
        css.node.receive();
    }

    fn exit(&self, css: &Css<MemoryCss>, _task: &Member) {
        css.node.part();
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
