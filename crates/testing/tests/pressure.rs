//! Random activity in a tree of groups: pressure is what a simulation in steps of 10 ms finds.
//!
//! The simulation keeps a list of members, and goes through time step by step; averages are `f64`,
//! triggers are reckoned anew in each step. `PROPTEST_CASES` sets the number of cases.

use std::{sync::Arc, time::Duration};

use fief_core::{
    Activity, Clock, Css, CssRef, HookError, Pressure, PressureKind, PressureLine, PressurePath,
    Registry, Subsystem, Threshold, Trigger, VirtualClock,
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::select,
    test_runner::{Config, FileFailurePersistence},
};

/// A step of the simulation, in ms; all times are multiples of it.
const STEP: u64 = 10;
/// Groups: the root, `a`, `a/b`, `c`; and the parent of each.
const PARENTS: [Option<usize>; 4] = [None, Some(0), Some(1), Some(0)];
const MEMBERS: usize = 4;

#[derive(Clone, Debug)]
enum Op {
    /// A member goes on in a group, with an activity.
    Go {
        member: usize,
        group: usize,
        to: Activity,
    },
    /// Time passes, in steps.
    Pass(u64),
    Read(usize),
    Poll(usize),
    Arm {
        group: usize,
        threshold: Threshold,
    },
    Disarm(usize),
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn pressure_is_what_a_simulation_finds(ops in vec(op(), 1..60)) {
        let (mut core, mut model) = (Core::new(), Model::new());
        for op in &ops {
            core.apply(op);
            model.apply(op);
            for index in 0..model.triggers.len() {
                let (told, expected) = (core.is_told(index), model.is_told(index));
                prop_assert_eq!(told, expected, "trigger {} after {:?}", index, op);
            }
            if let Op::Read(group) = *op {
                compare(&core, &model, group)?;
            }
        }
        for group in 0..PARENTS.len() {
            compare(&core, &model, group)?;
            prop_assert_eq!(core.csses[group].miscounts(), 0);
        }
    }

    /// Who calls `poll` when told to is told of everything at once.
    #[test]
    fn a_deadline_is_the_first_moment_at_which_there_is_a_message(
        threshold in threshold(),
        spans in vec((any::<bool>(), 0_u64..4_000_000_000), 0..8),
    ) {
        let clock = VirtualClock::new();
        let pressure = Pressure::new(Arc::new(clock.clone()));
        let trigger = pressure.trigger(threshold);
        for (stalls, nanos) in spans {
            let stall = stalls.then(|| pressure.stall());
            clock.advance(Duration::from_nanos(nanos));
            drop(stall);
        }
        let _stall = pressure.stall();
        trigger.messages().try_recv().ok();
        for _ in 0..3 {
            let deadline = pressure.poll().expect("it will be due");
            trigger.messages().try_recv().ok();
            let left = deadline - clock.now();
            prop_assert!(!left.is_zero());
            clock.advance(left - Duration::from_nanos(1));
            prop_assert_eq!(pressure.poll(), Some(deadline));
            prop_assert!(trigger.messages().is_empty(), "early");
            clock.advance(Duration::from_nanos(1));
            pressure.poll();
            prop_assert!(trigger.messages().try_recv().is_ok(), "late");
        }
    }
}

fn config() -> Config {
    let file = FileFailurePersistence::Direct("proptest-regressions/pressure.txt");
    Config { failure_persistence: Some(Box::new(file)), ..Config::default() }
}

fn op() -> impl Strategy<Value = Op> {
    let group = 0..PARENTS.len();
    let activity = select(vec![Activity::Idle, Activity::Productive, Activity::Stalled]);
    let steps = prop_oneof![8 => 1_u64..60, 4 => 1_u64..1_000, 1 => 1_u64..60_000];
    prop_oneof![
        8 => (0..MEMBERS, group.clone(), activity)
            .prop_map(|(member, group, to)| Op::Go { member, group, to }),
        8 => steps.prop_map(Op::Pass),
        1 => group.clone().prop_map(Op::Read),
        1 => group.clone().prop_map(Op::Poll),
        1 => (group, threshold()).prop_map(|(group, threshold)| Op::Arm { group, threshold }),
        1 => (0..8_usize).prop_map(Op::Disarm),
    ]
}

fn threshold() -> impl Strategy<Value = Threshold> {
    let kind = select(vec![PressureKind::Some, PressureKind::Full]);
    let times = (50..=1_000_u64).prop_flat_map(|window| (1..=window, Just(window)));
    (kind, times).prop_map(|(kind, (stall, window))| {
        Threshold::new(kind, time(stall), time(window)).expect("within the rules")
    })
}

