//! One thread that looks at everything, and charges what it finds.

use std::collections::VecDeque;

use crossbeam_channel::{Receiver, Sender};
use fief_core::{Cache, Cgroup, Charge, Controller, Css, ReadGuard, Task};

use super::field::{Field, TRAP};
use crate::{
    stress::{
        Random,
        ledger::{CHARGES, Canary, Watch},
    },
    sync::{Arc, lock},
};

pub(super) struct Reader<'a> {
    field: &'a Field,
    index: usize,
    random: Random,
    inbox: Receiver<Charge<Canary>>,
    outboxes: Vec<Sender<Charge<Canary>>>,
    held: VecDeque<Charge<Canary>>,
    lookups: u64,
    charges: u64,
}

/// Of so many tasks one is charged for, at random.
const SAMPLE: usize = 32;
/// Charges that a reader keeps.
const HELD: usize = 128;

impl<'a> Reader<'a> {
    pub(super) fn new(
        field: &'a Field,
        index: usize,
        random: Random,
        inbox: Receiver<Charge<Canary>>,
        outboxes: Vec<Sender<Charge<Canary>>>,
    ) -> Self {
        let (held, lookups, charges) = (VecDeque::new(), 0, 0);
        Self { field, index, random, inbox, outboxes, held, lookups, charges }
    }

    /// Looks until the load ends; returns the charges that are held then.
    pub(super) fn run(mut self) -> Vec<Charge<Canary>> {
        let cache = self.field.registry.cache();
        while !self.field.stopped() {
            self.view();
            self.look_alone(&cache);
            self.hand_on();
            let (lookups, charges) =
                (std::mem::take(&mut self.lookups), std::mem::take(&mut self.charges));
            self.field.add(|counts| {
                counts.views += 1;
                counts.lookups += lookups;
                counts.charges += charges;
            });
        }
        drop(self.outboxes);
        // Whoever ends last finds nobody who sends.
        self.held.into_iter().chain(self.inbox).collect()
    }

    /// Resolves every task under one guard.
    fn view(&mut self) {
        let field = self.field;
        let guard = field.registry.read();
        let bound = [0, 1, 2].map(|mover| self.view_of(&guard, &field.movers[mover]));
        let ledger = &field.ledger;
        ledger.assert(bound[0] == bound[1], || format!("one view, and the pair is in {bound:?}"));
        for mover in &field.movers[..2] {
            let css = guard.task_css(mover, &field.rover);
            self.look_at_rover(css);
        }
        self.view_of_guest(&guard);
        for _ in 0..SAMPLE {
            self.visit(&guard);
        }
    }

    /// Resolves every task for one controller; returns the tree where it is bound.
    fn view_of(&mut self, guard: &ReadGuard<'_>, mover: &Controller<Watch>) -> Option<String> {
        let (field, ledger) = (self.field, &self.field.ledger);
        let root = guard.root_css(mover).and_then(|root| guard.cgroup(root))?;
        let bound = root.hierarchy();
        let tree = field.trees.iter().position(|tree| *tree == bound);
        ledger.assert(tree.is_some(), || format!("{bound:?} shows a root"));
        for still in &field.stills {
            for task in &still.tasks {
                let Some(css) = guard.task_css(mover, task) else {
                    ledger.assert(false, || format!("{task:?} has no css"));
                    continue;
                };
                self.lookups += 1;
                let shown_by = guard.cgroup(css);
                let is_right = css.name() == still.name
                    && tree.is_some_and(|tree| shown_by.as_ref() == Some(&still.groups[tree]));
                let text = || {
                    format!(
                        "{task:?} has the css of {}, shown by {shown_by:?} while {bound:?} has the root",
                        css.name()
                    )
                };
                ledger.assert(is_right, text);
                self.charge(css, false);
            }
        }
        let there = tree.map_or(0, |tree| tree);
        let still = &field.stills[self.random.below(field.stills.len())];
        let shown = still.groups.each_ref().map(|group| guard.css(mover, group).is_some());
        ledger.assert(shown[there] && !shown[1 - there], || {
            format!("{} is shown in {shown:?}, while the root is in {there}", still.name)
        });
        for seat in &field.seats {
            let guest = lock(seat).clone();
            if let Some(css) = guest.as_deref().and_then(|task| guard.task_css(mover, task)) {
                self.lookups += 1;
                self.look_at(guard, css, &root);
                self.charge(css, true);
            }
        }
        Some(bound.name())
    }

