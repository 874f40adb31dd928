//! One thread that creates groups in both trees, with a member, and leaves them to others.

use std::time::Duration;

use fief_core::{AttachError, EditError, Removal, Task};

use super::field::{Field, Pair, SEATS};
use crate::{
    stress::{Failed, Random},
    sync::{Arc, lock, thread},
};

pub(super) struct Writer<'a> {
    field: &'a Field,
    index: usize,
    random: Random,
    /// The groups of this writer's seats.
    pairs: [Option<Pair>; SEATS],
    /// A task that sits in other places than the shape of the trees says.
    stray: Task,
    names: u64,
}

impl<'a> Writer<'a> {
    pub(super) fn new(field: &'a Field, index: usize, random: Random) -> Result<Self, Failed> {
        let stray = field.registry.create_task("stray")?;
        Ok(Self { field, index, random, pairs: [const { None }; SEATS], stray, names: 0 })
    }

    pub(super) fn run(mut self) -> Result<(), Failed> {
        while !self.field.stopped() {
            let seat = self.random.below(SEATS);
            match self.pairs[seat].take() {
                None => self.found(seat)?,
                Some(pair) => self.turn(seat, pair)?,
            }
            if self.random.below(64) == 0 {
                thread::sleep(Duration::from_micros(50));
            }
        }
        (0..SEATS).for_each(|seat| self.unseat(seat));
        Ok(())
    }

    fn turn(&mut self, seat: usize, pair: Pair) -> Result<(), Failed> {
        match self.random.below(16) {
            // Left to the agents.
            0..4 => {
                self.unseat(seat);
                self.field.leave(pair);
            }
            4 | 5 => self.detach(seat, &pair)?,
            // The member goes to another group; its own is left to the agents.
            6 | 7 => {
                self.found(seat)?;
                self.field.leave(pair);
            }
            8 | 9 => {
                self.spawn(seat)?;
                self.pairs[seat] = Some(pair);
            }
            10 | 11 => {
                self.stray(&pair)?;
                self.pairs[seat] = Some(pair);
            }
            12 | 13 => {
                let group = &pair[self.random.below(2)];
                group.set_notify_on_release(false)?;
                group.set_notify_on_release(true)?;
                self.pairs[seat] = Some(pair);
            }
            _ => {
                self.look_back(&pair)?;
                self.pairs[seat] = Some(pair);
            }
        }
        Ok(())
    }

    fn seat(&self, seat: usize) -> &crate::sync::Mutex<Option<Arc<Task>>> {
        &self.field.seats[self.index * SEATS + seat]
    }

    fn unseat(&self, seat: usize) {
        let task = lock(self.seat(seat)).take();
        drop(task);
    }

    /// Creates a group with a new member, or with the one that is there.
    fn found(&mut self, seat: usize) -> Result<(), Failed> {
        self.names += 1;
        let name = format!("g{}.{}", self.index, self.names);
        let present = lock(self.seat(seat)).clone();
        let task = match present {
            Some(task) => task,
            None => Arc::new(self.field.registry.create_task("guest")?),
        };
        let above = &self.field.parents[self.random.below(self.field.parents.len())];
        self.pairs[seat] = Some(self.field.create(above, &name, &[&*task])?);
        *lock(self.seat(seat)) = Some(task);
        Ok(())
    }

    /// The member's child takes its seat.
    fn spawn(&self, seat: usize) -> Result<(), Failed> {
        let present = lock(self.seat(seat)).clone();
        let Some(parent) = present else { return Ok(()) };
        let child = Arc::new(parent.spawn("child")?);
        let before = lock(self.seat(seat)).replace(child);
        drop(before);
        Ok(())
    }

    /// Removes the group by detaching, unless a reader still has its member: then it is left to the agents.
    fn detach(&self, seat: usize, pair: &Pair) -> Result<(), Failed> {
        self.unseat(seat);
        let is_detached = self.field.remove(pair, Removal::Detach)?;
        self.field.add(|counts| counts.detached += u64::from(is_detached));
        Ok(())
    }

    /// A task goes to a group in one tree, or back to where it is no stray.
    fn stray(&mut self, pair: &Pair) -> Result<(), Failed> {
        if self.random.below(4) == 0 {
            match self.stray.join(&pair[self.random.below(2)]) {
                Ok(()) | Err(AttachError::Removed { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            return Ok(());
        }
        let roots = self.field.trees.each_ref().map(fief_core::Hierarchy::root);
        let joined = self.field.registry.edit(|edit| {
            roots.iter().for_each(|root| edit.join(&self.stray, root));
        });
        match joined {
            Ok(_) | Err(EditError::Attach(AttachError::Removed { .. })) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The member of a group is in it, in both trees.
    fn look_back(&self, pair: &Pair) -> Result<(), Failed> {
        for group in pair {
            let members = group.members();
            let count = members.iter().filter(|member| member.name != "stray").count();
            if count == 0 {
                return Err(format!("{group:?} has members {members:?}").into());
            }
        }
        Ok(())
    }
}
