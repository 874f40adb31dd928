//! The subsystem of scripts under load: units in a real counter, and a second book beside it.

use fief_core::{
    ControlFile, Counter, Css, HookError, Limit, Resource, Subsystem, Tally,
    file::{parse, render},
};

use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, lock};

/// The subsystem.
#[derive(Debug)]
pub(super) struct Units {
    name: String,
    pub(super) book: Arc<Book>,
}

/// What all css of one subsystem say of themselves.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// What each css that is not dropped holds for itself, in whatever state it is.
    own: Mutex<Vec<Arc<AtomicU64>>>,
    /// Css dropped with something charged, or with a counter that was found wrong.
    pub(super) wrong: AtomicU64,
}

/// The state of one group.
#[derive(Debug)]
pub(super) struct State {
    pub(super) held: Counter,
    /// Units ever charged, here and below.
    pub(super) ever: Tally<1>,
    own: Arc<AtomicU64>,
    /// Whether there was room when the max was set.
    is_bounded: AtomicBool,
    book: Arc<Book>,
}

pub(super) const UNITS: Resource<State> =
    Resource::new("units.max", |state: &State| &state.held).with_unit("units");

const FILES: &[ControlFile] =
    &[ControlFile::read_write("max").not_on_root(), ControlFile::read_only("current")];

impl Units {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), book: Arc::default() }
    }
}

impl Book {
    /// Adds up what all css hold for themselves; callers see to it that nobody charges.
    pub(super) fn sum(&self) -> u64 {
        // Ordering: Relaxed: who charged has let go of the gate.
        lock(&self.own).iter().map(|own| own.load(Ordering::Relaxed)).sum()
    }
}

impl State {
    /// Counts what a thread has charged here.
    pub(super) fn note(&self, units: u64) {
        self.ever.add(0, units);
        // Ordering: Relaxed: read at rest only.
        self.own.fetch_add(units, Ordering::Relaxed);
    }

    /// Counts what a thread is about to give back.
    pub(super) fn note_back(&self, units: u64) {
        // Ordering: Relaxed: as in `note`.
        self.own.fetch_sub(units, Ordering::Relaxed);
    }

    /// Returns whether the usage is within a max that it was within when that was set.
    pub(super) fn is_within(&self) -> bool {
        // Ordering: Relaxed: set by whoever asks.
        let is_bounded = self.is_bounded.load(Ordering::Relaxed);
        !is_bounded || matches!(self.held.max(), Limit::At(max) if self.held.current() <= max)
    }
}

impl Subsystem for Units {
    type State = State;

    fn name(&self) -> &str {
        &self.name
    }

    fn new_css(&self, parent: Option<&Css<State>>) -> Result<State, HookError> {
        let own: Arc<AtomicU64> = Arc::default();
        lock(&self.book.own).push(Arc::clone(&own));
        Ok(State {
            held: Counter::new(),
            ever: parent.map_or_else(Tally::new, |parent| Tally::below(&parent.ever)),
            own,
            is_bounded: AtomicBool::new(false),
            book: Arc::clone(&self.book),
        })
    }

    fn files(&self) -> &[ControlFile] {
        FILES
    }

    fn read_file(&self, css: &Css<State>, file: &str) -> Result<String, HookError> {
        match file {
            "max" => Ok(render::value(css.held.max())),
            _ => Ok(render::value(css.held.current())),
        }
    }

    fn write_file(&self, css: &Css<State>, _file: &str, text: &str) -> Result<(), HookError> {
        let max = parse::limit(text)?;
        let found = css.held.set_max(max);
        let is_bounded = matches!(max, Limit::At(max) if found <= max);
        // Ordering: Relaxed: read by the thread that writes files.
        css.is_bounded.store(is_bounded, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // Ordering: Relaxed: nobody else has it any more.
        let own = self.own.load(Ordering::Relaxed);
        if own != 0 || self.held.current() != 0 || self.held.accounting_bugs() != 0 {
            self.book.wrong.fetch_add(1, Ordering::Relaxed);
        }
        if own == 0 {
            lock(&self.book.own).retain(|other| !Arc::ptr_eq(other, &self.own));
        }
    }
}