    /// A css that may be on its way out is the one of the group that shows it, in the same tree as others.
    fn look_at(&self, guard: &ReadGuard<'_>, css: &Css<Canary>, root: &Cgroup) {
        let group = guard.cgroup(css);
        let is_right = group.as_ref().is_some_and(|group| {
            let is_its_own = css.parent().is_none() || group.name() == css.name();
            is_its_own && group.hierarchy() == root.hierarchy()
        });
        let text = || format!("the css of {} is shown by {group:?}, under {root:?}", css.name());
        self.field.ledger.assert(is_right, text);
    }

    /// The rover is in a tree where the pair is not, or at the root.
    fn look_at_rover(&self, css: Option<&Css<Canary>>) {
        let is_right = css.is_some_and(|css| css.name() != TRAP);
        self.field.ledger.assert(is_right, || "the rover has a css that was never its".to_owned());
    }

    /// All tasks have the guest's root css, or each that of its group.
    fn view_of_guest(&mut self, guard: &ReadGuard<'_>) {
        let (field, ledger) = (self.field, &self.field.ledger);
        let mut at_root = 0;
        let mut tasks = 0;
        for still in &field.stills {
            for task in &still.tasks {
                let css = guard.task_css(&field.guest, task);
                let is_root = css.is_some_and(|css| css.parent().is_none());
                let is_right = is_root || css.is_some_and(|css| css.name() == still.name);
                ledger.assert(is_right, || format!("{task:?} has the css of another group"));
                if let Some(css) = css {
                    self.charge(css, true);
                }
                at_root += usize::from(is_root);
                tasks += 1;
            }
        }
        self.lookups += tasks as u64;
        let is_right = at_root == 0 || at_root == tasks;
        ledger.assert(is_right, || format!("{at_root} of {tasks} tasks have the root's css"));
    }

    /// Uses css of a group whose members have gone, for a moment or longer: it counts exactly, and agents are
    /// told when it is out of use.
    fn visit(&mut self, guard: &ReadGuard<'_>) {
        let field = self.field;
        let Some(pair) = field.ruin(&mut self.random) else { return };
        for controller in field.movers.iter().chain([&field.guest]) {
            for group in &pair {
                let Some(css) = guard.css(controller, group) else { continue };
                let is_right = css.name() == group.name();
                field
                    .ledger
                    .assert(is_right, || format!("{group:?} has the css of {}", css.name()));
                let held = css.try_get_online();
                self.lookups += 1;
                drop(held);
                self.charge(css, true);
            }
        }
    }

    /// Charges a css now and then; one that is on its way offline may refuse to be held.
    fn charge(&mut self, css: &Css<Canary>, may_refuse: bool) {
        if self.random.below(SAMPLE) > 0 {
            return;
        }
        let Some(held) = css.try_get_online() else {
            let ledger = &self.field.ledger;
            return ledger.assert(may_refuse, || format!("{} cannot be held", css.name()));
        };
        held.check();
        self.held.push_back(CHARGES.hold(&held, 1 + self.random.below(9) as u64));
        self.charges += 1;
    }

    /// Looks single tasks up, with a guard each and through a cache.
    fn look_alone(&mut self, cache: &Cache) {
        let field = self.field;
        for _ in 0..SAMPLE {
            let still = &field.stills[self.random.below(field.stills.len())];
            let task: &Task = &still.tasks[self.random.below(still.tasks.len())];
            let mover = &field.movers[self.random.below(field.movers.len())];
            for css in [task.css(mover), cache.css(mover, task)] {
                let is_right = css.as_ref().is_some_and(|css| css.name() == still.name);
                field.ledger.assert(is_right, || format!("{task:?} alone has css {css:?}"));
                self.lookups += 1;
            }
            for css in
                [field.rover.css(&field.movers[0]), cache.css(&field.movers[1], &field.rover)]
            {
                self.look_at_rover(css.as_deref());
            }
            let seat = &field.seats[self.random.below(field.seats.len())];
            let guest: Option<Arc<Task>> = lock(seat).clone();
            let css = guest.as_deref().and_then(|task| cache.css(mover, task));
            if let Some(css) = css {
                self.charge(&css, true);
            }
        }
    }

    /// Gives charges back, here or elsewhere.
    fn hand_on(&mut self) {
        while self.held.len() > HELD {
            let other = 1 + self.random.below(self.outboxes.len() - 1);
            let outbox = (self.index + other) % self.outboxes.len();
            if let Some(charge) = self.held.pop_front()
                && self.random.below(2) == 0
            {
                // A full inbox gives the charge back, and it is dropped here.
                self.outboxes[outbox].try_send(charge).ok();
            }
        }
        let received = self.inbox.len().saturating_sub(8);
        self.inbox.try_iter().take(received).for_each(drop);
    }
}
