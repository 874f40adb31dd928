//! The threads of scripts under load, and the books that they keep.

use std::{collections::VecDeque, iter};

use fief_core::{Cache, Charge, Controller, Css, CssRef, Registry, Task};

use super::{
    below,
    dock::Dock,
    refuse,
    staff::Staff,
    till::{Purse, Till},
    units::{State, UNITS, Units},
    yard::Yard,
};
use crate::{
    refusal::Failure,
    stress::Random,
    sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, RwLock, lock, read, thread, write},
};

/// A controller that is charged, and what the threads know of that.
#[derive(Debug, Clone)]
pub(super) struct Payee {
    pub(super) controller: Controller<Units>,
    ledger: Arc<Ledger>,
}

/// Units charged and given back by all threads.
#[derive(Debug, Default)]
struct Ledger {
    charged: AtomicU64,
    given_back: AtomicU64,
}

/// Units that some thread holds.
#[derive(Debug)]
struct Held {
    charge: Charge<State>,
    ledger: Arc<Ledger>,
}

/// What the threads share with each other, and with the script.
#[derive(Debug, Default)]
pub(super) struct Crew {
    tasks: Mutex<Vec<Arc<Task>>>,
    payees: Mutex<Vec<Payee>>,
    pub(super) staff: Staff,
    pub(super) till: Till,
    pub(super) yard: Yard,
    pub(super) dock: Dock,
    /// Read by who works, written by who wants rest.
    gate: RwLock<()>,
    /// Charges that whoever comes by gives back.
    left: Mutex<Vec<Held>>,
    stop: AtomicBool,
    lookups: AtomicU64,
    charges: AtomicU64,
    units: AtomicU64,
    refused: AtomicU64,
    complaint: Mutex<Option<String>>,
}

impl Payee {
    pub(super) fn new(controller: Controller<Units>) -> Self {
        Self { controller, ledger: Arc::default() }
    }

    /// What the threads hold; exact at rest.
    pub(super) fn held(&self) -> u64 {
        // Ordering: Relaxed, here and below: who changed them has let go of the gate, or was joined.
        let charged = self.ledger.charged.load(Ordering::Relaxed);
        charged.wrapping_sub(self.ledger.given_back.load(Ordering::Relaxed))
    }

    /// Sees that no css was freed with a charge, now that all are.
    pub(super) fn ended(&self) -> Result<(), Failure> {
        let book = &self.controller.subsystem().book;
        match book.wrong.load(Ordering::Relaxed) {
            0 if book.sum() == 0 => Ok(()),
            wrong => Err(refuse(format!("{wrong} css were freed with something charged"))),
        }
    }

    /// Compares everything, while nobody charges.
    fn compare(&self) -> Result<(), Failure> {
        let (name, held) = (self.controller.name(), self.held());
        let Some(root) = self.controller.root() else { return Ok(()) };
        let ever = self.ledger.charged.load(Ordering::Relaxed);
        let sums = [
            ("the root shows", root.held.current(), held),
            ("all css together hold", self.controller.subsystem().book.sum(), held),
            ("the root has tallied", root.ever.total()[0], ever),
        ];
        for (what, sum, expected) in sums {
            if sum != expected {
                let text = format!("{name}: {what} {sum}, the threads know of {expected}");
                return Err(refuse(text));
            }
        }
        let groups = self.controller.hierarchy().into_iter().flat_map(below);
        for css in groups.filter_map(|group| self.controller.css(&group)) {
            if !css.is_within() {
                let (path, usage, max) = (css.path(), css.held.current(), css.held.max());
                return Err(refuse(format!("{name}: {path} holds {usage}, and its max is {max}")));
            }
        }
        Ok(())
    }
}

impl Crew {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn add_task(&self, task: Task) {
        lock(&self.tasks).push(Arc::new(task));
    }

    pub(super) fn task(&self, name: &str) -> Option<Arc<Task>> {
        lock(&self.tasks).iter().find(|task| task.name() == name).cloned()
    }

    /// Ends `task`, when no thread looks up for it any more.
    pub(super) fn end_task(&self, task: Arc<Task>) {
        lock(&self.tasks).retain(|other| !Arc::ptr_eq(other, &task));
        while Arc::strong_count(&task) > 1 {
            thread::yield_now();
        }
    }

    pub(super) fn end_all_tasks(&self) {
        let tasks = std::mem::take(&mut *lock(&self.tasks));
        drop(tasks);
    }

    pub(super) fn add_payee(&self, payee: Payee) {
        lock(&self.payees).push(payee);
    }

