//! What workers and agents share: the groups, how often each was used and told, and the sums.

use std::{collections::HashMap, time::Instant};

use fief_core::{
    AgentStats, Cgroup, CreateError, Reclaimer, Registry, Removal, RemoveError, State,
};

use super::{Counts, Load, Outcome};
use crate::{
    stress::{Failed, LIMIT, Progress, ledger::strictly},
    sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, lock, thread},
    world::World,
};

/// Parents of the groups.
const PARENTS: usize = 2;

/// One group that is looked after from its creation on.
#[derive(Debug)]
pub(super) struct Patient {
    /// Counted before each use, so that it never lags behind the notices.
    uses: AtomicU64,
    notices: AtomicU64,
    /// Its flag was never taken back: each edge was told.
    pub(super) steady: AtomicBool,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) world: World,
    parents: Vec<Mutex<Cgroup>>,
    slots: Vec<Mutex<Cgroup>>,
    /// By name: no two groups have the same.
    patients: Mutex<HashMap<String, Arc<Patient>>>,
    names: AtomicU64,
    stop: AtomicBool,
    counts: Mutex<Counts>,
    refused: Mutex<Option<String>>,
}

impl Field {
    pub(super) fn new(load: &Load) -> Result<Self, Failed> {
        let registry =
            Registry::builder().barrier(load.barrier).reclaimer(Reclaimer::Thread).build();
        let world = World::new(registry, 3)?;
        let root = world.hierarchy.root();
        root.set_notify_on_release(true)?;
        let place = || Mutex::new(root.clone());
        let field = Self {
            parents: (0..PARENTS).map(|_| place()).collect(),
            slots: (0..load.slots).map(|_| place()).collect(),
            world,
            patients: Mutex::default(),
            names: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            counts: Mutex::default(),
            refused: Mutex::default(),
        };
        for parent in &field.parents {
            *lock(parent) = field.admit(&root, None)?;
        }
        Ok(field)
    }

    pub(super) fn stopped(&self) -> bool {
        // Ordering: Relaxed: a little later will do.
        self.stop.load(Ordering::Relaxed)
    }

