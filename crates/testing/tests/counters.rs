//! Counters and tallies by way of css: random steps against plain sums, and threads at once.
//!
//! `PROPTEST_CASES` sets the number of scripts.

use std::{
    collections::VecDeque,
    env, hint,
    sync::{
        Barrier as Meeting,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use fief_core::{
    Barrier, Cgroup, Charge, ChargeError, Controller, Counter, Css, CssRef, Hierarchy, HookError,
    Limit, Reclaimer, Registry, Removal, Resource, Subsystem, Tally,
};
use fief_testing::stress::scaled;
use proptest::{
    prelude::*,
    test_runner::{Config, FileFailurePersistence},
};

/// Counts permits and two kinds of events.
struct Permits(Barrier);

struct State {
    held: Counter,
    events: Tally<2>,
}

const PERMITS: Resource<State> =
    Resource::new("permits.max", |state: &State| &state.held).with_unit("permits");

impl Subsystem for Permits {
    type State = State;

    fn name(&self) -> &'static str {
        "permits"
    }

    fn new_css(&self, parent: Option<&Css<State>>) -> Result<State, HookError> {
        let events = parent.map_or_else(Tally::new, |parent| Tally::below(&parent.events));
        Ok(State { held: Counter::with_barrier(self.0), events })
    }
}

fn world(barrier: Barrier, reclaimer: Reclaimer) -> (Registry, Hierarchy, Controller<Permits>) {
    let registry = Registry::builder().barrier(barrier).reclaimer(reclaimer).build();
    let hierarchy = registry.create_hierarchy("h").expect("a name");
    let controller = registry.register(Permits(barrier)).expect("a name");
    controller.bind(&hierarchy).expect("no groups yet");
    (registry, hierarchy, controller)
}

/// What a random script does; groups and charges are picked by number, modulo how many there are.
#[derive(Clone, Debug)]
enum Step {
    Create(usize),
    Remove(usize),
    Forget(usize),
    TryCharge(usize, u64),
    TryHold(usize, u64),
    Charge(usize, u64),
    Uncharge(usize),
    Transfer(usize, usize),
    SetMax(usize, Limit),
    Count(usize, usize, u64),
    Reap,
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn figures_are_plain_sums(steps in prop::collection::vec(step(), 1..80)) {
        for barrier in [Barrier::Auto, Barrier::Fence] {
            let mut session = Session::new(barrier);
            for step in &steps {
                session.apply(step);
                session.compare();
            }
            session.end();
        }
    }
}

fn config() -> Config {
    let cases = env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    let file = FileFailurePersistence::Direct("proptest-regressions/counters.txt");
    Config {
        cases: cases.unwrap_or(64),
        failure_persistence: Some(Box::new(file)),
        max_shrink_iters: 20_000,
        ..Config::default()
    }
}

fn step() -> impl Strategy<Value = Step> {
    let any = || 0..usize::MAX;
    let small = || 0..12_u64;
    let amount = || prop_oneof![9 => small(), 1 => Just(1 << 63), 1 => Just(u64::MAX)];
    let max = prop_oneof![3 => (0..40_u64).prop_map(Limit::At), 1 => Just(Limit::Max)];
    prop_oneof![
        2 => any().prop_map(Step::Create),
        1 => any().prop_map(Step::Remove),
        1 => any().prop_map(Step::Forget),
        4 => (any(), amount()).prop_map(|(group, amount)| Step::TryCharge(group, amount)),
        4 => (any(), amount()).prop_map(|(group, amount)| Step::TryHold(group, amount)),
        1 => (any(), small()).prop_map(|(group, amount)| Step::Charge(group, amount)),
        3 => any().prop_map(Step::Uncharge),
        1 => (any(), any()).prop_map(|(charge, group)| Step::Transfer(charge, group)),
        2 => (any(), max).prop_map(|(group, max)| Step::SetMax(group, max)),
        2 => (any(), 0..2_usize, small()).prop_map(|(group, kind, n)| Step::Count(group, kind, n)),
        1 => Just(Step::Reap),
    ]
}

/// A tree, and what it is to show.
struct Session {
    registry: Registry,
    controller: Controller<Permits>,
    nodes: Vec<Node>,
    charges: Vec<Charged>,
}

/// A group, and what the model knows of it.
struct Node {
    /// Until it is removed.
    group: Option<Cgroup>,
    /// Until it is forgotten, after that.
    css: Option<CssRef<State>>,
    path: String,
    parent: Option<usize>,
    max: Limit,
    peak: u64,
    max_events: u64,
    counted: [u64; 2],
}

/// What is charged to a group, and by what if not raw.
struct Charged {
    node: usize,
    amount: u64,
    held: Option<Charge<State>>,
}

/// The highest usage there is.
const MOST: u64 = (1 << 63) - 1;

impl Session {
    fn new(barrier: Barrier) -> Self {
        let (registry, hierarchy, controller) = world(barrier, Reclaimer::Manual);
        let mut session = Self { registry, controller, nodes: Vec::new(), charges: Vec::new() };
        session.add(hierarchy.root(), None);
        session
    }

    fn add(&mut self, group: Cgroup, parent: Option<usize>) {
        let css = self.controller.css(&group);
        let (path, max) = (group.path(), Limit::Max);
        let group = Some(group);
        let (peak, max_events, counted) = (0, 0, [0; 2]);
        self.nodes.push(Node { group, css, path, parent, max, peak, max_events, counted });
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Create(number) => self.create(number),
            Step::Remove(number) => self.remove(number),
            Step::Forget(number) => self.forget(number),
            Step::TryCharge(number, amount) => self.try_charge(number, amount, false),
            Step::TryHold(number, amount) => self.try_charge(number, amount, true),
            Step::Charge(number, amount) => {
                let Some((node, css)) = self.pick(number) else { return };
                PERMITS.charge(&css, amount);
                self.charged(Charged { node, amount, held: None });
            }
            Step::Uncharge(number) => self.uncharge(number),
            Step::Transfer(charge, number) => self.transfer(charge, number),
            Step::SetMax(number, max) => {
                let Some((node, css)) = self.pick(number) else { return };
                assert_eq!(css.held.set_max(max), self.usage(node), "what set_max found");
                self.nodes[node].max = max;
            }
            Step::Count(number, kind, count) => {
                let Some((node, css)) = self.pick(number) else { return };
                css.events.add(kind, count);
                self.nodes[node].counted[kind] += count;
            }
            Step::Reap => {
                self.registry.reap();
            }
        }
    }

    /// Returns some group that is not forgotten.
    fn pick(&self, number: usize) -> Option<(usize, CssRef<State>)> {
        let node = number % self.nodes.len();
        Some((node, self.nodes[node].css.clone()?))
    }

    fn create(&mut self, number: usize) {
        let parent = number % self.nodes.len();
        let Some(group) = &self.nodes[parent].group else { return };
        let name = format!("g{}", self.nodes.len());
        let child = group.create_child(&name).expect("a new name");
        self.add(child, Some(parent));
    }

    fn remove(&mut self, number: usize) {
        let node = number % self.nodes.len();
        let has_children =
            self.nodes.iter().any(|other| other.parent == Some(node) && other.group.is_some());
        if node > 0
            && !has_children
            && let Some(group) = self.nodes[node].group.take()
        {
            group.remove(Removal::Detach).expect("nothing in it");
        }
    }

    fn forget(&mut self, number: usize) {
        let node = number % self.nodes.len();
        let is_charged = self.charges.iter().any(|charge| charge.node == node);
        if self.nodes[node].group.is_none() && !is_charged {
            self.nodes[node].css = None;
        }
    }

    fn try_charge(&mut self, number: usize, amount: u64, is_held: bool) {
        let Some((node, css)) = self.pick(number) else { return };
        let result = if is_held {
            PERMITS.try_hold(&css, amount).map(Some)
        } else {
            PERMITS.try_charge(&css, amount).map(|()| None)
        };
        let refusing = self.line(node).find(|level| {
            let (usage, max) = (self.usage(*level), self.nodes[*level].max);
            let bound = if let Limit::At(bound) = max { bound } else { MOST };
            amount > bound.saturating_sub(usage)
        });
        match (result, refusing) {
            (Ok(held), None) => self.charged(Charged { node, amount, held }),
            (Err(error), Some(level)) => {
                self.check_error(&error, level, amount);
                self.nodes[level].max_events += 1;
            }
            (result, refusing) => {
                panic!("{:?}, and {refusing:?} was to refuse", result.map(drop));
            }
        }
    }

    fn check_error(&self, error: &ChargeError, level: usize, asked: u64) {
        let Node { path, max, .. } = &self.nodes[level];
        let current = self.usage(level);
        let text = format!(
            "permits.max of {path} reached: {current} of {max} permits in use, {asked} asked"
        );
        assert_eq!(error.to_string(), text);
    }

    fn charged(&mut self, charge: Charged) {
        let line: Vec<usize> = self.line(charge.node).collect();
        self.charges.push(charge);
        for level in line {
            self.nodes[level].peak = self.nodes[level].peak.max(self.usage(level));
        }
    }

    fn uncharge(&mut self, number: usize) {
        if !self.charges.is_empty() {
            let charge = self.charges.swap_remove(number % self.charges.len());
            self.give_back(charge);
        }
    }

    fn give_back(&self, charge: Charged) {
        let Charged { node, amount, held } = charge;
        match held {
            Some(held) => {
                assert_eq!(held.amount(), amount);
                drop(held);
            }
            None => PERMITS.uncharge(self.nodes[node].css.as_ref().expect("charged"), amount),
        }
    }

    fn transfer(&mut self, number: usize, target: usize) {
        let Some((target, css)) = self.pick(target) else { return };
        if self.charges.is_empty() {
            return;
        }
        let index = number % self.charges.len();
        let Charged { node, amount, held } = self.charges.swap_remove(index);
        let source = match held {
            // What was held is raw from here on.
            Some(held) => held.into_raw().0,
            None => self.nodes[node].css.clone().expect("charged"),
        };
        PERMITS.transfer(&source, &css, amount);
        self.charged(Charged { node: target, amount, held: None });
    }

    /// Yields a group and all above it.
    fn line(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        std::iter::successors(Some(node), |node| self.nodes[*node].parent)
    }

    fn is_below(&self, node: usize, above: usize) -> bool {
        self.line(node).any(|level| level == above)
    }

    fn usage(&self, node: usize) -> u64 {
        let charges = self.charges.iter().filter(|charge| self.is_below(charge.node, node));
        charges.map(|charge| charge.amount).sum()
    }

    fn counted(&self, node: usize) -> [u64; 2] {
        let below = (0..self.nodes.len()).filter(|other| self.is_below(*other, node));
        below.fold([0; 2], |[one, other], below| {
            let counted = self.nodes[below].counted;
            [one + counted[0], other + counted[1]]
        })
    }

    fn compare(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(css) = &node.css else { continue };
            let stats = css.held.stats();
            assert_eq!(stats.current, self.usage(index), "current of {}", node.path);
            assert_eq!(stats.max, node.max, "max of {}", node.path);
            assert_eq!(stats.peak, node.peak, "peak of {}", node.path);
            assert_eq!(stats.max_events, node.max_events, "max events of {}", node.path);
            assert_eq!(stats.accounting_bugs, 0);
            let events = css.events.stats();
            assert_eq!(events.own, node.counted, "own events of {}", node.path);
            assert_eq!(events.total, self.counted(index), "events of {} and below", node.path);
        }
    }

    fn end(mut self) {
        while let Some(charge) = self.charges.pop() {
            self.give_back(charge);
        }
        self.compare();
        let root = self.nodes[0].css.clone().expect("the root is not removed");
        let counted = self.counted(0);
        for node in self.nodes.drain(1..).rev() {
            drop(node.css);
            if let Some(group) = node.group {
                group.remove(Removal::Detach).expect("children go first");
            }
        }
        while self.registry.reap() {}
        assert_eq!(self.registry.stats().css_freed + 1, self.registry.stats().css_created);
        assert_eq!((root.held.current(), root.events.total()), (0, counted));
    }
}

/// Xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }
}

#[test]
fn sums_agree_after_threads_have_charged_at_once() {
    for barrier in [Barrier::Auto, Barrier::Fence] {
        storm(barrier, 4_000);
    }
}

#[test]
#[ignore = "minutes; run by xtask ci --full"]
fn sums_agree_after_threads_have_charged_at_once_for_long() {
    for barrier in [Barrier::Auto, Barrier::Fence] {
        storm(barrier, scaled(20_000_000));
    }
}

const CHARGERS: u64 = 4;
const ROOT_MAX: u64 = 40;
const BRANCH_MAX: u64 = 24;

/// Chargers, a setter of limits, a maker of groups, and a reader, on two branches.
///
/// The root's and the branches' limits stay, and may not be passed for a moment. The leaves' move.
fn storm(barrier: Barrier, turns: u64) {
    let (registry, hierarchy, controller) = world(barrier, Reclaimer::Thread);
    let root = controller.css(&hierarchy.root()).expect("online");
    root.held.set_max(Limit::At(ROOT_MAX));
    let branches = ["a", "b"].map(|name| hierarchy.root().create_child(name).expect("a name"));
    let leaves: Vec<CssRef<State>> = branches
        .iter()
        .flat_map(|branch| ["x", "y"].map(|name| branch.create_child(name).expect("a name")))
        .filter_map(|leaf| controller.css(&leaf))
        .collect();
    let bounded: Vec<(CssRef<State>, u64)> = branches
        .iter()
        .filter_map(|branch| controller.css(branch))
        .map(|branch| (branch, BRANCH_MAX))
        .chain([(root.clone(), ROOT_MAX)])
        .collect();
    bounded.iter().for_each(|(css, max)| assert_eq!(css.held.set_max(Limit::At(*max)), 0));

    let (stop, counted) = (AtomicBool::new(false), AtomicU64::new(0));
    let [granted, refused] = [(), ()].map(|()| AtomicU64::new(0));
    thread::scope(|scope| {
        let chargers: Vec<_> = (1..=CHARGERS)
            .map(|seed| {
                let (leaves, bounded) = (&leaves, &bounded);
                scope.spawn(move || charge_at_random(seed, turns, leaves, bounded))
            })
            .collect();
        scope.spawn(|| {
            let mut random = Random(77);
            while !stop.load(Ordering::Relaxed) {
                let leaf = &leaves[random.below(leaves.len())].held;
                leaf.set_max([Limit::Max, Limit::At(random.below(20) as u64)][random.below(2)]);
                thread::yield_now();
            }
        });
        scope.spawn(|| {
            let mut random = Random(99);
            while !stop.load(Ordering::Relaxed) {
                let group = branches[random.below(2)].create_child("brief").expect("a name");
                let css = controller.css(&group).expect("online");
                let held = PERMITS.try_hold(&css, 1);
                css.events.add(0, 1);
                counted.fetch_add(1, Ordering::Relaxed);
                group.remove(Removal::Detach).expect("nothing in it");
                drop((held, css));
            }
        });
        scope.spawn(|| {
            let mut seen = [[0; 2]; 3];
            while !stop.load(Ordering::Relaxed) {
                for ((css, _), seen) in bounded.iter().zip(&mut seen) {
                    let now = css.events.total();
                    assert!(now[0] >= seen[0] && now[1] >= seen[1], "{now:?} after {seen:?}");
                    *seen = now;
                }
            }
        });
        let outcomes = chargers.into_iter().map(|charger| charger.join().expect("no assertion"));
        let _stops = Stop(&stop);
        outcomes.for_each(|outcome| {
            granted.fetch_add(outcome.granted, Ordering::Relaxed);
            refused.fetch_add(outcome.refused, Ordering::Relaxed);
        });
    });
    registry.wait_reclaimed().expect("in no hook");

    let outcome = Outcome { granted: granted.into_inner(), refused: refused.into_inner() };
    assert_eq!(root.events.total(), [outcome.granted + counted.into_inner(), outcome.refused]);
    check_the_end(&outcome, &leaves, &bounded);
}

