//! What `ratios` measures in each of its rounds.

use std::time::Duration;

use fief_core::{Registry, Removal};

use crate::{
    armed::{Armed, clone_and_drop},
    around::{Around, By, Kind},
    charged::{Charge, Count},
    farewell::{self, Readers},
    forest::{Forest, manual},
    handed::{self, Dropper},
    io::{Addition, Admitted},
    lifecycle::{
        barrier, beside_a_busy_thread, come_and_go, come_and_go_reaped, kill, refusal, removal,
    },
    memory::{Charged, InTurn, Reserved, Walk, full, victim},
    notices::{BATCH, End, delays, edges},
    pair::{
        ArcClone, Atomic, CssClone, CssTryGet, Guard, Order, Pair, TaskCss, UpgradeAlone,
        UpgradeUnder, Way,
    },
    question::Figures,
    race,
    statistic::{Sample, median},
    system::register_membarrier,
};

/// Pairs in a batch: 20 to 400 µs.
const PAIRS: u32 = 20_000;
/// Siblings of the groups that come and go.
const SIBLINGS: usize = 1_000;
/// Groups whose members are looked up.
const CROWD: usize = 10_000;
/// Groups of which some are told.
const MANY: usize = 100_000;
/// Batches of notices in a figure.
const BATCHES: usize = 301;
/// Windows of a kind; five rounds have more than a hundred.
const WINDOWS: usize = 21;

/// What the rounds measure.
#[derive(Debug)]
pub struct Rounds {
    forest: Forest,
    lone: Forest,
    crowd: Forest,
    none: Forest,
    one: Forest,
    four: Forest,
    own: Forest,
    strict: Forest,
    ten: Forest,
    many: Forest,
    around: Around,
    done: usize,
}

impl Rounds {
    /// Makes everything that rounds share.
    #[must_use]
    pub fn new() -> Self {
        register_membarrier();
        Self {
            forest: Forest::new(manual(), 1, 2),
            lone: Forest::new(manual(), 1, 1),
            crowd: Forest::new(manual(), 1, CROWD),
            none: Forest::new(manual(), 0, SIBLINGS),
            one: Forest::new(manual(), 1, SIBLINGS),
            four: Forest::new(Registry::new(), 4, SIBLINGS),
            own: Forest::new(manual(), 4, SIBLINGS),
            strict: Forest::notifying(manual(), 4, SIBLINGS),
            ten: Forest::notifying(manual(), 1, BATCH),
            many: Forest::notifying(manual(), 1, MANY),
            around: Around::new(),
            done: 0,
        }
    }