fn time(steps: u64) -> Duration {
    Duration::from_millis(steps * STEP)
}

fn compare(core: &Core, model: &Model, group: usize) -> Result<(), TestCaseError> {
    let stats = core.csses[group].stats();
    agree(stats.some, &model.groups[group].lines[0])?;
    agree(stats.full, &model.groups[group].lines[1])
}

fn agree(real: PressureLine, expected: &Line) -> Result<(), TestCaseError> {
    prop_assert_eq!(real.total, expected.stalled * STEP * 1_000);
    for (real, expected) in [real.avg10, real.avg60, real.avg300].into_iter().zip(expected.averages)
    {
        let difference = (f64::from(real) - 100.0 * expected).abs();
        prop_assert!(difference < 0.005_001, "{real} is not {}", 100.0 * expected);
    }
    Ok(())
}

/// The real thing, in a registry.
struct Core {
    clock: VirtualClock,
    csses: Vec<CssRef<Pressure>>,
    members: [(usize, Activity); MEMBERS],
    triggers: Vec<Option<Trigger>>,
    _registry: Registry,
}

struct Waits(Arc<dyn Clock>);

impl Subsystem for Waits {
    type State = Pressure;

    fn name(&self) -> &str {
        "waits"
    }

    fn new_css(&self, _parent: Option<&Css<Pressure>>) -> Result<Pressure, HookError> {
        Ok(Pressure::new(Arc::clone(&self.0)))
    }
}

impl Core {
    fn new() -> Self {
        let clock = VirtualClock::new();
        let registry = Registry::new();
        let hierarchy = registry.create_hierarchy("h").expect("a new name");
        let waits = registry.register(Waits(Arc::new(clock.clone()))).expect("a new name");
        waits.bind(&hierarchy).expect("bound nowhere");
        let mut groups = vec![hierarchy.root()];
        for (name, parent) in ["a", "b", "c"].into_iter().zip(&PARENTS[1..]) {
            let parent = &groups[parent.expect("not the root")];
            groups.push(parent.create_child(name).expect("a new name"));
        }
        let guard = registry.read();
        let css = |group| guard.css(&waits, group).and_then(Css::try_get_online);
        let csses = groups.iter().map(|group| css(group).expect("online")).collect();
        drop(guard);
        let members = [(0, Activity::Idle); MEMBERS];
        Self { clock, csses, members, triggers: Vec::new(), _registry: registry }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Go { member, group, to } => {
                let (before, from) = self.members[member];
                if before == group {
                    self.shift(group, from, to);
                } else {
                    self.shift(before, from, Activity::Idle);
                    self.shift(group, Activity::Idle, to);
                }
                self.members[member] = (group, to);
            }
            Op::Pass(steps) => self.clock.advance(time(steps)),
            Op::Read(group) => drop(self.csses[group].stats().to_string()),
            Op::Poll(group) => drop(self.csses[group].poll()),
            Op::Arm { group, threshold } => {
                self.triggers.push(Some(self.csses[group].trigger(threshold)));
            }
            Op::Disarm(index) => drop(self.triggers.get_mut(index).and_then(Option::take)),
        }
    }

    fn shift(&self, group: usize, from: Activity, to: Activity) {
        PressurePath::new(&*self.csses[group], |pressure| pressure).shift(from, to);
    }

    fn is_told(&self, trigger: usize) -> bool {
        let trigger = self.triggers[trigger].as_ref();
        trigger.is_some_and(|trigger| trigger.messages().try_recv().is_ok())
    }
}

/// What should be.
struct Model {
    groups: Vec<Group>,
    members: [(usize, Activity); MEMBERS],
    triggers: Vec<Watcher>,
    now: u64,
}

#[derive(Default)]
struct Group {
    /// Some, and full.
    lines: [Line; 2],
}

#[derive(Default)]
struct Line {
    /// Steps, ever.
    stalled: u64,
    averages: [f64; 3],
    /// Steps in the period.
    in_period: u64,
}

struct Watcher {
    group: usize,
    kind: PressureKind,
    stall: u64,
    window: u64,
    /// Stalled steps up to each step since it was made.
    history: Vec<u64>,
    is_due: bool,
    sent: Option<u64>,
    is_told: bool,
    is_armed: bool,
}

