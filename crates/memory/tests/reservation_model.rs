//! Random lives of several reservations in a random tree, against plain sums.
//!
//! One thread, so nothing is refused for what others hold at that moment: what is refused must be what the
//! sums refuse, and what is charged must be what the reservations say, to the byte, after each step.

use std::env;

use fief_core::{Cgroup, Controller, CssRef, Hierarchy, Limit, Registry, Removal};
use fief_memory::{ChargeError, Memory, MemoryCss, Reservation};
use proptest::{
    prelude::{Just, Strategy, prop},
    prop_oneof, proptest,
    test_runner::{Config, FileFailurePersistence},
};

#[derive(Clone, Debug)]
enum Step {
    Create(usize),
    Detach(usize),
    Reserve(usize),
    Drop(usize),
    Grow(usize, u64),
    Force(usize, u64),
    Shrink(usize, u64),
    Resize(usize, u64),
    Keep(usize, u64),
    Free(usize),
    Split(usize, u64),
    Merge(usize, usize),
    Transfer(usize, usize),
    SetMax(usize, Limit),
    Drain,
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn reservations_are_plain_sums(steps in prop::collection::vec(step(), 1..100)) {
        let mut session = Session::new();
        for step in &steps {
            session.apply(step);
            session.compare();
        }
        session.end();
    }
}

fn config() -> Config {
    let cases = env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let file = FileFailurePersistence::Direct("proptest-regressions/reservations.txt");
    Config {
        cases: cases.unwrap_or(128),
        failure_persistence: Some(Box::new(file)),
        max_shrink_iters: 20_000,
        ..Config::default()
    }
}

fn step() -> impl Strategy<Value = Step> {
    let any = || 0..usize::MAX;
    let bytes = || {
        prop_oneof![
            6 => 0..3000_u64,
            3 => 0..100_000_u64,
            1 => Just(0),
            1 => Just(u64::MAX),
        ]
    };
    let max = prop_oneof![
        1 => (0..5000_u64).prop_map(Limit::At),
        3 => (30_000..600_000_u64).prop_map(Limit::At),
        1 => Just(Limit::Max),
    ];
    prop_oneof![
        2 => any().prop_map(Step::Create),
        1 => any().prop_map(Step::Detach),
        3 => any().prop_map(Step::Reserve),
        1 => any().prop_map(Step::Drop),
        9 => (any(), bytes()).prop_map(|(one, bytes)| Step::Grow(one, bytes)),
        2 => (any(), 0..100_000_u64).prop_map(|(one, bytes)| Step::Force(one, bytes)),
        8 => (any(), bytes()).prop_map(|(one, bytes)| Step::Shrink(one, bytes)),
        2 => (any(), bytes()).prop_map(|(one, bytes)| Step::Resize(one, bytes)),
        2 => (any(), bytes()).prop_map(|(one, bytes)| Step::Keep(one, bytes)),
        1 => any().prop_map(Step::Free),
        3 => (any(), bytes()).prop_map(|(one, bytes)| Step::Split(one, bytes)),
        2 => (any(), any()).prop_map(|(one, other)| Step::Merge(one, other)),
        3 => (any(), any()).prop_map(|(one, group)| Step::Transfer(one, group)),
        2 => (any(), max).prop_map(|(group, max)| Step::SetMax(group, max)),
        1 => Just(Step::Drain),
    ]
}

/// The most that one reservation may have.
const MOST: u64 = 1 << 47;

/// The max of the root: never reached, but by whoever wants all called in.
const ROOT_MAX: u64 = 1 << 46;

struct Group {
    cgroup: Cgroup,
    parent: Option<usize>,
    max: Limit,
    is_removed: bool,
}

/// A reservation and what it should be.
struct Pair {
    real: Reservation,
    /// The group that answers for it.
    at: usize,
    /// Whether its own group is gone.
    is_orphan: bool,
    used: u64,
    kept: u64,
}

struct Session {
    hierarchy: Hierarchy,
    memory: Controller<Memory>,
    groups: Vec<Group>,
    pairs: Vec<Pair>,
}

impl Pair {
    fn charged(&self) -> u64 {
        self.used.max(self.kept)
    }
}

impl Session {
    fn new() -> Self {
        let registry = Registry::new();
        let hierarchy = registry.create_hierarchy("h").expect("the name is free");
        let memory = registry.register(Memory::new()).expect("the name is free");
        memory.bind(&hierarchy).expect("it is inactive");
        let mut session = Self { hierarchy, memory, groups: Vec::new(), pairs: Vec::new() };
        session.add(session.hierarchy.root(), None, Limit::At(ROOT_MAX));
        session.apply(&Step::Create(0));
        session.apply(&Step::Create(0));
        session.apply(&Step::Create(1));
        session
    }

