//! A thread that does each piece of its work in a new group.

use anyhow::Result;
use crossbeam_channel::Sender;
use fief_core::NotifyError;

use crate::{
    soak::{
        bench::Bench,
        cancel::Cancel,
        dropper::Batch,
        gate::Generation,
        lookup::Lookups,
        sample::{Latencies, Sampler},
        stage::{Stage, Who},
        tally::Tally,
        tree,
    },
    sync::Arc,
};

/// A member of one tenant, and what it needs for operations.
#[derive(Debug)]
pub(crate) struct Worker<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) who: Who,
    pub(crate) bench: Bench,
    pub(crate) cancel: Arc<Cancel>,
    pub(crate) dropper: Sender<Batch>,
    pub(crate) sampler: Sampler,
    pub(crate) lookups: Lookups<'a>,
}

/// How a group goes when the work in it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// At once, whatever refers to its css.
    Detached,
    /// By the release agent, when the last reference to its css is gone.
    OnNotice,
}

impl<'a> Worker<'a> {
    /// Made on the thread that works: lookups are its own.
    ///
    /// # Errors
    ///
    /// Those of making a task.
    pub(crate) fn new(
        stage: &'a Stage,
        who: Who,
        index: u32,
        dropper: Sender<Batch>,
    ) -> Result<Self> {
        let bench = Bench::new(stage, who, &format!("{}-{index}", who.name()))?;
        let cancel = Cancel::new(&stage.tenant(who).tally);
        bench.watch(&cancel)?;
        let (sampler, lookups) = (stage.sampler(), Lookups::new(stage));
        Ok(Self { stage, who, bench, cancel, dropper, sampler, lookups })
    }

    /// Does one `piece` of work after the other until the soak ends, whatever is killed meanwhile.
    ///
    /// # Errors
    ///
    /// Those of the registry, and of `piece`.
    pub(crate) fn run(
        mut self,
        mut piece: impl FnMut(&mut Self, &Generation) -> Result<()>,
    ) -> Result<Latencies> {
        let gate = &self.stage.tenant(self.who).gate;
        while let Some(inside) =
            gate.enter(|now| tree::enter(self.stage, self.who, self.bench.task(), &now.group))?
        {
            while !self.cancel.is_cancelled() && !self.stage.ending.is_raised() {
                piece(&mut self, &inside.generation)?;
            }
            self.stage.trees.leave(self.bench.task())?;
            self.cancel.reset();
            self.bench.watch(&self.cancel)?;
        }
        Ok(self.sampler.into_latencies())
    }

    /// Does `work` in a new pair of groups called `name`, and lets them go as `way` says, unless a kill
    /// removes them.
    ///
    /// # Errors
    ///
    /// Those of the registry, and of `work`.
    pub(crate) fn in_new_group(
        &mut self,
        generation: &Generation,
        name: &str,
        way: Way,
        work: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let trees = &self.stage.trees;
        let pair = trees.create(&generation.group, [name; 2], &[self.bench.task()])?;
        self.tally().groups_made.add(1);
        if way == Way::OnNotice && !pair.tenant.notify_on_release() {
            pair.set_notify_on_release(true)?;
        }

        work(self)?;

        if self.cancel.is_cancelled() {
            // A kill of the tenant removes it; after one for want of memory it is left to the agents.
            return match pair.set_notify_on_release(true) {
                Ok(()) | Err(NotifyError::Removed { .. }) => Ok(()),
                Err(error) => Err(error.into()),
            };
        }
        match way {
            Way::OnNotice => trees.join(self.bench.task(), &generation.group),
            Way::Detached => {
                trees.leave_and_detach(self.bench.task(), &generation.group, &pair)?;
                self.tally().groups_detached.add(1);
                Ok(())
            }
        }
    }

    /// The books of the tenant.
    pub(crate) fn tally(&self) -> &'a Tally {
        &self.stage.tenant(self.who).tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    use fief_core::Event;

    use crate::soak::{agent, cpu, stage::tests::small_stage};

    #[test]
    fn the_group_of_a_victim_is_left_to_the_agents() {
        let stage = small_stage(([127, 0, 0, 1], 0).into());
        tree::open(&stage, Who::Analytics).unwrap();
        tree::bind(&stage).unwrap();
        let agents = agent::start(&stage).unwrap();
        let (sender, _batches) = crossbeam_channel::unbounded();
        let mut worker = Worker::new(&stage, Who::Analytics, 0, sender).unwrap();
        let generation = stage.tenant(Who::Analytics).gate.generation().unwrap();
        let mut watch = None;
        let work = |worker: &mut Worker<'_>| {
            let group = worker.bench.task().cgroup(&stage.trees.tenants).unwrap();
            watch = Some(group.watch()?);
            let job = worker.bench.spawn(std::future::pending::<()>())?;
            // As memory does if nobody can go on.
            group.kill()?;
            assert_eq!(job.join()?, None);
            Ok(())
        };
        worker.in_new_group(&generation, "query", Way::Detached, work).unwrap();
        assert!(worker.cancel.is_cancelled());
        stage.trees.leave(worker.bench.task()).unwrap();
        let next = || watch.as_ref().unwrap().recv_timeout(Duration::from_secs(10)).unwrap();
        while next() != Event::Removed {}
        drop(worker);
        cpu::close(&stage).unwrap();
        assert_eq!(agent::retire(&stage, agents, agent::PATIENCE).unwrap().left, 0);
        let tally = &stage.tenant(Who::Analytics).tally;
        assert_eq!((tally.groups_on_notice.get(), tally.groups_detached.get()), (4, 0));
    }
}
