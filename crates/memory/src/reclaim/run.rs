//! One reclaim: its steps and rounds.

use std::collections::HashSet;

use crate::{
    events::{Events, Kind},
    node::Node,
    protect::{Keep, shares::shares},
    reclaim::{
        Goal, Outcome, Pass, Reclaimed,
        registration::{Called, Giver},
        walk::{self, Place, Side},
    },
    stock::drain::drain,
    sync::Arc,
};

/// At most so many rounds in one step: those who give a byte at a time are not asked for ever.
const ROUNDS: usize = 64;

/// The least worth asking for is at most this part of what is in use, so that small pools keep proportions too.
const FLOOR_PART: u64 = 64;

/// The least worth a call, in bytes; and a larger want is divided among as many as this, so that it is in proportion.
const WORTH_A_CALL: u64 = 4 << 10;
const MOST_CALLS: u64 = 16;

/// A reclaim that is under way.
pub(super) struct Run<'a> {
    at: &'a Arc<Node>,
    asker: Option<&'a Arc<Node>>,
    goal: Goal,
    outcome: Outcome,
    /// Those who are not asked again, by address; who comes to be at one that was given up is not asked either.
    tired: HashSet<usize>,
    /// Keys of the nodes that have had the event.
    low: HashSet<u64>,
}

/// Somebody who may be asked, and for how much at most.
struct Part<'a> {
    place: &'a Place,
    giver: &'a Arc<Giver>,
    most: u64,
}

impl<'a> Run<'a> {
    pub(super) fn new(at: &'a Arc<Node>, asker: Option<&'a Arc<Node>>, goal: Goal) -> Self {
        let (tired, low) = (HashSet::new(), HashSet::new());
        Self { at, asker, goal, outcome: Outcome::default(), tired, low }
    }

    pub(super) fn run(mut self, deepest: Pass) -> Outcome {
        if self.left() > 0 {
            // What is charged ahead is nobody's, and not theirs to give.
            drain(self.at);
            self.go(deepest);
        }
        self.outcome
    }

    fn go(&mut self, deepest: Pass) {
        for keep in [Keep::Low, Keep::Min] {
            for pass in [Pass::Benign, Pass::Evict] {
                if pass <= deepest && self.is_enough_after(keep, pass) {
                    return;
                }
            }
            if Pass::Spill <= deepest && self.spill(keep) {
                return;
            }
        }
        for keep in [Keep::Low, Keep::Min] {
            if Pass::Destructive <= deepest && self.is_enough_after(keep, Pass::Destructive) {
                return;
            }
        }
    }

    fn left(&self) -> u64 {
        self.goal.left(self.at, self.outcome.freed)
    }

    /// Returns the least worth asking an owner to spill.
    fn floor(&self) -> u64 {
        self.at.shared.reclaim.floor.min(self.at.counter.current() / FLOOR_PART).max(1)
    }

    /// Returns the least worth calling a reclaimer for, if `left` is lacking.
    fn floor_of_call(&self, left: u64) -> u64 {
        self.floor().min(WORTH_A_CALL.max(left / MOST_CALLS))
    }

    fn sides(&self) -> Vec<Side> {
        self.asker
            .map_or_else(|| vec![Side::All], |asker| walk::sides(&walk::snapshot(self.at), asker))
    }

    /// Takes what there is to take in one step; returns whether that is enough.
    fn is_enough_after(&mut self, keep: Keep, pass: Pass) -> bool {
        for side in self.sides() {
            for _ in 0..ROUNDS {
                if self.left() == 0 {
                    return true;
                }
                if !self.round(keep, pass, side) {
                    break;
                }
            }
        }
        self.left() == 0
    }

    /// Asks for half of what there is, or all that is lacking; returns whether anything came of it.
    fn round(&mut self, keep: Keep, pass: Pass, side: Side) -> bool {
        let places = walk::snapshot(self.at);
        let parts = self.parts(&places, keep, pass, side);
        let total = parts.iter().fold(0_u64, |sum, part| sum.saturating_add(part.most));
        let floor = self.floor_of_call(self.left());
        let quotas = quotas(self.left().min((total / 2).max(floor)), &parts, floor);
        let mut is_of_use = false;
        for (part, quota) in parts.iter().zip(quotas).filter(|&(_, quota)| quota > 0) {
            if self.left() == 0 {
                return true;
            }
            is_of_use |= self.ask(part, quota, keep);
        }
        is_of_use
    }