    fn add(&mut self, cgroup: Cgroup, parent: Option<usize>, max: Limit) {
        self.groups.push(Group { cgroup, parent, max, is_removed: false });
        self.css(self.groups.len() - 1).set_max(max);
    }

    fn css(&self, group: usize) -> CssRef<MemoryCss> {
        self.memory.css(&self.groups[group].cgroup).expect("it lives")
    }

    /// Chooses a group that lives.
    fn choose(&self, index: usize) -> usize {
        let living = (0..self.groups.len()).filter(|group| !self.groups[*group].is_removed);
        let living: Vec<usize> = living.collect();
        living[index % living.len()]
    }

    fn levels(&self, group: usize) -> Vec<usize> {
        std::iter::successors(Some(group), |group| self.groups[*group].parent).collect()
    }

    fn usage(&self, group: usize, of: impl Fn(&Pair) -> u64) -> u64 {
        let below = self.pairs.iter().filter(|pair| self.levels(pair.at).contains(&group));
        below.map(of).sum()
    }

    /// Returns whether `bytes` more fit at all of `levels`.
    fn fits(&self, levels: &[usize], bytes: u64) -> bool {
        let fits = |level: &usize| {
            self.groups[*level].max.allows(self.usage(*level, Pair::charged) + bytes)
        };
        bytes == 0 || levels.iter().all(fits)
    }