impl Model {
    fn new() -> Self {
        let groups = PARENTS.map(|_| Group::default()).into();
        let members = [(0, Activity::Idle); MEMBERS];
        Self { groups, members, triggers: Vec::new(), now: 0 }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Go { member, group, to } => {
                let before = self.lost_by_all();
                // A member that goes elsewhere is idle for a moment.
                if self.members[member].0 != group {
                    self.members[member].1 = Activity::Idle;
                    let between = self.lost_by_all();
                    self.send_where(|group| before[group] != between[group]);
                    self.members[member] = (group, to);
                    let after = self.lost_by_all();
                    self.send_where(|group| between[group] != after[group]);
                } else {
                    self.members[member] = (group, to);
                    let after = self.lost_by_all();
                    self.send_where(|group| before[group] != after[group]);
                }
            }
            Op::Pass(steps) => (0..steps).for_each(|_| self.step()),
            Op::Read(group) | Op::Poll(group) => self.send_where(|other| other == group),
            Op::Arm { group, threshold } => {
                self.send_where(|other| other == group);
                self.arm(group, threshold);
            }
            Op::Disarm(index) => {
                if let Some(trigger) = self.triggers.get_mut(index) {
                    trigger.is_armed = false;
                }
            }
        }
    }

    fn arm(&mut self, group: usize, threshold: Threshold) {
        let steps = |time: Duration| u64::try_from(time.as_millis()).expect("a short time") / STEP;
        self.triggers.push(Watcher {
            group,
            kind: threshold.kind(),
            stall: steps(threshold.stall()),
            window: steps(threshold.window()),
            history: vec![0],
            is_due: false,
            sent: None,
            is_told: false,
            is_armed: true,
        });
    }

    /// Whether a group loses some time, and full time.
    fn lost(&self, group: usize) -> [bool; 2] {
        let is_in = |mut member: usize| loop {
            if member == group {
                return true;
            }
            let Some(parent) = PARENTS[member] else { return false };
            member = parent;
        };
        let has =
            |activity| self.members.iter().any(|(at, doing)| is_in(*at) && *doing == activity);
        let some = has(Activity::Stalled);
        [some, some && !has(Activity::Productive)]
    }

    fn lost_by_all(&self) -> Vec<[bool; 2]> {
        (0..self.groups.len()).map(|group| self.lost(group)).collect()
    }

    fn step(&mut self) {
        self.now += 1;
        let lost = self.lost_by_all();
        for (group, lost) in self.groups.iter_mut().zip(&lost) {
            for (line, lost) in group.lines.iter_mut().zip(lost) {
                line.step(*lost, self.now);
            }
        }
        for trigger in self.triggers.iter_mut().filter(|trigger| trigger.is_armed) {
            let [some, full] = lost[trigger.group];
            trigger.step(if trigger.kind == PressureKind::Some { some } else { full });
        }
    }

    /// Looks at the triggers of groups.
    fn send_where(&mut self, is_looked_at: impl Fn(usize) -> bool) {
        let now = self.now;
        for trigger in &mut self.triggers {
            let may_send = trigger.sent.is_none_or(|sent| now - sent >= trigger.window);
            if trigger.is_armed && trigger.is_due && may_send && is_looked_at(trigger.group) {
                trigger.is_due = false;
                trigger.is_told = true;
                trigger.sent = Some(now);
            }
        }
    }

    fn is_told(&mut self, trigger: usize) -> bool {
        std::mem::take(&mut self.triggers[trigger].is_told) && self.triggers[trigger].is_armed
    }
}

impl Line {
    fn step(&mut self, lost: bool, now: u64) {
        self.stalled += u64::from(lost);
        self.in_period += u64::from(lost);
        let period = 2_000 / STEP;
        if now.is_multiple_of(period) {
            let share = self.in_period as f64 / period as f64;
            for (average, seconds) in self.averages.iter_mut().zip([10.0, 60.0, 300.0]) {
                let decay = (-2.0_f64 / seconds).exp();
                *average = *average * decay + share * (1.0 - decay);
            }
            self.in_period = 0;
        }
    }
}

impl Watcher {
    fn step(&mut self, lost: bool) {
        let elapsed = self.history.len() as u64;
        self.history.push(self.stalled_until(elapsed - 1) + u64::from(lost));
        if !lost {
            return;
        }
        // The kernel's estimate. A window that has just ended is the one before, all of which counts.
        let begun = elapsed % self.window;
        let start = elapsed - begun;
        let current = self.stalled_until(elapsed) - self.stalled_until(start);
        let before = start.checked_sub(self.window);
        let before = before.map_or(0, |from| self.stalled_until(start) - self.stalled_until(from));
        self.is_due |=
            current * self.window + before * (self.window - begun) >= self.stall * self.window;
    }

    fn stalled_until(&self, step: u64) -> u64 {
        self.history[usize::try_from(step).expect("a short history")]
    }
}