/// Nothing is in use any more, no limit that stayed was ever passed, and no refusal went uncounted.
fn check_the_end(
    &Outcome { granted, refused }: &Outcome,
    leaves: &[CssRef<State>],
    bounded: &[(CssRef<State>, u64)],
) {
    assert!(granted > 0 && refused > 0, "{granted} granted, {refused} refused");
    for css in leaves.iter().chain(bounded.iter().map(|(css, _)| css)) {
        assert_eq!((css.held.current(), css.held.accounting_bugs()), (0, 0));
    }
    for (css, max) in bounded {
        assert!(css.held.peak() <= *max, "{} above {max}", css.held.peak());
    }
    let leaves_and_above = leaves.iter().chain(bounded.iter().map(|(css, _)| css));
    let events: u64 = leaves_and_above.map(|css| css.held.max_events()).sum();
    assert!(events >= refused, "{events} refusals counted, {refused} seen");
}

/// Lets the other threads of a scope end, also when an assertion failed.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Outcome {
    granted: u64,
    refused: u64,
}

/// Charges, holds on to some of it, and counts what came of it.
fn charge_at_random(
    seed: u64,
    turns: u64,
    leaves: &[CssRef<State>],
    bounded: &[(CssRef<State>, u64)],
) -> Outcome {
    let mut random = Random(seed << 32 | 1);
    let mut outcome = Outcome { granted: 0, refused: 0 };
    let mut held = VecDeque::new();
    for _ in 0..turns {
        let leaf = &leaves[random.below(leaves.len())];
        match PERMITS.try_hold(leaf, 1 + random.below(6) as u64) {
            Ok(charge) => {
                leaf.events.add(0, 1);
                outcome.granted += 1;
                held.push_back(charge);
            }
            Err(_) => {
                leaf.events.add(1, 1);
                outcome.refused += 1;
                held.pop_front();
            }
        }
        if held.len() > random.below(12) {
            held.pop_front();
        }
        for (css, max) in bounded {
            let current = css.held.current();
            assert!(current <= *max, "{current} of {max} in use at {}", css.path());
        }
    }
    outcome
}

