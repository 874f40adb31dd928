//! References taken, cloned, sent around and dropped by some threads while others remove and
//! re-create the groups under them.

use std::fmt;

use crossbeam_channel::{Receiver, Sender, bounded};
use fief_core::{
    Barrier, Cgroup, Controller, CssRef, Hierarchy, Reclaimer, Registry, Removal, WeakCss,
};

use super::{
    Failed, Progress, Random,
    ledger::{Canary, Ledger, Wanderer, Watch},
};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, lock, thread};

/// The size of a load.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Load {
    /// How readers and writers are ordered.
    pub barrier: Barrier,
    /// For the choices of all threads.
    pub seed: u64,
    /// Gets and puts in all, tries included.
    pub operations: u64,
    /// Threads that take and drop references.
    pub readers: usize,
    /// Threads that remove and create groups and move members.
    pub writers: usize,
    /// Pairs of a group and its child.
    pub slots: usize,
}

impl Load {
    /// A load for two cores: four readers, two writers, and so few groups that a css is mostly
    /// killed while somebody counts on it.
    #[must_use]
    pub fn new(barrier: Barrier, seed: u64, operations: u64) -> Self {
        Self { barrier, seed, operations, readers: 4, writers: 2, slots: 4 }
    }
}

/// What a load did.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// Gets and puts, tries included.
    pub operations: u64,
    /// Tries that came too late.
    pub misses: u64,
    /// References dropped on another thread than the one that took them.
    pub wandered: u64,
    /// Groups removed while this went on.
    pub removals: u64,
    /// How long it took.
    pub seconds: f64,
    /// The lives of all css.
    pub ledger: Arc<Ledger>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operations, misses, wandered, removals, seconds, ledger } = self;
        write!(f, "{operations} operations, {misses} misses, {wandered} wandered, ")?;
        write!(f, "{removals} removals in {seconds:.1} s; css: {ledger}")
    }
}

/// Runs a load to its end; afterwards everything is dropped, released and freed.
///
/// # Errors
///
/// What the core refused although nothing was wrong with it.
pub fn run(load: &Load) -> Result<Outcome, Failed> {
    let ledger = Arc::new(Ledger::default());
    let registry = Registry::builder().barrier(load.barrier).reclaimer(Reclaimer::Thread).build();
    let field = Field::new(&registry, &ledger, load)?;
    let mut progress = Progress::new(&format!("churn {:?}, seed {}", load.barrier, load.seed));
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..load.readers).map(|_| bounded(256)).unzip();

    thread::scope(|scope| {
        for (index, inbox) in receivers.into_iter().enumerate() {
            let (field, random) = (&field, Random::new(load.seed, index as u64));
            let outboxes = senders.clone();
            scope.spawn(move || Reader { field, random, inbox, outboxes, index }.run());
        }
        for index in 0..load.writers {
            let random = Random::new(load.seed, (load.readers + index) as u64);
            let field = &field;
            scope.spawn(move || field.write(index, random));
        }
        field.watch(load.operations, &mut progress);
    });
    drop(senders);
    field.finish(&registry, progress.seconds())
}

/// What the threads share.
struct Field {
    registry: Registry,
    hierarchy: Hierarchy,
    controller: Controller<Watch>,
    ledger: Arc<Ledger>,
    /// The child of each pair, as last created.
    slots: Vec<Mutex<Cgroup>>,
    stop: AtomicBool,
    operations: AtomicU64,
    misses: AtomicU64,
    wandered: AtomicU64,
    removals: AtomicU64,
    refused: Mutex<Option<String>>,
}

impl Field {
    fn new(registry: &Registry, ledger: &Arc<Ledger>, load: &Load) -> Result<Self, Failed> {
        let hierarchy = registry.create_hierarchy("stress")?;
        let controller = registry.register(Watch::new("watch", ledger))?;
        controller.bind(&hierarchy)?;
        let pair = |index| create(&hierarchy, index).map(Mutex::new);
        let slots = (0..load.slots).map(pair).collect::<Result<_, _>>()?;
        Ok(Self {
            registry: registry.clone(),
            hierarchy: hierarchy.clone(),
            controller,
            ledger: Arc::clone(ledger),
            slots,
            stop: AtomicBool::new(false),
            operations: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            wandered: AtomicU64::new(0),
            removals: AtomicU64::new(0),
            refused: Mutex::new(None),
        })
    }

    fn stopped(&self) -> bool {
        // Ordering: Relaxed: a little later will do.
        self.stop.load(Ordering::Relaxed)
    }