    /// Says whether a reservation can have so much used and kept, by the sums.
    fn allows(&self, index: usize, used: u64, kept: u64) -> bool {
        let pair = &self.pairs[index];
        let lacking = used.max(kept).saturating_sub(pair.charged());
        used <= MOST
            && kept <= MOST
            && (lacking == 0 || !pair.is_orphan && self.fits(&self.levels(pair.at), lacking))
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Create(parent) => self.create(parent),
            Step::Detach(group) => self.detach(self.choose(group)),
            Step::Reserve(group) => self.reserve(self.choose(group)),
            Step::SetMax(group, max) => {
                let group = self.choose(group).max(1);
                if !self.groups[group].is_removed {
                    self.groups[group].max = max;
                    self.css(group).set_max(max);
                }
            }
            Step::Drain => self.drain(),
            ref step if !self.pairs.is_empty() => self.apply_to_one(step),
            _ => {}
        }
    }

    fn apply_to_one(&mut self, step: &Step) {
        let count = self.pairs.len();
        match *step {
            Step::Drop(one) => drop(self.pairs.swap_remove(one % count)),
            Step::Grow(one, bytes) => self.grow(one % count, bytes),
            Step::Force(one, bytes) => {
                let pair = &mut self.pairs[one % count];
                assert_eq!(pair.real.grow_forced(bytes), bytes);
                pair.used += bytes;
            }
            Step::Shrink(one, bytes) => {
                let pair = &mut self.pairs[one % count];
                let given = bytes.min(pair.used);
                assert_eq!(pair.real.shrink(bytes), given);
                pair.used -= given;
            }
            Step::Resize(one, bytes) => self.resize(one % count, bytes),
            Step::Keep(one, bytes) => self.keep(one % count, bytes),
            Step::Free(one) => {
                let pair = &mut self.pairs[one % count];
                assert_eq!(pair.real.free(), pair.used);
                (pair.used, pair.kept) = (0, 0);
            }
            Step::Split(one, bytes) => self.split(one % count, bytes),
            Step::Merge(one, other) => self.merge(one % count, other % count),
            Step::Transfer(one, group) => self.transfer(one % count, self.choose(group)),
            _ => {}
        }
    }

    fn create(&mut self, parent: usize) {
        let parent = self.choose(parent);
        if self.groups.len() < 9 && self.levels(parent).len() < 4 {
            let name = format!("g{}", self.groups.len());
            let child = self.groups[parent].cgroup.create_child(&name).expect("the name is free");
            self.add(child, Some(parent), Limit::At(200_000));
        }
    }

    fn detach(&mut self, group: usize) {
        let is_busy = |other: &Group| other.parent == Some(group) && !other.is_removed;
        let Some(parent) = self.groups[group].parent else { return };
        if self.groups.iter().any(is_busy) {
            return;
        }
        self.groups[group].cgroup.remove(Removal::Detach).expect("it is empty");
        self.groups[group].is_removed = true;
        for pair in self.pairs.iter_mut().filter(|pair| pair.at == group) {
            (pair.at, pair.is_orphan) = (parent, true);
        }
    }

    fn reserve(&mut self, at: usize) {
        if self.pairs.len() < 6 {
            let real = self.css(at).reserve();
            self.pairs.push(Pair { real, at, is_orphan: false, used: 0, kept: 0 });
        }
    }

    fn grow(&mut self, one: usize, bytes: u64) {
        let used = self.pairs[one].used.saturating_add(bytes);
        let is_allowed = self.allows(one, used, self.pairs[one].kept);
        let pair = &mut self.pairs[one];
        let result = pair.real.grow(bytes);
        assert_eq!(result.is_ok(), is_allowed, "{result:?}");
        if is_allowed {
            pair.used = used;
        } else if pair.is_orphan && used <= MOST {
            assert!(matches!(result, Err(ChargeError::Removed { .. })));
        }
    }

    fn resize(&mut self, one: usize, bytes: u64) {
        let is_allowed = self.allows(one, bytes, self.pairs[one].kept);
        let pair = &mut self.pairs[one];
        assert_eq!(pair.real.resize(bytes).is_ok(), is_allowed);
        if is_allowed {
            pair.used = bytes;
        }
    }

    fn keep(&mut self, one: usize, bytes: u64) {
        let is_allowed = self.allows(one, self.pairs[one].used, bytes);
        let pair = &mut self.pairs[one];
        assert_eq!(pair.real.keep(bytes).is_ok(), is_allowed);
        if is_allowed {
            pair.kept = bytes;
        }
    }

    fn split(&mut self, one: usize, bytes: u64) {
        let pair = &mut self.pairs[one];
        let Ok(real) = pair.real.split(bytes) else {
            assert!(bytes > pair.used);
            return;
        };
        pair.kept = pair.kept.min(pair.charged() - bytes);
        pair.used -= bytes;
        let (at, is_orphan) = (pair.at, pair.is_orphan);
        self.pairs.push(Pair { real, at, is_orphan, used: bytes, kept: 0 });
    }

    fn merge(&mut self, one: usize, other: usize) {
        if one == other {
            return;
        }
        let is_allowed = self.pairs[one].at == self.pairs[other].at;
        let given = self.pairs.swap_remove(other);
        let one = if one == self.pairs.len() { other } else { one };
        let pair = &mut self.pairs[one];
        let charged = pair.charged() + given.charged();
        match pair.real.merge(given.real) {
            Ok(()) => {
                assert!(is_allowed);
                let (used, kept) = (pair.used + given.used, pair.kept + given.kept);
                pair.used = used;
                pair.kept = if charged > used { charged } else { kept };
                assert_eq!(pair.charged(), charged, "what is charged is neither more nor less");
            }
            Err(error) => {
                assert!(!is_allowed);
                self.pairs.push(Pair { real: error.reservation, ..given });
            }
        }
    }

    fn transfer(&mut self, one: usize, to: usize) {
        let pair = &self.pairs[one];
        let above = self.levels(pair.at);
        let mut asked = self.levels(to);
        asked.retain(|level| !above.contains(level));
        let is_allowed = self.fits(&asked, pair.charged());
        let css = self.css(to);
        let pair = &mut self.pairs[one];
        assert_eq!(pair.real.transfer(&css).is_ok(), is_allowed);
        if is_allowed {
            (pair.at, pair.is_orphan) = (to, false);
        }
    }

    /// Calls in whatever is charged ahead.
    fn drain(&self) {
        self.css(0).try_charge(ROOT_MAX + 1).expect_err("more than the root may have");
        for (group, _) in self.groups.iter().enumerate().filter(|(_, group)| !group.is_removed) {
            assert_eq!(self.css(group).current(), self.usage(group, Pair::charged));
        }
    }

    fn compare(&self) {
        for pair in &self.pairs {
            assert_eq!((pair.real.used(), pair.real.kept()), (pair.used, pair.kept));
            assert!(pair.real.charged() >= pair.charged());
        }
        for (group, _) in self.groups.iter().enumerate().filter(|(_, group)| !group.is_removed) {
            let current = self.css(group).current();
            assert_eq!(current, self.usage(group, |pair| pair.real.charged()));
        }
    }

    fn end(mut self) {
        self.drain();
        self.pairs.clear();
        for (group, _) in self.groups.iter().enumerate().filter(|(_, group)| !group.is_removed) {
            assert_eq!(self.css(group).current(), 0);
        }
    }
}