/// The new limit is there before anybody waits for the usage to fall: those who charge what others
/// give back are refused, so that it does fall, however busy they are.
#[test]
fn race_63_lowering_the_limit_publishes_first_then_enforces() {
    let (_registry, hierarchy, controller) = world(Barrier::Auto, Reclaimer::Manual);
    let root = controller.css(&hierarchy.root()).expect("online");
    for _ in 0..50 {
        root.held.set_max(Limit::At(20));
        let stop = AtomicBool::new(false);
        let full = Meeting::new(3);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut held: Vec<_> =
                        (0..10).filter_map(|_| PERMITS.try_hold(&root, 1).ok()).collect();
                    full.wait();
                    while !stop.load(Ordering::Relaxed) {
                        // As fast as it gives something back, it asks for it again.
                        held.pop();
                        held.extend(PERMITS.try_hold(&root, 1));
                    }
                });
            }
            full.wait();
            let _stops = Stop(&stop);
            let found = root.held.set_max(Limit::At(4));
            assert!(found <= 20, "{found} in use");
            let mut looks = 0_u64;
            while root.held.current() > 4 && looks < 50_000_000 {
                looks += 1;
                thread::yield_now();
            }
            let current = root.held.current();
            assert!(current <= 4, "{current} in use after {looks} looks");
        });
        assert_eq!(root.held.current(), 0);
    }
}