    fn watch(&self, operations: u64, progress: &mut Progress) {
        loop {
            // Ordering: Relaxed: statistics.
            let done = self.operations.load(Ordering::Relaxed);
            let removals = self.removals.load(Ordering::Relaxed);
            let line = || format!("{done} operations, {removals} removals, css: {}", self.ledger);
            let in_time = progress.tick(line);
            if done >= operations || !in_time || self.ledger.violations().is_some() {
                break;
            }
            if self.stopped() {
                break;
            }
            thread::sleep(std::time::Duration::from_millis(20));
        }
        // Ordering: Relaxed: see `stopped`.
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Removes and re-creates pairs, and moves a member in and out on the way.
    fn write(&self, index: usize, mut random: Random) {
        let mut writing = || -> Result<(), Failed> {
            let task = self.registry.create_task(&format!("writer{index}"))?;
            while !self.stopped() {
                let slot = random.below(self.slots.len());
                let mut child = lock(&self.slots[slot]);
                task.join(&child)?;
                task.leave(&self.hierarchy)?;
                *child = self.replace(&child, slot, random.below(2) == 0)?;
            }
            Ok(())
        };
        if let Err(error) = writing() {
            lock(&self.refused).get_or_insert_with(|| error.to_string());
            // Ordering: Relaxed: see `stopped`.
            self.stop.store(true, Ordering::Relaxed);
        }
    }

    fn replace(&self, child: &Cgroup, slot: usize, with_parent: bool) -> Result<Cgroup, Failed> {
        let parent = child.parent().ok_or("a child without a parent")?;
        child.remove(Removal::Detach)?;
        // Ordering: Relaxed: a statistic.
        self.removals.fetch_add(1 + u64::from(with_parent), Ordering::Relaxed);
        if !with_parent {
            return Ok(parent.create_child("c")?);
        }
        // Back to back, so that the child has no time to be freed first.
        parent.remove(Removal::Detach)?;
        create(&self.hierarchy, slot)
    }

    fn finish(self, registry: &Registry, seconds: f64) -> Result<Outcome, Failed> {
        if let Some(refused) = lock(&self.refused).take() {
            return Err(refused.into());
        }
        for slot in &self.slots {
            let child = lock(slot);
            let parent = child.parent().ok_or("a child without a parent")?;
            child.remove(Removal::Detach)?;
            parent.remove(Removal::Detach)?;
        }
        self.controller.unbind()?;
        self.controller.unregister()?;
        registry.wait_reclaimed()?;
        // Ordering: Relaxed: the threads are joined.
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Ok(Outcome {
            operations: count(&self.operations),
            misses: count(&self.misses),
            wandered: count(&self.wandered),
            removals: count(&self.removals),
            seconds,
            ledger: self.ledger,
        })
    }
}

/// Creates a group and its child; returns the child.
fn create(hierarchy: &Hierarchy, slot: usize) -> Result<Cgroup, Failed> {
    let parent = hierarchy.root().create_child(&format!("g{slot}"))?;
    Ok(parent.create_child("c")?)
}

/// One thread that takes references.
struct Reader<'a> {
    field: &'a Field,
    random: Random,
    inbox: Receiver<Wanderer>,
    outboxes: Vec<Sender<Wanderer>>,
    index: usize,
}

/// Lookups under one guard.
const BATCH: usize = 16;

impl Reader<'_> {
    fn run(mut self) {
        let mut weak = None;
        while !self.field.stopped() {
            let slot = self.random.below(self.field.slots.len());
            let group = lock(&self.field.slots[slot]).clone();
            let mut done = Done::default();
            for _ in 0..8 {
                self.batch(&group, &mut done);
                self.wander(&group, &mut weak, &mut done);
            }
            self.receive(&mut done);
            self.field.add(&done);
        }
        // The others may still send: their last ones are dropped with the channel.
    }

    /// The plain life of a reference: tried, cloned, looked through, dropped.
    fn batch(&mut self, group: &Cgroup, done: &mut Done) {
        let guard = self.field.registry.read();
        for turn in 0..BATCH {
            let found = guard.css(&self.field.controller, group);
            let css = found
                .and_then(|css| if turn % 2 == 0 { css.try_get() } else { css.try_get_online() });
            let Some(css) = css else {
                done.operations += 1;
                done.misses += 1;
                continue;
            };
            let other = css.clone();
            css.check();
            drop(css);
            other.check();
            done.operations += 4;
        }
    }

    /// Sends references to other threads, some of them from a weak one that may be too old.
    fn wander(&mut self, group: &Cgroup, weak: &mut Option<WeakCss<Canary>>, done: &mut Done) {
        let upgraded = weak.as_ref().and_then(WeakCss::upgrade);
        done.operations += u64::from(weak.is_some());
        let css = upgraded.or_else(|| self.field.controller.css(group));
        let Some(css) = css else { return };
        *weak = Some(CssRef::downgrade(&css));
        let outbox =
            (self.index + 1 + self.random.below(self.outboxes.len() - 1)) % self.outboxes.len();
        done.operations += 2;
        // A full inbox gives the reference back, and it is dropped here.
        self.outboxes[outbox].try_send(Wanderer::new(css)).ok();
    }

    fn receive(&self, done: &mut Done) {
        // All but a few, so that references stay under way for some time.
        let count = self.inbox.len().saturating_sub(8);
        done.wandered += self.inbox.try_iter().take(count).count() as u64;
    }
}

/// Counts of one turn, added up at its end.
#[derive(Default)]
struct Done {
    operations: u64,
    misses: u64,
    wandered: u64,
}

impl Field {
    fn add(&self, done: &Done) {
        // Ordering: Relaxed: statistics.
        self.operations.fetch_add(done.operations, Ordering::Relaxed);
        self.misses.fetch_add(done.misses, Ordering::Relaxed);
        self.wandered.fetch_add(done.wandered, Ordering::Relaxed);
    }
}