    pub(super) fn payee(&self, name: &str) -> Option<Payee> {
        lock(&self.payees).iter().find(|payee| payee.controller.name() == name).cloned()
    }

    pub(super) fn take_payees(&self) -> Vec<Payee> {
        std::mem::take(&mut *lock(&self.payees))
    }

    /// Lookups, units ever charged, and charges refused.
    pub(super) fn counts(&self) -> (u64, u64, u64) {
        // Ordering: Relaxed: the threads were joined.
        let [lookups, units, refused] =
            [&self.lookups, &self.units, &self.refused].map(|count| count.load(Ordering::Relaxed));
        (lookups, units, refused)
    }

    /// What a thread found wrong.
    pub(super) fn complaint(&self) -> Option<String> {
        lock(&self.complaint).clone()
    }

    /// Has the threads give everything back and end.
    pub(super) fn stop(&self) {
        // Ordering: Relaxed: whoever sees it late does one piece more.
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for `charges` more, granted or refused.
    pub(super) fn wait(&self, charges: u64) -> Result<(), Failure> {
        if lock(&self.tasks).is_empty() || lock(&self.payees).is_empty() {
            return Err(refuse("there is no task, or no subsystem, to work for".to_owned()));
        }
        // Ordering: Relaxed: a count.
        let now = || self.charges.load(Ordering::Relaxed);
        let start = now();
        while now() - start < charges && self.complaint().is_none() {
            thread::yield_now();
        }
        Ok(())
    }

    /// Stops the threads for as long as it takes to compare all sums.
    pub(super) fn compare(&self, registry: &Registry) -> Result<(), Failure> {
        let rest = write(&self.gate);
        let charges = lock(&self.payees).iter().try_for_each(Payee::compare);
        let result = charges.and_then(|()| self.staff.compare(registry));
        let result = result.and_then(|()| self.till.compare());
        let result = result.and_then(|()| self.yard.compare(registry));
        let result = result.and_then(|()| self.dock.compare());
        drop(rest);
        result
    }

    /// A thread's life.
    pub(super) fn work(&self, registry: &Registry, index: u64) {
        let cache = registry.cache();
        let mut random = Random::new(SEED, index);
        let mut held = VecDeque::with_capacity(HELD + 1);
        let mut own = VecDeque::new();
        let mut purse = Purse::new(&self.till);
        // Ordering: Relaxed: see `stop`.
        while !self.stop.load(Ordering::Relaxed) {
            let at_work = read(&self.gate);
            let found = self.pick(&mut random);
            let Some((task, payee)) = found else {
                drop(at_work);
                thread::yield_now();
                continue;
            };
            for way in 0..3 {
                match self.look_up(registry, &cache, (&task, &payee), way) {
                    Some(css) => self.charge(&css, &payee, &mut random, &mut held),
                    None => self.complain(format!("{} found no css", task.name())),
                }
            }
            if let Err(failure) = self.staff.turn(registry, &task, &mut random, &mut own) {
                self.complain(failure.text);
            }
            purse.turn(&task, &mut random);
            if let Err(failure) = self.yard.turn(&task, &mut random) {
                self.complain(failure.text);
            }
            if let Err(failure) = self.dock.turn(&task, &mut random) {
                self.complain(failure.text);
            }
            drop(task);
            while held.len() > HELD {
                self.give_back(held.pop_front());
            }
            self.exchange(&mut random, &mut held);
        }
        let all = held.into_iter().chain(iter::from_fn(|| lock(&self.left).pop()));
        all.for_each(|held| self.give_back(Some(held)));
    }

    /// Returns some task and some controller.
    fn pick(&self, random: &mut Random) -> Option<(Arc<Task>, Payee)> {
        let payees = lock(&self.payees);
        let payee = payees.get(random.below(payees.len().max(1)))?.clone();
        drop(payees);
        let tasks = lock(&self.tasks);
        let task = Arc::clone(tasks.get(random.below(tasks.len().max(1)))?);
        Some((task, payee))
    }

    /// Finds the css that counts for a task: by itself, by the cache, or under a guard.
    fn look_up(
        &self,
        registry: &Registry,
        cache: &Cache,
        (task, payee): (&Task, &Payee),
        way: u32,
    ) -> Option<CssRef<State>> {
        // Ordering: Relaxed: a count.
        self.lookups.fetch_add(1, Ordering::Relaxed);
        match way {
            0 => task.css(&payee.controller),
            1 => cache.css(&payee.controller, task),
            _ => {
                let guard = registry.read();
                let css = guard.task_css(&payee.controller, task)?;
                // It may be on its way offline in the view of this guard, with groups above it.
                iter::successors(Some(css), |css| css.parent()).find_map(Css::try_get_online)
            }
        }
    }

    fn charge(
        &self,
        css: &CssRef<State>,
        payee: &Payee,
        random: &mut Random,
        held: &mut VecDeque<Held>,
    ) {
        let units = 1 + random.below(MOST) as u64;
        // Ordering: Relaxed, all: counts, compared at rest.
        self.charges.fetch_add(1, Ordering::Relaxed);
        let Ok(charge) = UNITS.try_hold(css, units) else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            self.give_back(held.pop_front());
            return;
        };
        css.note(units);
        self.units.fetch_add(units, Ordering::Relaxed);
        payee.ledger.charged.fetch_add(units, Ordering::Relaxed);
        held.push_back(Held { charge, ledger: Arc::clone(&payee.ledger) });
    }