    pub(super) fn stop(&self) {
        // Ordering: Relaxed: see `stopped`.
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Ends the load for a refusal that nobody has earned.
    pub(super) fn refuse(&self, error: &dyn std::fmt::Display) {
        lock(&self.refused).get_or_insert_with(|| error.to_string());
        self.stop();
    }

    pub(super) fn add(&self, of: impl FnOnce(&mut Counts)) {
        of(&mut lock(&self.counts));
    }

    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Returns the group of a slot; there is a new one if the last was removed.
    pub(super) fn group(&self, slot: usize) -> Result<Cgroup, Failed> {
        let mut group = lock(&self.slots[slot]);
        if group.depth() == 0 || group.state() != State::Online {
            *group = self.create(slot, None)?;
        }
        Ok(group.clone())
    }

    /// Puts a new group with a first member into a slot; returns both groups.
    pub(super) fn replace(
        &self,
        slot: usize,
        task: &fief_core::Task,
    ) -> Result<(Cgroup, Cgroup), Failed> {
        let new = self.create(slot, Some(task))?;
        let old = std::mem::replace(&mut *lock(&self.slots[slot]), new.clone());
        Ok((old, new))
    }

    /// Has the next who asks for the group of a slot get a new one.
    pub(super) fn vacate(&self, slot: usize, group: &Cgroup) {
        let mut held = lock(&self.slots[slot]);
        if *held == *group {
            *held = self.world.hierarchy.root();
        }
    }

    /// Returns a parent, which may be removed at any time.
    pub(super) fn parent(&self, slot: usize) -> Cgroup {
        lock(&self.parents[slot % PARENTS]).clone()
    }

    fn create(&self, slot: usize, member: Option<&fief_core::Task>) -> Result<Cgroup, Failed> {
        let mut parent = lock(&self.parents[slot % PARENTS]);
        loop {
            self.used(&parent);
            match self.admit(&parent, member) {
                Ok(group) => return Ok(group),
                Err(error) if is_for_removed(&error) => {
                    *parent = self.admit(&self.world.hierarchy.root(), None)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Creates a group with a name of its own, and looks after it.
    fn admit(&self, parent: &Cgroup, member: Option<&fief_core::Task>) -> Result<Cgroup, Failed> {
        // Ordering: Relaxed: only unique.
        let name = format!("g{}", self.names.fetch_add(1, Ordering::Relaxed));
        let patient = Patient {
            uses: AtomicU64::new(member.map_or(0, |_| 1)),
            notices: AtomicU64::new(0),
            steady: AtomicBool::new(true),
        };
        lock(&self.patients).insert(name.clone(), Arc::new(patient));
        self.add(|counts| counts.uses += member.map_or(0, |_| 1));
        let created = match member {
            Some(task) => parent.create_child_with(&name, &[task]).map_err(Failed::from),
            None => parent.create_child(&name).map_err(Failed::from),
        };
        created.inspect_err(|_| drop(lock(&self.patients).remove(&name)))
    }

    pub(super) fn patient(&self, name: &str) -> Option<Arc<Patient>> {
        lock(&self.patients).get(name).cloned()
    }

    /// Looks no more after groups that are removed; notices of theirs may follow.
    pub(super) fn forget(&self, names: &[String]) {
        let mut patients = lock(&self.patients);
        names.iter().for_each(|name| drop(patients.remove(name)));
    }

    /// Counts one use of a group ahead of it.
    pub(super) fn used(&self, group: &Cgroup) {
        if let Some(patient) = self.patient(&group.name()) {
            // Ordering: Relaxed: who is told of the use's end comes after it by the core's edges.
            patient.uses.fetch_add(1, Ordering::Relaxed);
        }
        self.add(|counts| counts.uses += 1);
    }

    /// Removes strictly, and says what that came to.
    pub(super) fn remove_strictly(&self, group: &Cgroup, is_agent: bool) {
        // Its parent may be told of the end of this use.
        group.parent().inspect(|parent| self.used(parent));
        match strictly(|| group.remove(Removal::Strict)) {
            Ok(()) => {
                self.forget(&[group.name()]);
                self.add(|counts| {
                    *(if is_agent { &mut counts.by_agents } else { &mut counts.strict }) += 1;
                });
            }
            Err(RemoveError::InUse { .. }) => self.add(|counts| counts.refused += 1),
            Err(RemoveError::Busy { .. } | RemoveError::Removed { .. }) => {}
            Err(error) => self.refuse(&error),
        }
    }

    /// Takes a notice of a group that is in use no more.
    pub(super) fn told(&self, group: &Cgroup) {
        self.note(&group.name());
        self.add(|counts| counts.accepted += 1);
        self.remove_strictly(group, true);
    }

    /// No group is told more often than it was used.
    fn note(&self, name: &str) {
        let Some(patient) = self.patient(name) else { return };
        // Ordering: Relaxed: see `used`.
        let notices = patient.notices.fetch_add(1, Ordering::Relaxed) + 1;
        let uses = patient.uses.load(Ordering::Relaxed);
        let text = || format!("{name} was told {notices} times of {uses} uses");
        self.world.ledger.assert(notices <= uses, text);
    }

    /// Receives notices until the hierarchy is destroyed.
    pub(super) fn receive(&self) {
        for notice in &self.world.hierarchy.notices() {
            let path = notice.path();
            match notice.accept() {
                Some(group) => self.told(&group),
                None => {
                    self.note(path.rsplit('/').next().unwrap_or_default());
                    self.add(|counts| counts.moot += 1);
                }
            }
        }
    }

    /// Returns when the work is done, or something went wrong.
    pub(super) fn watch(&self, operations: u64, progress: &mut Progress) {
        loop {
            let Counts { operations: done, by_agents, .. } = *lock(&self.counts);
            let ledger = &self.world.ledger;
            let line =
                || format!("{done} operations, {by_agents} removed by agents, css: {ledger}");
            let in_time = progress.tick(line);
            if done >= operations || !in_time || ledger.violations().is_some() || self.stopped() {
                return self.stop();
            }
            thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Waits until every group that was used is told and gone; then has the others used and told.
    pub(super) fn become_quiet(&self) -> Result<(), Failed> {
        if let Some(refused) = lock(&self.refused).take() {
            return Err(refused.into());
        }
        self.until_gone(|group, patient| {
            // Ordering: Relaxed: the workers are joined.
            let is_used = patient.uses.load(Ordering::Relaxed) > 0;
            let is_steady = patient.steady.load(Ordering::Relaxed);
            is_used && is_steady && group.children().next().is_none()
        })?;
        let left: Vec<Cgroup> = self.world.hierarchy.root().descendants_post().collect();
        for group in left.iter().filter(|group| group.depth() > 0) {
            // Where an agent was faster, there is nothing to do.
            group.set_notify_on_release(true).ok();
            self.used(group);
            for controller in &self.world.controllers {
                drop(controller.css(group));
            }
        }
        self.until_gone(|_, _| true)?;
        let told = self.world.hierarchy.renotify()?;
        if told > 0 { Err(format!("{told} told, and no group is left").into()) } else { Ok(()) }
    }

    /// Waits until no group is left of those that `are_to_go`.
    fn until_gone(&self, are_to_go: impl Fn(&Cgroup, &Patient) -> bool) -> Result<(), Failed> {
        let start = Instant::now();
        loop {
            self.world.registry.wait_reclaimed()?;
            let below = self.world.hierarchy.root().descendants_pre().skip(1);
            let mut left = below.filter(|group| {
                let patient = self.patient(&group.name());
                patient.is_some_and(|patient| are_to_go(group, &patient))
            });
            let Some(first) = left.next() else { return Ok(()) };
            if start.elapsed() > LIMIT / 4 {
                let (count, patient) = (left.count() + 1, self.patient(&first.name()));
                return Err(format!("{count} groups never told: {first:?} {patient:?}").into());
            }
            thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// Destroys the hierarchy, with what should not be in it any more.
    pub(super) fn destroy(&self) -> Result<(), Failed> {
        for group in self.world.hierarchy.root().children() {
            group.remove_subtree(Removal::Detach)?;
        }
        Ok(self.world.hierarchy.destroy()?)
    }

    /// Ends everything, and compares the sums.
    pub(super) fn finish(&self, agent: AgentStats, seconds: f64) -> Result<Outcome, Failed> {
        self.world.end()?;
        let mut counts = *lock(&self.counts);
        counts.moot += agent.moot;
        let stats = self.world.registry.stats();
        let received = counts.accepted + counts.moot;
        if received != stats.notices || agent.panicked > 0 {
            let text = format!("{received} notices received of {}; {agent:?}", stats.notices);
            return Err(text.into());
        }
        if stats.css_freed != stats.css_created || stats.css_released != stats.css_created {
            return Err(format!("a css was lost: {stats:?}").into());
        }
        Ok(Outcome { counts, seconds, stats, ledger: Arc::clone(&self.world.ledger) })
    }
}

/// Returns whether a group could not be created as its parent is removed.
fn is_for_removed(error: &Failed) -> bool {
    let create = error.downcast_ref::<CreateError>();
    let with = match error.downcast_ref::<fief_core::CreateWithError>() {
        Some(fief_core::CreateWithError::Create(error)) => Some(error),
        _ => None,
    };
    matches!(create.or(with), Some(CreateError::Removed { .. }))
}
