//! Watches every css from its making to its drop.

use std::{cell::Cell, fmt, sync::OnceLock};

use fief_core::{Counter, Css, CssRef, HookError, Resource, Subsystem};

use crate::sync::{Arc, AtomicU8, AtomicU64, Mutex, Ordering, lock};

/// What became of all css of one load.
#[derive(Debug, Default)]
pub struct Ledger {
    /// How many passed into each stage.
    passed: [AtomicU64; 5],
    violations: AtomicU64,
    first: Mutex<Option<String>>,
}

/// The stages, in order; each css passes all of them, one by one.
const MADE: u8 = 0;
const ONLINE: u8 = 1;
const OFFLINE: u8 = 2;
const RELEASED: u8 = 3;
const FREED: u8 = 4;

impl Ledger {
    /// Returns how many css were made, and how many of them are freed.
    #[must_use]
    pub fn made_and_freed(&self) -> (u64, u64) {
        (self.count(MADE), self.count(FREED))
    }

    /// Returns the first thing that must not be, and how many there were.
    #[must_use]
    pub fn violations(&self) -> Option<String> {
        // Ordering: Relaxed: read when the threads are joined.
        let count = self.violations.load(Ordering::Relaxed);
        let first = lock(&self.first).clone();
        first.map(|first| format!("{count} violations, the first: {first}"))
    }

    /// Checks that every css made was onlined, offlined, released and freed.
    ///
    /// # Errors
    ///
    /// The first violation seen on the way, or the counts when they differ.
    pub fn settle(&self) -> Result<(), String> {
        if let Some(violations) = self.violations() {
            return Err(violations);
        }
        let made = self.count(MADE);
        let equal = (ONLINE..=FREED).all(|stage| self.count(stage) == made);
        if equal { Ok(()) } else { Err(format!("a css was lost: {self}")) }
    }

    fn count(&self, stage: u8) -> u64 {
        // Ordering: Relaxed: a statistic.
        self.passed[usize::from(stage)].load(Ordering::Relaxed)
    }

    fn pass(&self, stage: u8) {
        // Ordering: Relaxed: a statistic.
        self.passed[usize::from(stage)].fetch_add(1, Ordering::Relaxed);
    }

    /// Notes a violation unless `holds`.
    pub fn assert(&self, holds: bool, what: impl FnOnce() -> String) {
        if holds {
            return;
        }
        // Ordering: Relaxed: read when the threads are joined.
        self.violations.fetch_add(1, Ordering::Relaxed);
        lock(&self.first).get_or_insert_with(what);
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ["made", "online", "offline", "released", "freed"];
        let counts = (MADE..=FREED).zip(names).map(|(stage, name)| {
            let count = self.count(stage);
            format!("{name} {count}")
        });
        f.write_str(&counts.collect::<Vec<_>>().join(" "))
    }
}

/// The course of one css; outlives it, so that it can be asked after the css is gone.
#[derive(Debug)]
pub struct Life {
    stage: AtomicU8,
    /// Wanderers that are out.
    held: AtomicU64,
    parent: Option<Arc<Self>>,
}

impl Life {
    fn stage(&self) -> u8 {
        // Ordering: Acquire (edge advance→look): what came before the stage is seen with it.
        self.stage.load(Ordering::Acquire)
    }

    fn advance(&self, ledger: &Ledger, to: u8) {
        // Ordering: AcqRel (edge advance→look): a swap, so that each step is taken once.
        let from = self.stage.swap(to, Ordering::AcqRel);
        ledger.assert(from + 1 == to, || format!("stage {from} -> {to}"));
        ledger.pass(to);
    }
}

/// The state of a css: broken loudly when it is dropped.
#[derive(Debug)]
pub struct Canary {
    song: AtomicU64,
    life: Arc<Life>,
    ledger: Arc<Ledger>,
    /// The name of the group that the css was made for.
    name: OnceLock<String>,
    counter: Counter,
}

/// What may be charged to a css: given back when the css is dropped, or that is a violation.
pub const CHARGES: Resource<Canary> = Resource::new("watch.max", |canary| &canary.counter);

const ALIVE: u64 = 0xca4a_41e5_ca4a_41e5;
const DEAD: u64 = 0xdead_dead_dead_dead;

impl Canary {
    /// Checks that the css is neither freed nor released: for holders of a reference.
    pub fn check(&self) {
        // Ordering: Relaxed: whoever may look holds a reference, and that orders it.
        let song = self.song.load(Ordering::Relaxed);
        self.ledger.assert(song == ALIVE, || format!("canary reads {song:#x}"));
        self.held("seen by a holder");
    }

