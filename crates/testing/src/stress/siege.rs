//! Strict removals tried without end by one thread, while others take references and look whether the
//! css they hold is ever taken from under them, or refused to them although its group stays.
//!
//! One group has a css that is held all the time: there every removal is refused, and no reader of its
//! other css may notice. The other groups go as soon as a removal finds nobody.

use std::{fmt, hint};

use fief_core::{
    Barrier, Cgroup, Controller, Limit, Reclaimer, Registry, Removal, RemoveError, State,
};

use super::{
    Failed, Progress, Random,
    ledger::{Wanderer, Watch, strictly},
};
use crate::{
    sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, lock, thread},
    world::World,
};

/// What a load did.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// References taken and given back.
    pub held: u64,
    /// Tries that came too late: the group was removed.
    pub misses: u64,
    /// Strict removals carried out.
    pub removed: u64,
    /// Strict removals refused.
    pub refused: u64,
    /// How long it took.
    pub seconds: f64,
    /// The lives of all css.
    pub ledger: Arc<super::ledger::Ledger>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { held, misses, removed, refused, seconds, ledger } = self;
        write!(
            f,
            "{held} references held against {refused} removals refused and {removed} made, "
        )?;
        write!(f, "{misses} misses in {seconds:.1} s; css: {ledger}")
    }
}

/// Threads that hold references.
const READERS: u64 = 3;
/// Groups that come and go.
const SLOTS: usize = 2;

/// Holds `references` references in all.
///
/// # Errors
///
/// What the core refused although nothing was wrong with it.
pub fn run(barrier: Barrier, seed: u64, references: u64) -> Result<Outcome, Failed> {
    let registry = Registry::builder().barrier(barrier).reclaimer(Reclaimer::Thread).build();
    let world = World::new(registry, 2)?;
    let mut progress = Progress::new(&format!("siege {barrier:?}, seed {seed}"));
    let siege = Siege {
        pinned: world.create("pinned"),
        slots: (0..SLOTS).map(|slot| Mutex::new(world.create(&format!("g{slot}")))).collect(),
        world,
        stop: AtomicBool::new(false),
        held: AtomicU64::new(0),
        misses: AtomicU64::new(0),
    };
    let [_, io] = siege.controllers();
    let pin = io.css(&siege.pinned).ok_or("a new group without a css")?;

    let tried = thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|reader| {
                let (siege, random) = (&siege, Random::new(seed, reader));
                scope.spawn(move || siege.read(random, references / READERS))
            })
            .collect();
        let besieger = scope.spawn(|| siege.besiege(Random::new(seed, READERS), &mut progress));
        let ended = readers.into_iter().all(|reader| reader.join().is_ok());
        // Ordering: Relaxed: a little later will do.
        siege.stop.store(true, Ordering::Relaxed);
        let tried = besieger.join().map_err(|_| "the besieger panicked")?;
        if ended { tried } else { Err("a reader panicked".into()) }
    });
    let (removed, refused) = tried?;
    drop(pin);
    siege.finish(removed, refused, progress.seconds())
}

struct Siege {
    world: World,
    /// Never removed.
    pinned: Cgroup,
    slots: Vec<Mutex<Cgroup>>,
    stop: AtomicBool,
    held: AtomicU64,
    misses: AtomicU64,
}

impl Siege {
    fn controllers(&self) -> [&Controller<Watch>; 2] {
        [&self.world.controllers[0], &self.world.controllers[1]]
    }

    fn stopped(&self) -> bool {
        // Ordering: Relaxed: a little later will do.
        self.stop.load(Ordering::Relaxed) || self.world.ledger.violations().is_some()
    }

    fn read(&self, mut random: Random, references: u64) {
        let mut done = 0;
        while done < references && !self.stopped() {
            if random.below(2) == 0 {
                done += self.hold(&self.pinned, 0, &mut random);
            } else {
                let group = lock(&self.slots[random.below(SLOTS)]).clone();
                done += self.hold(&group, random.below(2), &mut random);
                // Now and then there is nobody.
                for _ in 0..random.below(400) {
                    hint::spin_loop();
                }
            }
        }
    }

    /// Takes a few references and gives them back; returns how many there were.
    fn hold(&self, group: &Cgroup, controller: usize, random: &mut Random) -> u64 {
        let (controller, ledger) = (self.controllers()[controller], &self.world.ledger);
        let mut held = 0;
        for _ in 0..16 {
            let Some(css) = controller.css(group).map(Wanderer::new) else {
                // It takes the lock that a removal holds until the group says that it is removed.
                let is_there = group.set_max_depth(Limit::Max).is_ok();
                ledger
                    .assert(!is_there, || "try_get_online failed, and the group stays".to_owned());
                // Ordering: Relaxed: a statistic.
                self.misses.fetch_add(1, Ordering::Relaxed);
                break;
            };
            let more = css.css().try_get_online().map(Wanderer::new);
            ledger.assert(more.is_some(), || "try_get_online failed beside a reference".to_owned());
            for _ in 0..random.below(30) {
                hint::spin_loop();
            }
            let state = css.css().state();
            ledger.assert(state == State::Online, || format!("{state:?} while a reference is out"));
            held += 2;
        }
        // Ordering: Relaxed: a statistic.
        self.held.fetch_add(held, Ordering::Relaxed);
        held
    }

    /// Tries to remove; returns how often that was done, and how often refused.
    fn besiege(&self, mut random: Random, progress: &mut Progress) -> Result<(u64, u64), Failed> {
        let (mut removed, mut refused, mut name) = (0, 0, 0_u64);
        while !self.stopped() {
            // Ordering: Relaxed: a statistic.
            let held = self.held.load(Ordering::Relaxed);
            if !progress.tick(|| format!("{held} held, {refused} refused, {removed} removed")) {
                // Ordering: Relaxed: see `stopped`.
                self.stop.store(true, Ordering::Relaxed);
            }
            let is_pinned = random.below(2) == 0;
            let slot = &self.slots[random.below(SLOTS)];
            let group = if is_pinned { self.pinned.clone() } else { lock(slot).clone() };
            if random.below(8) == 0 {
                group.set_notify_on_release(random.below(2) == 0)?;
            }
            match strictly(|| group.remove(Removal::Strict)) {
                Ok(()) if is_pinned => return Err("removed although a css is held".into()),
                Ok(()) => {
                    removed += 1;
                    name += 1;
                    let root = self.world.hierarchy.root();
                    *lock(slot) = root.create_child(&format!("h{name}"))?;
                }
                Err(RemoveError::InUse { .. }) => refused += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok((removed, refused))
    }

    fn finish(self, removed: u64, refused: u64, seconds: f64) -> Result<Outcome, Failed> {
        strictly(|| self.pinned.remove(Removal::Strict))?;
        for slot in &self.slots {
            strictly(|| lock(slot).remove(Removal::Strict))?;
        }
        self.world.end()?;
        let stats = self.world.registry.stats();
        if stats.removals_refused != refused || stats.css_freed != stats.css_created {
            return Err(format!("{refused} refused, but {stats:?}").into());
        }
        // Ordering: Relaxed: the threads are joined.
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (held, misses) = (count(&self.held), count(&self.misses));
        Ok(Outcome { held, misses, removed, refused, seconds, ledger: self.world.ledger })
    }
}
