//! Random trees, charges, transfers, limits, removals and rebinds, against a model that is plain sums.

use std::collections::BTreeMap;

use fief_core::{
    Cgroup, Controller, CssRef, Hierarchy, Limit, RebindOptions, Registry, Removal, Task,
};
use fief_memory::{ChargeError, Memory, MemoryCss, Reservation};
use proptest::prelude::*;

/// One step; numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    Create { parent: usize },
    Remove { group: usize, strict: bool },
    Charge { group: usize, bytes: u64 },
    Force { group: usize, bytes: u64 },
    Uncharge { group: usize, part: u8 },
    SetMax { group: usize, max: Option<u64> },
    Join { group: usize },
    Rebind,
    Reserve { group: usize, bytes: u64 },
    Held { reservation: usize, change: Change },
}

/// What is done with a reservation.
#[derive(Clone, Debug)]
enum Change {
    Grow(u64),
    GrowForced(u64),
    Shrink(u8),
    Split(u8),
    Transfer(usize),
    Drop,
}

/// A group, as the model knows it.
#[derive(Debug)]
struct Known {
    parent: Option<usize>,
    /// Charged to it by hand.
    raw: u64,
    max: Option<u64>,
    is_removed: bool,
}

/// The real thing beside the model.
struct World {
    registry: Registry,
    trees: [Hierarchy; 2],
    bound: usize,
    memory: Controller<Memory>,
    task: Task,
    /// The group in both trees, and its css.
    groups: Vec<([Cgroup; 2], CssRef<MemoryCss>)>,
    known: Vec<Known>,
    /// What owners hold, and the group that it was charged to.
    held: Vec<(Reservation, usize)>,
}

impl World {
    fn new() -> Self {
        let registry = Registry::new();
        let trees = ["by-tenant", "by-plan"]
            .map(|name| registry.create_hierarchy(name).expect("the name is free"));
        let memory = registry.register(Memory::new()).expect("the name is free");
        memory.bind(&trees[0]).expect("nothing is there");
        let task = registry.create_task("worker").expect("room");
        let root = memory.root().expect("a root css");
        let groups = vec![(trees.each_ref().map(Hierarchy::root), root)];
        let known = vec![Known { parent: None, raw: 0, max: None, is_removed: false }];
        Self { registry, trees, bound: 0, memory, task, groups, known, held: Vec::new() }
    }

    /// Returns a group and all above it.
    fn path(&self, group: usize) -> Vec<usize> {
        std::iter::successors(Some(group), |group| self.known[*group].parent).collect()
    }

    /// Returns the group that answers for what was charged to `group`.
    fn answering(&self, group: usize) -> usize {
        let living = |group: &usize| !self.known[*group].is_removed;
        self.path(group).into_iter().find(living).expect("the root lives")
    }

    /// Returns what is charged to each group and below, by plain sums.
    fn usages(&self) -> BTreeMap<usize, u64> {
        let mut usages: BTreeMap<_, _> = (0..self.known.len()).map(|group| (group, 0)).collect();
        let raw = self.known.iter().enumerate().map(|(group, known)| (group, known.raw));
        let held = self.held.iter().map(|(held, group)| (*group, held.used()));
        for (group, bytes) in raw.chain(held) {
            for level in self.path(self.answering(group)) {
                *usages.entry(level).or_default() += bytes;
            }
        }
        usages
    }

    /// Returns whether `group` and all above it, but not `end` and above, have room.
    fn has_room(&self, group: usize, bytes: u64, end: Option<usize>) -> bool {
        let usages = self.usages();
        let mut levels = self.path(group).into_iter().take_while(|level| Some(*level) != end);
        bytes == 0
            || levels
                .all(|level| self.known[level].max.is_none_or(|max| usages[&level] + bytes <= max))
    }

    fn check(&self) {
        let _ = self.groups[0].1.drain();
        for (group, usage) in self.usages() {
            let (groups, css) = &self.groups[group];
            if !self.known[group].is_removed {
                assert_eq!(css.current(), usage, "of {}", groups[0].path());
                assert_eq!(css.path(), groups[self.bound].path());
                assert_eq!(css.max(), self.known[group].max.map_or(Limit::Max, Limit::At));
            }
        }
    }