    /// Returns the name of the group that the css was made for; empty for a root.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.get().map_or("", String::as_str)
    }

    /// Tells whether two references are to one css.
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.life, &other.life)
    }

    fn held(&self, when: &str) {
        let stage = self.life.stage();
        self.ledger.assert(stage < RELEASED, || format!("stage {stage} {when}"));
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        // Ordering: Relaxed: nobody else is to be here.
        let song = self.song.swap(DEAD, Ordering::Relaxed);
        self.ledger.assert(song == ALIVE, || format!("dropped while the canary reads {song:#x}"));
        self.life.advance(&self.ledger, FREED);
        let (charged, bugs) = (self.counter.current(), self.counter.accounting_bugs());
        let text = || format!("{charged} is charged to a css that is freed, {bugs} wrong charges");
        self.ledger.assert(charged == 0 && bugs == 0, text);
        if let Some(parent) = &self.life.parent {
            let stage = parent.stage();
            self.ledger.assert(stage < FREED, || "a parent was freed before its child".to_owned());
        }
    }
}

/// A reference on its way through threads; checked against its css's life when it is given up.
///
/// Whoever removes strictly under [`strictly`] wants it to be one that was taken while the css was
/// online, or cloned from such a one.
#[derive(Debug)]
pub struct Wanderer {
    css: CssRef<Canary>,
    life: Arc<Life>,
    ledger: Arc<Ledger>,
}

impl Wanderer {
    /// Sends a reference on its way.
    #[must_use]
    pub fn new(css: CssRef<Canary>) -> Self {
        let (life, ledger) = (Arc::clone(&css.life), Arc::clone(&css.ledger));
        // Ordering: Relaxed: a removal that finds our reference gone sees what came before its drop.
        life.held.fetch_add(1, Ordering::Relaxed);
        Self { css, life, ledger }
    }

    /// Returns the reference.
    #[must_use]
    pub fn css(&self) -> &CssRef<Canary> {
        &self.css
    }
}

impl Drop for Wanderer {
    fn drop(&mut self) {
        // First without touching the css, which would be too late for a css that is gone.
        let stage = self.life.stage();
        self.ledger.assert(stage < RELEASED, || format!("stage {stage} while a reference is out"));
        self.css.check();
        // Ordering: Relaxed: as in `new`; the reference goes after this.
        self.life.held.fetch_sub(1, Ordering::Relaxed);
    }
}

thread_local! {
    /// The calling thread removes strictly.
    static STRICT: Cell<bool> = const { Cell::new(false) };
}

/// Runs a strict removal; a css that goes offline in it while a [`Wanderer`] is out is a violation.
pub fn strictly<R>(removal: impl FnOnce() -> R) -> R {
    STRICT.set(true);
    let result = removal();
    STRICT.set(false);
    result
}

/// The subsystem that keeps the ledger.
#[derive(Debug)]
pub struct Watch {
    name: String,
    ledger: Arc<Ledger>,
}

impl Watch {
    /// Makes a subsystem called `name`.
    #[must_use]
    pub fn new(name: &str, ledger: &Arc<Ledger>) -> Self {
        Self { name: name.to_owned(), ledger: Arc::clone(ledger) }
    }
}

impl Subsystem for Watch {
    type State = Canary;

    fn name(&self) -> &str {
        &self.name
    }

    fn new_css(&self, parent: Option<&Css<Canary>>) -> Result<Canary, HookError> {
        self.ledger.pass(MADE);
        let parent = parent.map(|parent| Arc::clone(&parent.life));
        let (stage, held) = (AtomicU8::new(MADE), AtomicU64::new(0));
        let life = Arc::new(Life { stage, held, parent });
        let (song, ledger) = (AtomicU64::new(ALIVE), Arc::clone(&self.ledger));
        Ok(Canary { song, life, ledger, name: OnceLock::new(), counter: Counter::new() })
    }

    fn online(&self, css: &Css<Canary>) -> Result<(), HookError> {
        css.life.advance(&self.ledger, ONLINE);
        css.name.get_or_init(|| css.cgroup().map(|group| group.name()).unwrap_or_default());
        Ok(())
    }

    fn offline(&self, css: &Css<Canary>) {
        css.life.advance(&self.ledger, OFFLINE);
        let parent = css.life.parent.as_ref().map_or(ONLINE, |parent| parent.stage());
        self.ledger.assert(parent == ONLINE, || format!("offline under a parent at {parent}"));
        // Ordering: Relaxed: see `Wanderer::new`.
        let held = css.life.held.load(Ordering::Relaxed);
        let is_free = held == 0 || !STRICT.get();
        self.ledger.assert(is_free, || format!("removed strictly while {held} references are out"));
        let tried = css.try_get_online();
        self.ledger.assert(tried.is_none(), || "try_get_online during offline".to_owned());
    }

    fn released(&self, css: &Css<Canary>) {
        css.life.advance(&self.ledger, RELEASED);
        let tried = css.try_get();
        self.ledger.assert(tried.is_none(), || "try_get during released".to_owned());
    }
}