    /// Measures every figure once, every other round in reverse.
    ///
    /// `elsewhere` is what was measured in processes of their own.
    pub fn round(&mut self, figures: &mut Figures, elsewhere: &[(&'static str, f64)]) {
        let mut steps: Vec<fn(&Self, &mut Figures)> = vec![
            Self::references,
            Self::charges,
            Self::memory,
            Self::memory_is_full,
            Self::io,
            Self::lookups,
            Self::armed,
            Self::handed,
            Self::kills,
            Self::removals,
            Self::notices,
            Self::groups,
            Self::farewells,
            Self::windows,
        ];
        if self.done % 2 == 1 {
            steps.reverse();
        }
        for step in steps {
            step(self, figures);
        }
        for (name, figure) in elsewhere {
            figures.put(name, *figure);
        }
        self.done += 1;
    }

    fn references(&self, figures: &mut Figures) {
        let mut measure = |name, each: &[&dyn Pair]| {
            figures.put(name, race::nanoseconds(each, PAIRS));
        };
        let arc = ArcClone::default();
        let clones = [0, 1].map(|number| CssClone(self.forest.css(number)));
        let try_gets = [0, 1].map(|number| CssTryGet::new(&self.forest, number));
        measure("arc", &[&arc]);
        measure("clone", &[&clones[0]]);
        measure("try_get", &[&try_gets[0]]);
        measure("clone, 2 threads", &[&clones[0], &clones[0]]);
        measure("clone, 2 threads apart", &[&clones[0], &clones[1]]);
        measure("try_get, 2 threads", &[&try_gets[0], &try_gets[0]]);
        measure("try_get, 2 threads apart", &[&try_gets[0], &try_gets[1]]);
        measure("arc, 2 threads", &[&arc, &arc]);
        measure("upgrade", &[&UpgradeUnder::new(&self.forest)]);
        measure("upgrade alone", &[&UpgradeAlone::new(&self.forest)]);
        measure("guard", &[&Guard(Registry::clone(&self.forest.registry))]);
    }

    fn charges(&self, figures: &mut Figures) {
        let adds = Atomic::default();
        figures.put("two adds", race::nanoseconds(&[&adds], PAIRS));
        figures.put("charge", race::nanoseconds(&[&Charge::new(1)], PAIRS));
        figures.put("charge, 3 levels", race::nanoseconds(&[&Charge::new(3)], PAIRS));
        figures.put("two events", race::nanoseconds(&[&Count::new(3)], PAIRS));
    }

    fn memory(&self, figures: &mut Figures) {
        let mut measure = |name, each: &[&dyn Pair], pairs| {
            figures.put(name, race::nanoseconds(each, pairs));
        };
        let charged: &dyn Pair = &Charged::new(8);
        measure("atomic pair", &[&Atomic::default()], PAIRS);
        measure("memory", &[&Charged::new(1)], PAIRS);
        measure("memory, 8 levels", &[charged], PAIRS);
        measure("memory, 2 threads", &[charged; 2], PAIRS);
        // So long that all four are there at one time, on two processors.
        measure("memory, 4 threads", &[charged; 4], 10 * PAIRS);
        measure("reservation", &[&Reserved::new()], PAIRS);
        measure("memory, 64 in turn", &[&InTurn::new(64)], PAIRS);
        measure("memory, 128 in turn", &[&InTurn::new(128)], PAIRS);
        measure("walk, 8 levels", &[&Walk::new(8)], PAIRS);
    }

    fn memory_is_full(&self, figures: &mut Figures) {
        let full::Attempt { nanoseconds, refused, drains } = full::attempt();
        figures.put("at the limit", nanoseconds);
        figures.put("at the limit, refused", refused);
        figures.put("at the limit, drains", drains);
        figures.put("memory refused", full::refusal());
        let sample = |times: Vec<Duration>| {
            Sample::new(times.iter().map(|time| time.as_secs_f64() * 1e9).collect())
        };
        let drains = sample(full::drains());
        figures.put("drain", drains.median());
        figures.put("drain, p99", drains.percentile(99));
        let delays = sample(victim::delays());
        figures.put("victim", delays.median());
        figures.put("victim, p90", delays.percentile(90));
    }

    fn io(&self, figures: &mut Figures) {
        let mut measure = |name, each: &[&dyn Pair]| {
            figures.put(name, race::nanoseconds(each, PAIRS));
        };
        let [none, one, eight] = [0, 1, 8].map(Admitted::new);
        measure("addition", &[&Addition::default()]);
        measure("io", &[&none]);
        measure("io, 1 limit", &[&one]);
        measure("io, 8 limits", &[&eight]);
        measure("io, 1 limit, 2 threads", &[&one, &one]);
        measure("io, 8 limits, 2 threads", &[&eight, &eight]);
    }

    fn lookups(&self, figures: &mut Figures) {
        for (way, names) in [
            (Way::Alone, ["lookup", "lookup in turn", "lookup at random"]),
            (Way::Guarded, ["guarded", "guarded in turn", "guarded at random"]),
            (Way::Cached, ["cached", "cached in turn", "cached at random"]),
        ] {
            for (name, forest, order) in [
                (names[0], &self.lone, Order::InTurn),
                (names[1], &self.crowd, Order::InTurn),
                (names[2], &self.crowd, Order::Shuffled),
            ] {
                let lookup = TaskCss::new(forest, way, order);
                figures.put(name, race::nanoseconds(&[&lookup], PAIRS));
            }
        }
    }

    fn armed(&self, figures: &mut Figures) {
        let armed = Armed::new();
        figures.put("first and last", race::nanoseconds(&[&armed], PAIRS));
        let peer = clone_and_drop(&std::sync::Arc::new(0_u64));
        let exact = clone_and_drop(&armed.css());
        let spread = clone_and_drop(&self.forest.css(0));
        for (names, times) in [
            (["arc clone", "arc drop"], peer),
            (["get, armed", "put, armed"], exact),
            (["get", "put"], spread),
        ] {
            names.iter().zip(times).for_each(|(name, time)| figures.put(name, time));
        }
    }

    fn handed(&self, figures: &mut Figures) {
        let css = self.forest.css(0);
        figures.put("kept", handed::nanoseconds(&css, Dropper::Same));
        figures.put("handed", handed::nanoseconds(&css, Dropper::Prepared));
        figures.put("kept again", handed::nanoseconds(&css, Dropper::Same));
    }

    /// One at a time in turn, beside a thread that a barrier has to reach.
    fn kills(&self, figures: &mut Figures) {
        let mut times: [Vec<f64>; 5] = Default::default();
        beside_a_busy_thread(|| {
            for _ in 0..101 {
                times[0].push(barrier().as_secs_f64() * 1e9);
                times[1].push(kill(1).as_secs_f64() * 1e9);
                times[2].push(removal(&self.none, Removal::Detach).as_secs_f64() * 1e9);
                times[3].push(removal(&self.one, Removal::Detach).as_secs_f64() * 1e9);
            }
            times[4].extend((0..21).map(|_| kill(1_000).as_secs_f64() * 1e9 / 1e3));
        });
        let [barrier, kill, without, with, batch] = times.map(|times| median(&times));
        figures.put("membarrier", barrier);
        figures.put("kill", kill);
        figures.put("removal of a css", with - without);
        figures.put("kill of 1,000", batch);
    }

    /// Of groups with four css: done, and refused, beside a thread that a barrier has to reach.
    fn removals(&self, figures: &mut Figures) {
        let mut times: [Vec<f64>; 5] = Default::default();
        let forests = [&self.own, &self.strict];
        let held = forests.map(|forest| forest.controllers[3].css(&forest.groups[7]));
        beside_a_busy_thread(|| {
            for _ in 0..101 {
                for (times, time) in times.iter_mut().zip([
                    removal(&self.own, Removal::Detach),
                    removal(&self.own, Removal::Strict),
                    removal(&self.strict, Removal::Strict),
                    refusal(&self.own.groups[7]),
                    refusal(&self.strict.groups[7]),
                ]) {
                    times.push(time.as_secs_f64() * 1e9);
                }
            }
        });
        drop(held);
        self.strict.settle_notices();
        let names =
            ["detach", "strict removal", "strict removal, armed", "refused", "refused, armed"];
        for (name, times) in names.into_iter().zip(times) {
            figures.put(name, median(&times));
        }
    }

    /// Batches in turn, of the same groups again and again and of all.
    fn notices(&self, figures: &mut Figures) {
        let mut times: [Vec<f64>; 3] = Default::default();
        let some = || (0..BATCH).map(|number| number * (MANY / BATCH));
        let mut all = (0..BATCHES).map(|turn| {
            // A step that is prime to the number of groups: far apart, and each once.
            (turn * BATCH..(turn + 1) * BATCH).map(|number| number * 7_919 % MANY)
        });
        for _ in 0..BATCHES {
            for (times, time) in times.iter_mut().zip([
                edges(&self.ten, 0..BATCH),
                edges(&self.many, some()),
                edges(&self.many, all.next().expect("as many")),
            ]) {
                times.push(time.as_secs_f64() * 1e9);
            }
        }
        for (name, times) in ["notice", "notice of many", "notice in turn"].iter().zip(times) {
            figures.put(name, median(&times));
        }
        let at_once = edges(&self.many, 0..MANY).as_secs_f64() * 1e9;
        figures.put("notices at once", at_once);
        for (name, end) in [("told of put", End::Reference), ("told of member", End::Member)] {
            let times: Vec<f64> =
                delays(end, 51).iter().map(|time| time.as_secs_f64() * 1e9).collect();
            figures.put(name, median(&times));
        }
    }

    fn groups(&self, figures: &mut Figures) {
        const TIMES: u32 = 2_000;
        let each = |time: Duration| time.as_secs_f64() * 1e9 / f64::from(TIMES);
        let mut times: [Vec<f64>; 3] = Default::default();
        for _ in 0..5 {
            let [called, freed] = come_and_go(&self.four, TIMES.into());
            times[0].push(each(called));
            times[1].push(each(freed));
            times[2].push(each(come_and_go_reaped(&self.own, TIMES.into())));
        }
        let [called, freed, own] = times.map(|times| median(&times));
        figures.put("come and go", called);
        figures.put("come and go, freed", freed);
        figures.put("come and go reaped", own);
    }

    fn farewells(&self, figures: &mut Figures) {
        for (name, readers, removals) in
            [("freed", Readers::Elsewhere, 21), ("freed late", Readers::TwiceTheProcessors, 15)]
        {
            let times = farewell::removals(readers, removals);
            let times: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e9).collect();
            figures.put(name, median(&times));
        }
    }

    fn windows(&self, figures: &mut Figures) {
        let mut slow = 0.0;
        for (by, names) in [
            (
                By::Task,
                ["lookup around", "lookup elsewhere", "lookup elsewhere again", "lookup, idle"],
            ),
            (
                By::Cache,
                ["cached around", "cached elsewhere", "cached elsewhere again", "cached, idle"],
            ),
        ] {
            let kinds = self.around.windows(by, WINDOWS);
            for (Kind { p99, .. }, name) in kinds.iter().zip(names) {
                figures.put(name, *p99);
            }
            slow += kinds[0].slow;
        }
        figures.put("slow lookups", slow / 2.0);
    }
}

impl Default for Rounds {
    fn default() -> Self {
        Self::new()
    }
}
