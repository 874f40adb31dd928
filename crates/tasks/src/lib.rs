//! How many tasks a group and all below it may have: the smallest fief controller.
//!
//! It counts tasks as Linux's `pids` controller counts processes (`kernel/cgroup/pids.c`): the limit holds
//! for tasks that are *made*. One that is moved into a group counts there and is never refused, and a limit
//! below what there is stands, so a group can have more than its limit.
//!
//! ```
//! use fief_core::{Limit, Registry};
//! use fief_tasks::Tasks;
//!
//! let registry = Registry::new();
//! let tenants = registry.create_hierarchy("by-tenant")?;
//! let tasks = registry.register(Tasks::new())?;
//! tasks.bind(&tenants)?;
//!
//! let web = tenants.root().create_child("web")?;
//! web.write("tasks.max", "2")?;
//! let first = web.create_task("first")?;
//! let _second = first.spawn("second")?; // where its spawner is
//!
//! let error = first.spawn("third").unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "tasks refused /web in can_fork: tasks.max of /web reached: 2 of 2 tasks in use, 1 asked",
//! );
//! assert_eq!(web.read("tasks.current")?, "2\n");
//! assert_eq!(web.read("tasks.events")?, "max 1\n");
//!
//! // The same by hand: the css of the group derefs to its state.
//! let css = tasks.css(&web).ok_or("removed")?;
//! css.set_max(Limit::Max);
//! assert_eq!((css.current(), css.peak()), (2, 2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Control files
//!
//! | file | | |
//! |---|---|---|
//! | `tasks.max` | rw | how many tasks there may be: a number, or `max`, the default |
//! | `tasks.current` | r | how many there are, here and below |
//! | `tasks.peak` | r | how many there ever were at one time |
//! | `tasks.events` | r | `max N`: how often a limit refused a task, this group's or one of a group below |
//! | `tasks.events.local` | r | the same, of this group's limit alone |
//!
//! The root has them, too: its limit is one on the tasks of the registry.
//!
//! # How it is made
//!
//! The book is kept in four hooks, all under the registry's structural lock: `can_fork` charges a task to the
//! group where it will be and all above, `cancel_fork` and `exit` give that back, and `attach` moves it
//! from one group to the other. Controllers that are bound, unbound or rebound see their members through
//! `attach` as well, so there is nothing else to do. `docs/adding-a-controller.md` goes through it line by line.

use fief_core::{
    ControlFile, Counter, CounterStats, Css, HookError, Limit, Member, Migration, Resource,
    Subsystem, Tally, TallyStats,
    file::{parse, render},
};

/// What is counted, and which limit errors name.
const TASKS: Resource<TasksCss> =
    Resource::new("tasks.max", |css: &TasksCss| &css.tasks).with_unit("tasks");

/// The subsystem: register it, and bind the controller to a hierarchy.
///
/// Tasks that exist as it is registered count from then on.
#[derive(Debug, Default)]
#[doc(alias = "pids_cgrp_subsys")]
pub struct Tasks {
    _private: (),
}

/// A group's tasks: how many there are, and may be.
///
/// All methods are wait-free but [`set_max`](Self::set_max), and may be called at any time.
#[derive(Debug)]
#[doc(alias = "pids_cgroup")]
pub struct TasksCss {
    tasks: Counter,
    /// Tasks refused by the limit; in all, by those of the groups below, too.
    refused: Tally<1>,
}

/// A group's figures, as of one moment each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct TasksStats {
    /// How many tasks there are, here and below.
    pub current: u64,
    /// How many there may be.
    pub max: Limit,
    /// How many there ever were at one time.
    pub peak: u64,
    /// How often a limit refused a task: this group's, or one of a group below.
    pub max_events: u64,
    /// How often this group's limit did.
    pub max_events_local: u64,
}

impl Tasks {
    /// Makes the subsystem.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl TasksCss {
    /// Returns how many tasks there are, in the group and all below it.
    #[must_use]
    #[doc(alias = "pids.current")]
    pub fn current(&self) -> u64 {
        self.tasks.current()
    }

    /// Returns how many tasks there ever were at one time, those included that another controller refused.
    #[must_use]
    #[doc(alias = "pids.peak")]
    pub fn peak(&self) -> u64 {
        self.tasks.peak()
    }

    /// Returns how many tasks there may be; the default is [`Limit::Max`].
    #[must_use]
    #[doc(alias = "pids.max")]
    pub fn max(&self) -> Limit {
        self.tasks.max()
    }

    /// Sets how many tasks there may be, and returns how many there are.
    ///
    /// A limit below that takes nothing from anybody: it refuses tasks to come until there are fewer. A
    /// number above 2^63 − 2 is no limit.
    pub fn set_max(&self, max: Limit) -> u64 {
        self.tasks.set_max(max)
    }

    /// Returns the figures.
    #[must_use]
    pub fn stats(&self) -> TasksStats {
        let CounterStats { current, max, peak, .. } = self.tasks.stats();
        let TallyStats { own: [max_events_local], total: [max_events], .. } = self.refused.stats();
        TasksStats { current, max, peak, max_events, max_events_local }
    }
}

impl Subsystem for Tasks {
    type State = TasksCss;

    fn name(&self) -> &'static str {
        "tasks"
    }

    fn new_css(&self, parent: Option<&Css<TasksCss>>) -> Result<TasksCss, HookError> {
        let refused = parent.map_or_else(Tally::new, |parent| Tally::below(&parent.refused));
        Ok(TasksCss { tasks: Counter::new(), refused })
    }

    fn can_fork(&self, css: &Css<TasksCss>, _task: &Member) -> Result<(), HookError> {
        TASKS.try_charge(css, 1).map_err(|error| {
            let mut ancestors = std::iter::successors(Some(css), |css| css.parent());
            let refuser = ancestors.nth(error.level).unwrap_or(css);
            refuser.refused.add(0, 1);
            error.into()
        })
    }

    fn cancel_fork(&self, css: &Css<TasksCss>, _task: &Member) {
        TASKS.uncharge(css, 1);
    }

    fn exit(&self, css: &Css<TasksCss>, _task: &Member) {
        TASKS.uncharge(css, 1);
    }

    fn attach(&self, migration: &Migration<'_, TasksCss>) {
        TASKS.transfer(migration.source, migration.target, 1);
    }

    fn files(&self) -> &[ControlFile] {
        const FILES: &[ControlFile] = &[
            ControlFile::read_write("max"),
            ControlFile::read_only("current"),
            ControlFile::read_only("peak"),
            ControlFile::read_only("events"),
            ControlFile::read_only("events.local"),
        ];
        FILES
    }

    fn read_file(&self, css: &Css<TasksCss>, file: &str) -> Result<String, HookError> {
        let TasksStats { current, max, peak, max_events, max_events_local } = css.stats();
        Ok(match file {
            "max" => render::value(max),
            "current" => render::value(current),
            "peak" => render::value(peak),
            "events" => render::flat([("max", max_events)]),
            "events.local" => render::flat([("max", max_events_local)]),
            _ => return Err(format!("{file} is not a file of this subsystem").into()),
        })
    }

    fn write_file(&self, css: &Css<TasksCss>, file: &str, input: &str) -> Result<(), HookError> {
        match file {
            "max" => css.set_max(parse::limit_in(input, 0..=MOST)?),
            _ => return Err(format!("{file} cannot be written").into()),
        };
        Ok(())
    }
}

/// The highest limit that is one.
const MOST: u64 = (1 << 63) - 2;
