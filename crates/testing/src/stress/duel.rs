//! One css a round, killed while some threads clone and drop references to it as fast as they can.
//!
//! The kill makes the count exact by asking every thread's cell; what a thread counts at that very
//! moment must be found there or be counted by the thread itself, not both and not neither. A
//! count lost either way shows as a css that is released too early, or never.

use std::fmt;

use crossbeam_channel::{Receiver, Sender, bounded};
use fief_core::{Barrier, Controller, Hierarchy, Reclaimer, Registry, Removal, State};

use super::{
    Failed, Progress, Random,
    ledger::{Ledger, Wanderer, Watch},
};
use crate::sync::{Arc, thread};

/// What a load did.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// Css killed under somebody's hands.
    pub kills: u64,
    /// Gets and puts.
    pub operations: u64,
    /// How long it took.
    pub seconds: f64,
    /// The lives of all css.
    pub ledger: Arc<Ledger>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kills, operations, seconds, ledger } = self;
        write!(f, "{kills} kills against {operations} operations in {seconds:.1} s; css: {ledger}")
    }
}

/// Threads that clone and drop.
const READERS: u64 = 2;

/// Kills `kills` css.
///
/// # Errors
///
/// What the core refused although nothing was wrong with it.
pub fn run(barrier: Barrier, seed: u64, kills: u64) -> Result<Outcome, Failed> {
    let ledger = Arc::new(Ledger::default());
    let registry = Registry::builder().barrier(barrier).reclaimer(Reclaimer::Thread).build();
    let hierarchy = registry.create_hierarchy("duel")?;
    let controller = registry.register(Watch::new("watch", &ledger))?;
    controller.bind(&hierarchy)?;
    let mut progress = Progress::new(&format!("duel {barrier:?}, seed {seed}"));
    let arena = Arena { hierarchy, controller: controller.clone(), ledger: Arc::clone(&ledger) };

    let (killed, operations) = thread::scope(|scope| {
        let (senders, readers): (Vec<_>, Vec<_>) = (0..READERS)
            .map(|_| {
                let (sender, inbox) = bounded(2);
                (sender, scope.spawn(move || read(&inbox)))
            })
            .unzip();
        let killed = arena.kill(kills, &senders, Random::new(seed, 0), &mut progress);
        drop(senders);
        let done = readers.into_iter().map(|reader| reader.join().unwrap_or(0)).sum();
        (killed, done)
    });
    let kills = killed?;
    controller.unbind()?;
    controller.unregister()?;
    registry.wait_reclaimed()?;
    Ok(Outcome { kills, operations, seconds: progress.seconds(), ledger })
}

/// Where the css live.
struct Arena {
    hierarchy: Hierarchy,
    controller: Controller<Watch>,
    ledger: Arc<Ledger>,
}

impl Arena {
    fn kill(
        &self,
        kills: u64,
        readers: &[Sender<Wanderer>],
        mut random: Random,
        progress: &mut Progress,
    ) -> Result<u64, Failed> {
        for killed in 0..kills {
            let line = || format!("{killed} kills, css: {}", self.ledger);
            let is_due = killed.is_multiple_of(1024);
            if is_due && (!progress.tick(line) || self.ledger.violations().is_some()) {
                return Ok(killed);
            }
            let group = self.hierarchy.root().create_child("g")?;
            let css = self.controller.css(&group).ok_or("a new group without a css")?;
            for reader in readers {
                reader.send(Wanderer::new(css.clone()))?;
            }
            for _ in 0..random.below(200) {
                drop(css.clone());
            }
            drop(css);
            group.remove(Removal::Detach)?;
        }
        Ok(kills)
    }
}

/// Clones and drops each css until it is offline; returns how many gets and puts that took.
fn read(inbox: &Receiver<Wanderer>) -> u64 {
    let mut done = 0;
    for held in inbox {
        let css = held.css();
        while css.state() == State::Online {
            for _ in 0..16 {
                drop(css.clone());
            }
            done += 32;
        }
        // And a little longer, while it is killed.
        for _ in 0..16 {
            drop(css.clone());
        }
        done += 33;
    }
    done
}
