//! What the benches measure and nobody can ask for otherwise; no part of the API.

use crate::{
    controller::{AnyController, sealed::Part},
    css::{
        header::Counting,
        refcount,
        switch::{self, Counted},
        thread,
    },
    hierarchy::Hierarchy,
    rebind::{
        self, Change, MemberPolicy, Plan, Readers,
        shape::{self, Mapping},
    },
    registry::engine::Bound,
    sync::Arc,
    world::lookup,
};

/// Counts without css, to be killed together.
#[derive(Debug)]
pub struct Batch {
    headers: Vec<Counted>,
    is_killed: bool,
}

impl Batch {
    /// Makes `count` counts, each of the base reference; `None` when there are too few ids.
    #[must_use]
    pub fn new(count: usize, barrier: crate::Barrier) -> Option<Self> {
        let domain = thread::domain();
        let ids = domain.take_ids(count).ok()?;
        let header = |id| Some((id, domain.header(id)?));
        let headers: Vec<_> = ids.into_iter().filter_map(header).collect();
        let counting = Counting::spread(barrier.is_asymmetric());
        headers.iter().for_each(|(_, header)| header.init(counting));
        Some(Self { headers, is_killed: false })
    }

    /// Takes and gives back one reference to each, in the calling thread's cells.
    pub fn touch(&self) {
        for (id, header) in &self.headers {
            thread::get(*id, header);
            thread::put(*id, header);
        }
    }

    /// Kills all of them; the base references keep them from zero.
    ///
    /// # Panics
    ///
    /// The second time.
    pub fn kill(&mut self) {
        assert!(!self.is_killed, "a count is killed once");
        self.is_killed = true;
        switch::kill(thread::domain(), &self.headers, |_| ());
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if !self.is_killed {
            self.kill();
        }
        for (id, header) in &self.headers {
            // Nobody else ever saw the id, so no grace period and no reclaimer is needed.
            let is_zero = refcount::put_slow(None, header) && header.dequeue();
            debug_assert!(is_zero, "only the base was left");
            header.retire_id();
            thread::domain().give_back_id(*id);
        }
    }
}

/// A step of a rebind that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// The structural lock was taken, and the call found in order.
    Begun,
    /// The trees were compared.
    Compared,
    /// The column was built.
    Planned,
    /// The places of all tasks were compared.
    Agreed,
    /// What else comes before the publication was done.
    Prepared,
    /// The world was published.
    Published,
    /// The rest was done, the wait for readers included, and the lock let go.
    Settled,
}

/// Does what [`Controller::rebind`](crate::Controller::rebind) does without options, and says when each
/// step is done; returns false, and changes nothing, where that would refuse.
///
/// `done` runs under the structural lock, but for the last time.
pub fn rebind(
    controller: &dyn AnyController,
    target: &Hierarchy,
    mut done: impl FnMut(Step),
) -> bool {
    let Part { owner, .. } = controller.part();
    let (engine, hier) = (&owner.engine, target.hier());
    let Ok(mut tree) = engine.structure("rebind", || target.name()) else { return false };
    let Ok(bound) = rebind::check(owner, &tree, &[controller], target) else { return false };
    done(Step::Begun);
    let compare = |bound: &Bound| shape::compare(&bound.hierarchy, hier, &Mapping::default());
    let Some(Ok(images)) = bound.first().map(compare) else { return false };
    done(Step::Compared);
    let images = Arc::new(images);
    let plans = bound.iter().map(|bound| Plan::rebind(bound, hier, &images)).collect();
    done(Step::Planned);
    let (members, readers) = (MemberPolicy::Refuse, Readers::Awaited);
    let Ok(change) = Change::agree(engine, &tree, plans, members, readers) else {
        return false;
    };
    done(Step::Agreed);
    let (prepared, world) = change.prepare(engine, &mut tree);
    done(Step::Prepared);
    let grace = engine.publish(&mut tree, world);
    done(Step::Published);
    let settled = prepared.settle(engine, &mut tree, grace);
    drop(tree);
    settled.finish(engine);
    done(Step::Settled);
    true
}

/// Returns how many lookups of a task's css the calling thread could not do the fast way.
#[must_use]
pub fn slow_lookups() -> u64 {
    lookup::slow_lookups()
}