    /// Returns who may be asked in a step, and for how much at most.
    fn parts<'p>(
        &mut self,
        places: &'p [Place],
        keep: Keep,
        pass: Pass,
        side: Side,
    ) -> Vec<Part<'p>> {
        let mut parts = Vec::new();
        for place in places.iter().filter(|&place| side.has(place)) {
            let eligible = place.kept.eligible(keep);
            let mut own: Vec<Part<'p>> = Vec::new();
            for giver in place.givers.iter().filter(|giver| giver.pass == pass && eligible > 0) {
                let most = self.estimate(giver).min(eligible);
                own.push(Part { place, giver, most });
            }
            let total = own.iter().map(|part| u128::from(part.most)).sum::<u128>();
            if total > eligible.into() {
                for part in &mut own {
                    let share = u128::from(part.most) * u128::from(eligible) / total;
                    part.most = u64::try_from(share).unwrap_or(u64::MAX);
                }
            }
            parts.extend(own.into_iter().filter(|part| part.most > 0));
        }
        parts
    }

    /// Returns how much somebody says to have; nothing if it is not to be asked.
    fn estimate(&mut self, giver: &Arc<Giver>) -> u64 {
        if self.tired.contains(&address(giver)) || giver.sweep.is_out_or_futile(giver) {
            return 0;
        }
        match giver.estimate() {
            Called::Returned(bytes) => bytes,
            Called::Busy => {
                self.note_busy(giver);
                0
            }
            Called::Panicked | Called::Gone => {
                self.tired.insert(address(giver));
                0
            }
        }
    }

    /// Asks one reclaimer; returns whether anything came of it.
    fn ask(&mut self, part: &Part<'_>, quota: u64, keep: Keep) -> bool {
        let Part { place, giver, .. } = part;
        self.note_low(place, quota, keep);
        giver.sweep.begin(giver);
        let before = [self.at, &place.node].map(|node| node.counter.current());
        let called = giver.ask(self.at, quota, keep == Keep::Min);
        // What it uncharged may lie with this thread.
        drain(&place.node);
        let after = [self.at, &place.node].map(|node| node.counter.current());
        // Charges that came between hide what it gave at one of the two, or at both; then it counts as nothing.
        let freed = before.iter().zip(after).map(|(before, after)| before.saturating_sub(after));
        let freed = freed.max().unwrap_or(0);
        self.outcome.freed += freed;
        if freed == 0 {
            self.tired.insert(address(giver));
        }
        if let Called::Returned(Reclaimed::Busy) | Called::Busy = called {
            self.note_busy(giver);
        }
        giver.note(|stats| {
            stats.asked += 1;
            stats.freed += freed;
            if let Called::Returned(Reclaimed::Done(bytes)) = called {
                stats.reported = stats.reported.saturating_add(bytes);
            }
        });
        freed > 0
    }

    fn note_busy(&mut self, giver: &Arc<Giver>) {
        self.tired.insert(address(giver));
        self.outcome.is_busy = true;
        giver.note(|stats| stats.busy += 1);
    }

    /// Sees that a group is asked for what `low` would keep.
    fn note_low(&mut self, place: &Place, quota: u64, keep: Keep) {
        let is_protected = keep == Keep::Min && place.kept.eligible(Keep::Low) < quota;
        if is_protected && self.low.insert(place.node.key) {
            Events::note(&place.node, Kind::Low);
        }
    }

    /// Asks owners to spill what is lacking; returns whether that, and what is under way, will be enough.
    fn spill(&mut self, keep: Keep) -> bool {
        let places = walk::snapshot(self.at);
        let givers = places.iter().flat_map(|place| &place.givers);
        let under_way =
            givers.map(|giver| giver.sweep.under_way(giver)).fold(0, u64::saturating_add);
        self.outcome.started = self.outcome.started.max(under_way);
        let mut left = self.left().saturating_sub(under_way);
        for side in self.sides() {
            if left == 0 {
                return true;
            }
            let parts = self.parts(&places, keep, Pass::Spill, side);
            let quotas = quotas(left, &parts, self.floor());
            for (part, quota) in parts.iter().zip(quotas).filter(|&(_, quota)| quota > 0) {
                let started = self.start(part, quota, keep);
                self.outcome.started = self.outcome.started.saturating_add(started);
                left = left.saturating_sub(started);
            }
        }
        left == 0 || self.left() == 0
    }

    /// Asks one owner, or one reclaimer that has it done; returns how much is to come.
    fn start(&mut self, part: &Part<'_>, quota: u64, keep: Keep) -> u64 {
        if part.giver.is_owner() {
            self.note_low(part.place, quota, keep);
            part.giver.note(|stats| stats.asked += 1);
            return part.giver.sweep.ask(part.giver, quota);
        }
        self.ask(part, quota, keep);
        part.giver.sweep.under_way(part.giver)
    }
}

fn quotas(want: u64, parts: &[Part<'_>], floor: u64) -> Vec<u64> {
    let parts: Vec<_> = parts.iter().map(|part| (part.most, part.giver.weight)).collect();
    shares(want, &parts, floor)
}

fn address(giver: &Arc<Giver>) -> usize {
    Arc::as_ptr(giver).addr()
}
