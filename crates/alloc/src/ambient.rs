//! `Ambient`: a group as the allocator knows it, and the scopes in which a thread is in it.

use std::{fmt, marker::PhantomData};

use fief_memory::MemoryCss;

use crate::{
    attributed::Attributed,
    local::{self, BLOCKS},
    pool,
    record::Record,
    settle::{self, Effort},
};

/// Memory for the record of a group could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory for the record of a group")]
#[non_exhaustive]
pub struct RecordError;

/// A group to which allocations are attributed while a thread is in it.
///
/// A handle: clones are of the same group. It is not needed to free: blocks that are left when the last
/// handle is dropped stay the group's, and its record is used for another group only when there are none.
///
/// ```
/// use fief_alloc::{Ambient, GroupAlloc};
///
/// #[global_allocator]
/// static ALLOCATOR: GroupAlloc = GroupAlloc::new();
///
/// let tenant = Ambient::new()?;
/// let buffer = {
///     let _scope = tenant.enter();
///     vec![0_u8; 10_000]
/// };
/// assert_eq!(tenant.live(), 10_000);
/// std::thread::spawn(move || drop(buffer)).join().expect("no panic");
/// assert_eq!(tenant.live(), 0);
/// # Ok::<(), fief_alloc::RecordError>(())
/// ```
pub struct Ambient {
    record: &'static Record,
}

/// A group's figures, as of about one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AmbientStats {
    /// Bytes in blocks that are attributed to the group and not freed yet.
    pub live: u64,
    /// Bytes that were attributed to it, ever. A `realloc` counts as one free and one allocation.
    pub allocated: u64,
    /// Bytes of those that were freed.
    pub freed: u64,
    /// Bytes that are charged for it.
    pub settled: u64,
}

impl Ambient {
    /// Returns a group that is not charged anywhere: it only has figures.
    ///
    /// Takes a short lock that every group's making takes. Not for the child of a fork, where its
    /// holder may not be.
    ///
    /// # Errors
    ///
    /// If memory is out: records come 64 at a time, 8 KiB.
    pub fn new() -> Result<Self, RecordError> {
        let record = pool::hand_out(None).ok_or(RecordError)?;
        Ok(Self { record })
    }

    /// Returns a group that is charged to a css of the memory controller, and to all above it.
    ///
    /// Charges are forced and late: see [`settle`](crate::settle()). It keeps no reference to the css, but what
    /// is charged does; once the group is removed, what is left is its parent's.
    ///
    /// ```
    /// use fief_alloc::{Ambient, GroupAlloc};
    /// use fief_core::Registry;
    /// use fief_memory::Memory;
    ///
    /// #[global_allocator]
    /// static ALLOCATOR: GroupAlloc = GroupAlloc::new();
    ///
    /// let registry = Registry::new();
    /// let tenants = registry.create_hierarchy("by-tenant")?;
    /// let memory = registry.register(Memory::new())?;
    /// memory.bind(&tenants)?;
    /// let web = memory.css(&tenants.root().create_child("web")?).ok_or("removed")?;
    ///
    /// let ambient = Ambient::of(&web)?;
    /// let page = ambient.run(|| vec![0_u8; 1 << 20]);
    /// assert_eq!(web.current(), 1 << 20, "as much as this is charged when the scope ends");
    /// drop(page);
    /// ambient.settle();
    /// assert_eq!(web.current(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn of(css: &MemoryCss) -> Result<Self, RecordError> {
        let record = pool::hand_out(Some(css.forced())).ok_or(RecordError)?;
        Ok(Self { record })
    }

    /// Has the calling thread be in the group until the scope is dropped.
    ///
    /// Scopes nest, and end in reverse order: each restores what was before it, when unwinding too. If
    /// ended in another order, or never, the thread stays in a group for longer; nothing else happens.
    ///
    /// # Concurrency
    ///
    /// Wait-free. The end is a safe point: it may settle groups that the allocator found far from what
    /// is charged, each by one forced charge.
    pub fn enter(&self) -> Scope<'_> {
        Scope { before: local::replace(self.record), _borrowed: PhantomData }
    }

    /// Runs `f` with the calling thread in the group.
    pub fn run<R>(&self, f: impl FnOnce() -> R) -> R {
        let _scope = self.enter();
        f()
    }

    /// Returns a future during whose polls the polling thread is in the group, and during its drop.
    ///
    /// Other tasks on the same thread are not, nor is what it spawns, unless that is wrapped, too.
    pub fn wrap<F>(&self, future: F) -> Attributed<F> {
        Attributed::new(self.clone(), future)
    }

    /// Returns the bytes in blocks of the group that are not freed yet.
    ///
    /// Exact if nobody allocates or frees for it meanwhile; about right otherwise.
    ///
    /// # Concurrency
    ///
    /// Costs some loads for each thread, and takes no lock. If a thread was interrupted in the very moment in
    /// which it added up what it had counted for this group, waits until it goes on; after half a second the
    /// figure is about right, and that thread is not waited for again. In a signal handler that interrupts
    /// an allocation it does not wait.
    #[must_use]
    pub fn live(&self) -> u64 {
        BLOCKS.totals(self.record).live()
    }

    /// Returns the figures: exact, and waits, as [`live`](Self::live).
    #[must_use]
    pub fn stats(&self) -> AmbientStats {
        let totals = BLOCKS.totals(self.record);
        let born = self.record.born();
        AmbientStats {
            live: totals.live(),
            allocated: totals.allocated.wrapping_sub(born),
            freed: totals.freed.wrapping_sub(born),
            settled: self.record.settled(),
        }
    }

    /// Charges the group what it has now, and takes back what it has no more.
    ///
    /// As [`settle`](crate::settle()), for this group alone.
    pub fn settle(&self) {
        let _outside = settle::Outside::enter();
        settle::settle_record(self.record, Effort::Exact);
    }
}

impl Clone for Ambient {
    fn clone(&self) -> Self {
        self.record.hold();
        Self { record: self.record }
    }
}

impl Drop for Ambient {
    fn drop(&mut self) {
        if self.record.let_go() {
            self.settle();
            pool::retire(self.record);
        }
    }
}

impl fmt::Debug for Ambient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ambient").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

/// While this is there the thread is in a group. See [`Ambient::enter`].
#[must_use = "the scope ends when this is dropped"]
#[derive(Debug)]
pub struct Scope<'a> {
    before: &'static Record,
    /// The handle, and the thread.
    _borrowed: PhantomData<(&'a Ambient, *const ())>,
}

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        local::replace(self.before);
        settle::safe_point();
    }
}