/// Either the charge sees the new limit, or the setter sees the charge.
#[test]
fn race_66_set_max_vs_try_charge_store_load() {
    for barrier in [Barrier::Auto, Barrier::Fence] {
        let (_registry, hierarchy, controller) = world(barrier, Reclaimer::Manual);
        let root = controller.css(&hierarchy.root()).expect("online");
        let (round, done) = (AtomicU64::new(0), AtomicU64::new(0));
        let mut violations = Vec::<String>::new();
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 1..=ROUNDS {
                    wait_for(&round, 2 * number - 1);
                    let granted = (0..30).filter(|_| PERMITS.try_charge(&root, 1).is_ok()).count();
                    done.store(2 * number - 1, Ordering::Release);
                    wait_for(&round, 2 * number);
                    PERMITS.uncharge(&root, granted as u64);
                    done.store(2 * number, Ordering::Release);
                }
            });
            for number in 1..=ROUNDS {
                root.held.set_max(Limit::At(30));
                round.store(2 * number - 1, Ordering::Release);
                for _ in 0..number % 60 {
                    hint::spin_loop();
                }
                let max = number % 7;
                let found = root.held.set_max(Limit::At(max));
                wait_for(&done, 2 * number - 1);
                let current = root.held.current();
                if current > max.max(found) {
                    violations.push(format!("{current} in use, {found} found, {max} the max"));
                }
                round.store(2 * number, Ordering::Release);
                wait_for(&done, 2 * number);
            }
        });
        assert_eq!(violations, [""; 0]);
        assert_eq!(root.held.current(), 0);
    }
}

const ROUNDS: u64 = 3_000;

/// Waits until `word` is `value`, mostly for less than it takes to sleep.
fn wait_for(word: &AtomicU64, value: u64) {
    for turn in 1_u64.. {
        if word.load(Ordering::Acquire) == value {
            return;
        }
        if turn.is_multiple_of(1 << 12) { thread::yield_now() } else { hint::spin_loop() }
    }
}

/// Two want the one unit: never has more than one got it.
#[test]
fn a_usage_is_never_seen_above_its_max() {
    let (_registry, hierarchy, controller) = world(Barrier::Auto, Reclaimer::Manual);
    let root = controller.css(&hierarchy.root()).expect("online");
    root.held.set_max(Limit::At(1));
    let contend = || {
        let (mut granted, mut most) = (0, 0);
        for _ in 0..100_000 {
            let is_granted = PERMITS.try_charge(&root, 1).is_ok();
            most = most.max(root.held.current());
            if is_granted {
                granted += 1;
                PERMITS.uncharge(&root, 1);
            }
        }
        (granted, most)
    };
    let outcomes = thread::scope(|scope| {
        [scope.spawn(contend), scope.spawn(contend)].map(|thread| thread.join().expect("counts"))
    });
    for (granted, most) in outcomes {
        assert!(granted > 0 && most == 1, "{granted} granted, {most} seen");
    }
    let stats = root.held.stats();
    assert_eq!((stats.current, stats.peak, stats.accounting_bugs), (0, 1, 0));
}
