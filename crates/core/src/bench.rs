//! What the benches measure and nobody can ask for otherwise; no part of the API.

use crate::css::{
    header::Counting,
    refcount,
    switch::{self, Counted},
    thread,
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