    /// Compares what became of a charge to `group` with what had to; returns whether it was granted.
    ///
    /// The model is as before it.
    fn was_right(&self, group: usize, bytes: u64, result: Result<(), ChargeError>) -> bool {
        let is_removed = self.known[group].is_removed;
        let room = self.has_room(group, bytes, None);
        match &result {
            Ok(()) => assert!(bytes == 0 || (!is_removed && room), "{bytes} granted"),
            Err(ChargeError::Removed { .. }) => assert!(is_removed, "refused as removed"),
            Err(ChargeError::Over(_)) => assert!(!room, "{bytes} refused, and there is room"),
            Err(error) => panic!("{error}"),
        }
        result.is_ok()
    }

    fn step(&mut self, step: &Step) {
        let among = |choice: usize| choice % self.groups.len();
        match *step {
            Step::Create { parent } => self.create(among(parent)),
            Step::Remove { group, strict } => self.remove(among(group), strict),
            Step::Charge { group, bytes } => self.charge(among(group), bytes),
            Step::Reserve { group, bytes } => self.reserve(among(group), bytes),
            Step::Held { reservation, ref change } if !self.held.is_empty() => {
                self.change(reservation % self.held.len(), change);
            }
            Step::Held { .. } => {}
            Step::Force { group, bytes } => {
                let group = among(group);
                self.groups[group].1.charge_forced(bytes);
                self.known[group].raw += bytes;
            }
            Step::Uncharge { group, part } => {
                let group = among(group);
                let back = portion(self.known[group].raw, part);
                self.groups[group].1.uncharge(back);
                self.known[group].raw -= back;
            }
            Step::SetMax { group, max } => {
                let group = among(group);
                if !self.known[group].is_removed {
                    self.groups[group].1.set_max(max.map_or(Limit::Max, Limit::At));
                    self.known[group].max = max;
                }
            }
            Step::Join { group } => {
                let (pair, is_removed) =
                    (&self.groups[among(group)].0, self.known[among(group)].is_removed);
                // In both trees, so that a rebind moves nobody.
                for group in pair {
                    assert_eq!(self.task.join(group).is_ok(), !is_removed);
                }
            }
            Step::Rebind => {
                self.bound = 1 - self.bound;
                self.memory
                    .rebind(&self.trees[self.bound], &RebindOptions::default())
                    .expect("the trees are of one shape");
            }
        }
    }

    fn charge(&mut self, group: usize, bytes: u64) {
        let charged = self.groups[group].1.try_charge(bytes);
        if self.was_right(group, bytes, charged) {
            self.known[group].raw += bytes;
        }
    }

    fn reserve(&mut self, group: usize, bytes: u64) {
        let mut made = self.groups[group].1.reserve();
        let grown = made.grow(bytes);
        if self.was_right(group, bytes, grown) {
            self.held.push((made, group));
        }
    }

    fn change(&mut self, reservation: usize, change: &Change) {
        let (mut held, group) = self.held.swap_remove(reservation);
        let used = held.used();
        match *change {
            Change::Grow(bytes) => {
                let grown = held.grow(bytes);
                // To the model it is charged by hand meanwhile, as it was before.
                self.known[group].raw += used;
                let is_granted = self.was_right(group, bytes, grown);
                self.known[group].raw -= used;
                assert_eq!(held.used(), used + if is_granted { bytes } else { 0 });
            }
            Change::GrowForced(bytes) => assert_eq!(held.grow_forced(bytes), bytes),
            Change::Shrink(part) => {
                let back = portion(used, part);
                assert_eq!(held.shrink(back), back);
            }
            Change::Split(part) => {
                let split = held.split(portion(used, part)).expect("not more than it has");
                assert_eq!(held.used() + split.used(), used);
                self.held.push((split, group));
            }
            Change::Transfer(target) => {
                return self.transfer(held, group, target % self.groups.len());
            }
            Change::Drop => return,
        }
        self.held.push((held, group));
    }