    fn give_back(&self, held: Option<Held>) {
        let Some(Held { charge, ledger }) = held else { return };
        // Ordering: Relaxed: as in `charge`.
        ledger.given_back.fetch_add(charge.amount(), Ordering::Relaxed);
        charge.css().note_back(charge.amount());
        drop(charge);
    }

    /// Leaves one charge to the others, and gives one of theirs back.
    fn exchange(&self, random: &mut Random, held: &mut VecDeque<Held>) {
        if random.below(4) == 0 {
            let mut left = lock(&self.left);
            left.extend(held.pop_front());
            let theirs = if left.len() > HELD { Some(left.swap_remove(0)) } else { None };
            drop(left);
            self.give_back(theirs);
        }
    }

    fn complain(&self, text: String) {
        lock(&self.complaint).get_or_insert(text);
    }
}

/// Charges that a thread holds, and that are left to all.
const HELD: usize = 32;

/// The most units of one charge.
const MOST: usize = 8;

const SEED: u64 = 0x2007_0705;

#[cfg(test)]
mod tests {
    use super::*;

    use fief_core::{Cgroup, Removal};

    /// A registry with a group, a css of it, and what the threads know, which is nothing.
    fn payee() -> (Registry, Cgroup, Payee, CssRef<State>) {
        let registry = Registry::new();
        let hierarchy = registry.create_hierarchy("test").unwrap();
        let controller = registry.register(Units::new("bytes")).unwrap();
        controller.bind(&hierarchy).unwrap();
        let group = hierarchy.root().create_child("web").unwrap();
        let css = controller.css(&group).unwrap();
        (registry, group, Payee::new(controller), css)
    }

    fn complaint(payee: &Payee) -> String {
        payee.compare().unwrap_err().text
    }

    #[test]
    fn each_sum_that_differs_is_told() {
        let (_registry, _group, payee, css) = payee();
        payee.compare().unwrap();
        let charge = UNITS.try_hold(&css, 3).unwrap();
        assert_eq!(complaint(&payee), "bytes: the root shows 3, the threads know of 0");
        payee.ledger.charged.fetch_add(3, Ordering::Relaxed);
        assert_eq!(complaint(&payee), "bytes: all css together hold 0, the threads know of 3");
        css.note(2);
        css.note(1);
        payee.compare().unwrap();
        css.ever.add(0, 1);
        assert_eq!(complaint(&payee), "bytes: the root has tallied 4, the threads know of 3");
        drop(charge);
        assert_eq!(complaint(&payee), "bytes: the root shows 0, the threads know of 3");
    }

    #[test]
    fn a_usage_above_its_max_is_told_unless_it_was_there_before() {
        let (_registry, group, payee, css) = payee();
        let hold = || {
            payee.ledger.charged.fetch_add(6, Ordering::Relaxed);
            css.note(6);
            UNITS.hold(&css, 6)
        };
        let before = hold();
        group.write("bytes.max", "5").unwrap();
        payee.compare().unwrap();
        group.write("bytes.max", "8").unwrap();
        let after = hold();
        assert_eq!(complaint(&payee), "bytes: /web holds 12, and its max is 8");
        drop((before, after));
    }

    #[test]
    fn a_css_that_is_freed_with_something_charged_is_told() {
        let (registry, group, payee, css) = payee();
        UNITS.charge(&css, 1);
        drop(css);
        group.remove(Removal::Detach).unwrap();
        registry.wait_reclaimed().unwrap();
        let error = payee.ended().unwrap_err();
        assert_eq!(error.text, "1 css were freed with something charged");
    }
}
