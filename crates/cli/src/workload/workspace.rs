//! What a query has of its group's memory.
//!
//! All of it is charged to the group before it is used, and given back after it is freed. The css is looked up
//! once, for a query stays in its group, and memory stays in the tree by tenant.

use std::{fmt, time::Duration};

use anyhow::Result;
use fief_core::{CssRef, Task};
use fief_memory::{ChargeError, MemoryCss, Reservation, SpillOptions, SpillTicket, Spiller};

use crate::{
    soak::{
        cancel::Cancel,
        stage::{Stage, Who},
        tally::Tally,
    },
    workload::{
        sort::{Grown, Patience, Room},
        spool::Spool,
    },
};

/// The memory of one query.
pub(crate) struct Workspace<'a> {
    stage: &'a Stage,
    tally: &'a Tally,
    cancel: &'a Cancel,
    /// `None` as long as the controller is bound to no tree.
    group: Option<Group>,
}

/// What a query has in its group.
struct Group {
    memory: Reservation,
    /// Says what can be spilled; made when there is something.
    spiller: Option<Spiller>,
    ticket: Option<SpillTicket>,
    css: CssRef<MemoryCss>,
}

impl<'a> Workspace<'a> {
    /// Finds the group that pays for `task`.
    pub(crate) fn new(stage: &'a Stage, task: &Task, cancel: &'a Cancel) -> Self {
        let tally = &*stage.tenant(Who::Analytics).tally;
        let css = || {
            let guard = stage.trees.registry.read();
            guard.task_css(&stage.memory, task)?.try_get_online()
        };
        let css = stage.memory.hierarchy().and_then(|_| css());
        let group =
            css.map(|css| Group { memory: css.reserve(), spiller: None, ticket: None, css });
        Self { stage, tally, cancel, group }
    }

    /// Grows until there is room, or the query is to end.
    fn wait(&mut self, bytes: u64) -> Grown {
        let Some(group) = &mut self.group else { return Grown::Granted };
        self.tally.waits.add(1);
        while !self.cancel.is_cancelled() {
            match group.memory.grow_blocking(bytes, Some(LOOK)) {
                Ok(()) => {
                    self.tally.reserved.add(bytes);
                    return Grown::Granted;
                }
                // Whoever is killed is looked for now and then.
                Err(ChargeError::DeadlinePassed(_)) => {}
                Err(ChargeError::Killed { .. }) => return self.die(),
                Err(_) => break,
            }
        }
        Grown::Over
    }

    /// Ends the query as a victim.
    fn die(&self) -> Grown {
        self.tally.victims.add(1);
        Grown::Over
    }
}

impl Room for Workspace<'_> {
    fn grow(&mut self, bytes: usize, patience: Patience) -> Grown {
        let Some(group) = &mut self.group else { return Grown::Granted };
        let bytes = bytes as u64;
        // What can be had without waiting: with what others give back at once.
        match group.memory.grow_blocking(bytes, Some(Duration::ZERO)) {
            Ok(()) => {
                self.tally.reserved.add(bytes);
                Grown::Granted
            }
            Err(ChargeError::Killed { .. }) => self.die(),
            Err(_) if self.cancel.is_cancelled() => Grown::Over,
            Err(_) if patience == Patience::None => Grown::Refused,
            Err(_) => self.wait(bytes),
        }
    }

    fn shrink(&mut self, bytes: usize) {
        if let Some(group) = &mut self.group {
            self.tally.unreserved.add(group.memory.shrink(bytes as u64));
        }
    }

    fn offer(&mut self, bytes: usize) {
        if let Some(group) = &mut self.group {
            let spiller = &mut group.spiller;
            let make = || group.css.spiller(SpillOptions::new());
            spiller.get_or_insert_with(make).set_spillable(bytes as u64);
        }
    }

    fn is_wanted(&self) -> bool {
        let spiller = self.group.as_ref().and_then(|group| group.spiller.as_ref());
        spiller.is_some_and(|spiller| spiller.requested() > 0)
    }

    fn is_over(&self) -> bool {
        self.cancel.is_cancelled()
    }

    fn begin_spill(&mut self) -> Result<Spool> {
        if let Some(group) = &mut self.group {
            group.ticket = group.spiller.as_ref().and_then(Spiller::try_next);
        }
        Spool::begin(self.stage.archive.path())
    }

    fn end_spill(&mut self, bytes: usize) {
        self.tally.spills.add(1);
        self.tally.spilled.add(bytes as u64);
        if let Some(group) = &mut self.group {
            self.tally.asked.add(u64::from(group.ticket.take().is_some()));
        }
    }
}