    fn transfer(&mut self, mut held: Reservation, source: usize, target: usize) {
        let bytes = held.used();
        let above = self.path(self.answering(source));
        let common = self.path(target).into_iter().find(|level| above.contains(level));
        self.known[source].raw += bytes;
        let (room, is_removed) =
            (self.has_room(target, bytes, common), self.known[target].is_removed);
        self.known[source].raw -= bytes;
        let moved = held.transfer(&self.groups[target].1);
        let is_moved = moved.is_ok();
        match moved {
            Ok(()) if source == target => {}
            Ok(()) => assert!(bytes == 0 || (room && !is_removed), "moved without room"),
            Err(error) => assert!(!room || is_removed, "{error}"),
        }
        assert_eq!(held.used(), bytes);
        self.held.push((held, if is_moved { target } else { source }));
    }

    fn create(&mut self, parent: usize) {
        if self.known[parent].is_removed {
            return;
        }
        let name = format!("g{}", self.groups.len());
        let pair = self.groups[parent].0.each_ref();
        let pair = pair.map(|group| group.create_child(&name).expect("the name is free"));
        let css = self.memory.css(&pair[self.bound]).expect("it is online");
        self.groups.push((pair, css));
        self.known.push(Known { parent: Some(parent), raw: 0, max: None, is_removed: false });
    }

    fn remove(&mut self, group: usize, strict: bool) {
        let has_children =
            self.known.iter().any(|known| known.parent == Some(group) && !known.is_removed);
        if group == 0 || self.known[group].is_removed || has_children {
            return;
        }
        for tree in &self.trees {
            self.task.leave(tree).expect("to the root");
        }
        let (pair, _css) = &self.groups[group];
        if strict {
            // We hold its css, so that is refused, and changes nothing.
            pair[self.bound].remove(Removal::Strict).expect_err("in use");
            return;
        }
        for group in pair {
            group.remove(Removal::Detach).expect("nobody is there");
        }
        self.known[group].is_removed = true;
    }
}

/// Returns `part` of 255 of `whole`.
fn portion(whole: u64, part: u8) -> u64 {
    whole * u64::from(part) / 255
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => bytes().prop_map(Change::Grow),
        1 => bytes().prop_map(Change::GrowForced),
        4 => any::<u8>().prop_map(Change::Shrink),
        2 => any::<u8>().prop_map(Change::Split),
        3 => (0_usize..64).prop_map(Change::Transfer),
        2 => Just(Change::Drop),
    ]
}

fn bytes() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0_u64..5_000, 2 => 0_u64..300_000, 1 => 1_u64 << 20..1 << 24]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let number = || 0_usize..64;
    let max = prop_oneof![1 => Just(None), 4 => (0_u64..1 << 21).prop_map(Some)];
    let step = prop_oneof![
        4 => number().prop_map(|parent| Step::Create { parent }),
        2 => (number(), any::<bool>()).prop_map(|(group, strict)| Step::Remove { group, strict }),
        6 => (number(), bytes()).prop_map(|(group, bytes)| Step::Charge { group, bytes }),
        1 => (number(), bytes()).prop_map(|(group, bytes)| Step::Force { group, bytes }),
        4 => (number(), any::<u8>()).prop_map(|(group, part)| Step::Uncharge { group, part }),
        3 => (number(), max).prop_map(|(group, max)| Step::SetMax { group, max }),
        1 => number().prop_map(|group| Step::Join { group }),
        1 => Just(Step::Rebind),
        4 => (number(), bytes()).prop_map(|(group, bytes)| Step::Reserve { group, bytes }),
        12 => (number(), changes())
            .prop_map(|(reservation, change)| Step::Held { reservation, change }),
    ];
    prop::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sums_are_exact_at_every_step(steps in steps()) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            world.check();
        }
        world.held.clear();
        for group in 0..world.groups.len() {
            let back = std::mem::take(&mut world.known[group].raw);
            world.groups[group].1.uncharge(back);
        }
        world.check();
        let World { registry, groups, known, .. } = world;
        drop(groups);
        registry.wait_reclaimed().expect("freed");
        let live = known.iter().filter(|known| !known.is_removed).count() as u64;
        let stats = registry.stats();
        prop_assert_eq!((stats.css_online, stats.css_dying), (live, 0));
    }
}
