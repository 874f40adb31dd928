//! One thread that uses groups in every way there is.

use crossbeam_channel::{Receiver, Sender};
use fief_core::{AttachError, Cgroup, Limit, Removal, RemoveError, State, Task};

use super::field::Field;
use crate::{
    stress::{
        Failed, Random,
        ledger::{Wanderer, strictly},
    },
    sync::Ordering,
};

pub(super) struct Worker<'a> {
    field: &'a Field,
    index: usize,
    random: Random,
    inbox: Receiver<Wanderer>,
    outboxes: Vec<Sender<Wanderer>>,
    task: Option<Task>,
    operations: u64,
    misses: u64,
}

/// Turns whose counts are added up together.
const TURNS: usize = 64;

impl<'a> Worker<'a> {
    pub(super) fn new(
        field: &'a Field,
        index: usize,
        random: Random,
        inbox: Receiver<Wanderer>,
        outboxes: Vec<Sender<Wanderer>>,
    ) -> Self {
        Self { field, index, random, inbox, outboxes, task: None, operations: 0, misses: 0 }
    }

    pub(super) fn run(&mut self) {
        while !self.field.stopped() {
            for _ in 0..TURNS {
                if let Err(error) = self.turn() {
                    self.field.refuse(&error);
                }
            }
            let (operations, misses) =
                (std::mem::take(&mut self.operations), std::mem::take(&mut self.misses));
            self.field.add(|counts| {
                counts.operations += operations;
                counts.misses += misses;
            });
        }
        self.task = None;
        // What others still send is dropped with the channel.
    }

    fn turn(&mut self) -> Result<(), Failed> {
        let slot = self.random.below(self.field.slots());
        let group = self.field.group(slot)?;
        match self.random.below(256) {
            0..16 => self.visit(&group)?,
            16..24 => self.found(slot)?,
            24..28 => self.flip(&group),
            28..30 => self.field.remove_strictly(&group, false),
            30 => self.detach(&group),
            31 | 32 => self.fell(slot),
            33..64 => self.receive(),
            64..96 => self.wander(&group),
            96..128 => {
                self.storm(&group);
                self.abandon(&group, slot);
            }
            _ => self.storm(&group),
        }
        Ok(())
    }

    /// Takes references to several css, and puts all at once.
    fn storm(&mut self, group: &Cgroup) {
        self.field.used(group);
        let mut held = Vec::new();
        for turn in 0..1 + self.random.below(12) {
            let controller = &self.field.world.controllers[turn % 3];
            match controller.css(group) {
                Some(css) => held.push(Wanderer::new(css)),
                None => return self.missed(group, held.is_empty()),
            }
        }
        for css in &held {
            for _ in 0..4 {
                drop(css.css().clone());
            }
            css.css().check();
        }
        self.operations += 10 * held.len() as u64;
    }

    /// A try failed: then the group is removed, and nobody holds a reference by which it could not be.
    fn missed(&mut self, group: &Cgroup, holds_nothing: bool) {
        self.misses += 1;
        // It takes the lock that a removal holds until the group says that it is removed.
        let is_there = group.set_max_depth(Limit::Max).is_ok();
        let text =
            || format!("a try failed, and the group stays (holding nothing: {holds_nothing})");
        self.field.world.ledger.assert(!is_there, text);
    }

    fn wander(&mut self, group: &Cgroup) {
        self.field.used(group);
        let controller = &self.field.world.controllers[self.random.below(3)];
        let Some(css) = controller.css(group) else { return self.missed(group, true) };
        let other = 1 + self.random.below(self.outboxes.len() - 1);
        let outbox = (self.index + other) % self.outboxes.len();
        // A full inbox gives the reference back, and it is dropped here.
        self.outboxes[outbox].try_send(Wanderer::new(css)).ok();
        self.operations += 2;
    }

    fn receive(&self) {
        self.inbox.try_iter().for_each(drop);
    }

    /// Joins, looks around, and leaves or ends.
    fn visit(&mut self, group: &Cgroup) -> Result<(), Failed> {
        let task = match self.task.take() {
            Some(task) => task,
            None => self.field.world.registry.create_task("worker")?,
        };
        self.field.used(group);
        match task.join(group) {
            Ok(()) => self.stay(group, task)?,
            Err(AttachError::Removed { .. }) => self.task = Some(task),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// As a member: the group stays, and its css are to be had.
    fn stay(&mut self, group: &Cgroup, task: Task) -> Result<(), Failed> {
        self.field.add(|counts| counts.joined += 1);
        let (world, ledger) = (&self.field.world, &self.field.world.ledger);
        for controller in &world.controllers {
            let css = controller.css(group).map(Wanderer::new);
            ledger.assert(css.is_some(), || "a member's group has no css".to_owned());
            self.operations += 2;
        }
        let is_there = task.cgroup(&world.hierarchy).as_ref() == Some(group);
        let state = group.state();
        let stays = is_there && state == State::Online;
        ledger.assert(stays, || format!("{state:?} under its member, who is in it: {is_there}"));
        if self.random.below(2) == 0 {
            task.leave(&world.hierarchy)?;
            self.task = Some(task);
        }
        Ok(())
    }

    /// Creates a group with its first member, in place of another.
    fn found(&mut self, slot: usize) -> Result<(), Failed> {
        let task = self.field.world.registry.create_task("founder")?;
        let (old, new) = self.field.replace(slot, &task)?;
        self.stay(&new, task)?;
        self.task = None;
        if old.depth() > 0 {
            self.abandon(&old, slot);
        }
        Ok(())
    }

    /// Leaves a group to the agents: they are told of its last use, or it stays for ever.
    fn abandon(&self, group: &Cgroup, slot: usize) {
        self.field.vacate(slot, group);
        let patient = self.field.patient(&group.name());
        // Ordering: Relaxed: one whose flag is taken back after this is left until the end.
        if patient.is_some_and(|patient| !patient.steady.load(Ordering::Relaxed)) {
            self.detach(group);
        }
    }

    fn flip(&mut self, group: &Cgroup) {
        if let Some(patient) = self.field.patient(&group.name()) {
            // Ordering: Relaxed: read when the workers are joined.
            patient.steady.store(false, Ordering::Relaxed);
        }
        // It may be removed.
        group.set_notify_on_release(false).ok();
        if self.random.below(4) > 0 {
            group.set_notify_on_release(true).ok();
        }
    }

    fn detach(&self, group: &Cgroup) {
        group.parent().inspect(|parent| self.field.used(parent));
        match group.remove(Removal::Detach) {
            Ok(()) => {
                self.field.forget(&[group.name()]);
                self.field.add(|counts| counts.detached += 1);
            }
            Err(RemoveError::Busy { .. } | RemoveError::Removed { .. }) => {}
            Err(error) => self.field.refuse(&error),
        }
    }

    /// Removes a parent with all below.
    fn fell(&mut self, slot: usize) {
        let parent = self.field.parent(slot);
        let names: Vec<String> = parent.descendants_pre().map(|group| group.name()).collect();
        let is_strict = self.random.below(16) > 0;
        let felled = if is_strict {
            strictly(|| parent.remove_subtree(Removal::Strict))
        } else {
            parent.remove_subtree(Removal::Detach)
        };
        if felled.is_ok() {
            // One that came in between is looked after in vain.
            self.field.forget(&names);
        }
        self.field.add(|counts| match felled {
            Ok(count) if is_strict => counts.strict += count as u64,
            Ok(count) => counts.detached += count as u64,
            Err(RemoveError::InUse { .. }) => counts.refused += 1,
            Err(_) => {}
        });
    }
}
