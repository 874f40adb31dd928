//! What a scheduler has to offer to take part: groups, and futures or closures in them.

use std::{fmt::Debug, sync::Arc, time::Duration};

use anyhow::{Result, bail};

use super::load::Job;

/// A closure that a system runs.
pub type Closure = Box<dyn FnOnce() + Send>;

/// What a thread does for a group; it is given what it calls as a checkpoint.
pub type Body<'b> = &'b mut dyn FnMut(&mut dyn FnMut());

/// A system that can be started with groups.
pub trait System: Sync {
    /// Returns its name.
    fn name(&self) -> &'static str;

    /// Returns why it cannot serve a plan, on this machine or at all.
    fn refuses(&self, plan: &Plan) -> Option<String>;

    /// Whether a failure means that something is broken here.
    fn is_reliable(&self) -> bool {
        true
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// What should not happen where the plan was not refused.
    fn start(&self, plan: &Plan) -> Result<Arc<dyn Running>>;
}

/// A system that runs.
pub trait Running: Send + Sync + Debug {
    /// Spawns a job in a group of the plan.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn spawn(&self, group: usize, job: Job) -> Result<()>;

    /// Spawns a closure in a group of the plan.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn spawn_fn(&self, group: usize, closure: Closure) -> Result<()> {
        self.spawn(group, Box::pin(async move { closure() }))
    }

    /// Spawns futures that do nothing, from inside of the first group, and awaits them, [`BATCH`] at a time;
    /// returns how long that took, or nothing where it cannot be done.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn spawn_and_join(&self, _batches: u32) -> Result<Option<Duration>> {
        Ok(None)
    }

    /// Makes the calling thread a competitor: of the weight that a worker of the system has, and outside
    /// of its groups.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn compete(&self) -> Result<()> {
        Ok(())
    }

    /// Has the calling thread run so many checkpoints for a group; returns how long they took, or nothing where
    /// there is no such thing.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn checkpoints(&self, _group: usize, _times: u32) -> Result<Option<Duration>> {
        Ok(None)
    }

    /// Has the calling thread run for a group; it passes the checkpoints that it is given.
    ///
    /// # Errors
    ///
    /// What the system says; it does not care for threads.
    fn lease(&self, _group: usize, _body: Body<'_>) -> Result<()> {
        bail!("threads are not cared for")
    }

    /// Makes a second tree of the shape of the first, with the same tasks; returns whether it can.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn twin(&self) -> Result<bool> {
        Ok(false)
    }

    /// Moves all that it keeps for groups to the other tree.
    ///
    /// # Errors
    ///
    /// What the system says; there is no other tree.
    fn rebind(&self) -> Result<()> {
        bail!("there is no other tree")
    }

    /// Stops it, once all its jobs have ended.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn stop(&self) -> Result<()>;
}

/// Futures that are spawned before the first is awaited.
pub const BATCH: u32 = 64;

/// The groups that a row needs, parents first, and what it does in them.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The groups.
    pub groups: Vec<Group>,
    /// What is done in them, apart from futures that work.
    pub uses: Uses,
}

/// What a row does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Uses {
    /// Futures.
    #[default]
    Futures,
    /// Futures with tokio's sockets.
    Sockets,
    /// Closures only.
    Closures,
}

/// A group.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Which of those before it is its parent; none: the root.
    pub parent: Option<usize>,
    /// From 1 to 10,000; 100 is usual.
    pub weight: u16,
    /// How many processors it may have at most.
    pub quota: Option<f64>,
    /// What a system that knows no weights makes of it.
    pub class: Class,
}

/// What runs in a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Class {
    /// Work that takes what it gets.
    #[default]
    Batch,
    /// Work that is short and urgent.
    Light,
}

impl Default for Group {
    fn default() -> Self {
        Self { parent: None, weight: 100, quota: None, class: Class::Batch }
    }
}

impl Plan {
    /// Returns a plan of groups without parents.
    #[must_use]
    pub fn flat(groups: impl IntoIterator<Item = Group>) -> Self {
        Self { groups: groups.into_iter().collect(), uses: Uses::Futures }
    }

    /// Returns the plan of two groups: a light one, number 0, and one with batch work.
    #[must_use]
    pub fn light_and_batch() -> Self {
        Self::flat([Group { class: Class::Light, ..Group::default() }, Group::default()])
    }

    /// Returns the same plan, with another use.
    #[must_use]
    pub fn with(self, uses: Uses) -> Self {
        Self { uses, ..self }
    }

    /// Adds a group and returns its number.
    pub fn add(&mut self, group: Group) -> usize {
        self.groups.push(group);
        self.groups.len() - 1
    }

    /// Adds `levels` of groups, one below the other, and returns the last one's number: `top` itself if there
    /// are none.
    pub fn chain(&mut self, top: usize, levels: usize) -> usize {
        (0..levels)
            .fold(top, |parent, _| self.add(Group { parent: Some(parent), ..Group::default() }))
    }

    /// Whether there is a group below another.
    #[must_use]
    pub fn is_deep(&self) -> bool {
        self.groups.iter().any(|group| group.parent.is_some())
    }

    /// Whether weights differ.
    #[must_use]
    pub fn is_weighted(&self) -> bool {
        self.groups.windows(2).any(|pair| pair[0].weight != pair[1].weight)
    }

    /// Whether there is a quota.
    #[must_use]
    pub fn has_quota(&self) -> bool {
        self.groups.iter().any(|group| group.quota.is_some())
    }

    /// Whether there are groups of both classes.
    #[must_use]
    pub fn has_classes(&self) -> bool {
        let is_light = |group: &Group| group.class == Class::Light;
        self.groups.iter().any(is_light) && !self.groups.iter().all(is_light)
    }
}