impl Drop for Workspace<'_> {
    fn drop(&mut self) {
        if let Some(group) = &mut self.group {
            self.tally.unreserved.add(group.memory.free());
        }
    }
}

impl fmt::Debug for Workspace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = self.group.as_ref().map(|group| &group.memory);
        f.debug_struct("Workspace").field("memory", &memory).finish_non_exhaustive()
    }
}

/// How long to wait before looking whether the query was killed meanwhile.
const LOOK: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Barrier;

    use crate::{
        soak::{bench::tests::Here, memory, pair::Pair, stage::tests::small_stage, tree},
        sync::{Arc, thread},
        workload::{
            query::{Answer, Query},
            sort::Manner,
        },
    };

    /// A stage on which `memory` is bound, with a query in its own group.
    fn stage() -> (Stage, Task, Pair) {
        let stage = small_stage(([127, 0, 0, 1], 0).into());
        tree::open(&stage, Who::Analytics).unwrap();
        tree::bind(&stage).unwrap();
        let (task, pair) = query(&stage, "query");
        (stage, task, pair)
    }

    fn query(stage: &Stage, name: &str) -> (Task, Pair) {
        let task = stage.trees.registry.create_task(name).unwrap();
        let parent = stage.trees.of(Who::Analytics).unwrap();
        let pair = stage.trees.create(&parent, [name; 2], &[&task]).unwrap();
        (task, pair)
    }

    fn cancel(stage: &Stage, task: &Task) -> Arc<Cancel> {
        let cancel = Cancel::new(&stage.tenant(Who::Analytics).tally);
        cancel.stop_with(task);
        cancel
    }

    fn sorts(stage: &Stage, manner: Manner) -> impl Iterator<Item = &(Query, Answer)> {
        let sorts = stage.input.sorts.iter();
        sorts.filter(move |(query, _)| matches!(query, Query::Sort { manner: other, .. } if *other == manner))
    }

    fn limit(stage: &Stage, bytes: u64) {
        let group = stage.trees.of(Who::Analytics).unwrap();
        memory::of(stage, &group).unwrap().set_max(fief_core::Limit::At(bytes));
    }

    #[test]
    fn before_the_bind_nothing_is_charged() {
        let stage = small_stage(([127, 0, 0, 1], 0).into());
        tree::open(&stage, Who::Analytics).unwrap();
        let (task, _pair) = query(&stage, "query");
        let cancel = cancel(&stage, &task);
        let mut workspace = Workspace::new(&stage, &task, &cancel);
        assert_eq!(workspace.grow(1 << 40, Patience::None), Grown::Granted);
        workspace.shrink(1 << 40);
        assert_eq!(stage.memory.root().unwrap().current(), 0);
        drop(workspace);
        assert_eq!(stage.tenant(Who::Analytics).tally.reserved.get(), 0);
    }

    #[test]
    fn a_sort_spills_to_files_what_its_group_may_not_have() {
        let (stage, task, pair) = stage();
        let cancel = cancel(&stage, &task);
        let half = stage.budget.analytics / 2;
        limit(&stage, half);
        for (query, answer) in sorts(&stage, Manner::Spills) {
            let mut workspace = Workspace::new(&stage, &task, &cancel);
            let found = query.run(&stage.input.data, &mut workspace, &Here, |_| {
                assert!(memory::of(&stage, &pair).unwrap().current() <= half);
                true
            });
            assert_eq!(found.unwrap().as_ref(), Some(answer), "{query:?}");
        }
        let tally = &stage.tenant(Who::Analytics).tally;
        assert!(tally.spills.get() > 4 && tally.spilled.get() > half, "{tally:?}");
        assert_eq!(tally.reserved.get(), tally.unreserved.get());
        assert_eq!(memory::of(&stage, &pair).unwrap().current(), 0);
    }

    #[test]
    fn who_waits_goes_on_when_another_gives_back() {
        let (stage, task, _pair) = stage();
        let cancel = cancel(&stage, &task);
        limit(&stage, 1000);
        let other = query(&stage, "other");
        let mut holder = memory::of(&stage, &other.1).unwrap().reserve();
        holder.grow(600).unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let mut workspace = Workspace::new(&stage, &task, &cancel);
                assert_eq!(workspace.grow(500, Patience::None), Grown::Refused);
                workspace.grow(500, Patience::Wait)
            });
            let tally = &stage.tenant(Who::Analytics).tally;
            while tally.waits.get() == 0 {
                thread::yield_now();
            }
            assert!(!waiting.is_finished());
            holder.free();
            assert_eq!(waiting.join().unwrap(), Grown::Granted);
            assert_eq!((tally.reserved.get(), tally.unreserved.get()), (500, 500));
        });
    }

    #[test]
    fn a_sort_spills_when_its_limit_is_lowered_under_it() {
        let (stage, task, pair) = stage();
        let cancel = cancel(&stage, &task);
        let (query, answer) = sorts(&stage, Manner::Spills).last().unwrap();
        let mut workspace = Workspace::new(&stage, &task, &cancel);
        let used = || memory::of(&stage, &pair).unwrap().current();
        let (max, mut lowered) = (stage.budget.analytics / 4, false);
        let found = query.run(&stage.input.data, &mut workspace, &Here, |_| {
            if used() > max && !lowered {
                limit(&stage, max);
                lowered = true;
            } else if lowered {
                assert!(used() <= max, "{} of {max}", used());
            }
            true
        });
        assert_eq!(found.unwrap().as_ref(), Some(answer));
        let tally = &stage.tenant(Who::Analytics).tally;
        assert!(lowered && tally.asked.get() > 0, "{tally:?}");
    }

    #[test]
    fn one_of_two_that_wait_for_each_other_is_the_victim() {
        let (stage, task, _pair) = stage();
        let other = query(&stage, "other");
        let cancels = [cancel(&stage, &task), cancel(&stage, &other.0)];
        limit(&stage, 1000);
        let both = Barrier::new(2);
        let wait = |task: &Task, cancel: &Cancel| {
            let mut workspace = Workspace::new(&stage, task, cancel);
            assert_eq!(workspace.grow(400, Patience::None), Grown::Granted);
            both.wait();
            workspace.grow(400, Patience::Wait)
        };
        let mut ends = thread::scope(|scope| {
            let one = scope.spawn(|| wait(&task, &cancels[0]));
            [wait(&other.0, &cancels[1]), one.join().unwrap()]
        });
        ends.sort_unstable_by_key(|end| *end == Grown::Over);
        assert_eq!(ends, [Grown::Granted, Grown::Over]);
        let tally = &stage.tenant(Who::Analytics).tally;
        assert_eq!((tally.victims.get(), tally.reserved.get()), (1, tally.unreserved.get()));
        let root = stage.memory.root().unwrap();
        assert_eq!((root.stats().events.oom_kill, root.current()), (1, 0));
    }

    #[test]
    fn who_is_killed_waits_no_more() {
        let (stage, task, pair) = stage();
        let cancel = cancel(&stage, &task);
        limit(&stage, 1000);
        let other = query(&stage, "other");
        let mut holder = memory::of(&stage, &other.1).unwrap().reserve();
        holder.grow(600).unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let mut workspace = Workspace::new(&stage, &task, &cancel);
                workspace.grow(500, Patience::Wait)
            });
            while stage.tenant(Who::Analytics).tally.waits.get() == 0 {
                thread::yield_now();
            }
            pair.tenant.kill().unwrap();
            assert_eq!(waiting.join().unwrap(), Grown::Over);
        });
    }
}
