//! How much time a group loses because its members wait for memory.
//!
//! A member stalls while it waits for a charge, is throttled above `high`, or reclaims for its own charge. A
//! group's [`Pressure`] is made when it is first needed: before that nobody stalled, so there is nothing to
//! make up for, and an idle group has no place for it.
//!
//! A thread is one member, whatever guards it holds. Its guards form a stack: it stalls if there is a stall
//! among them, the lowest one; else it is productive in the group of the one on top. So who works for a
//! group and waits for memory in it is not counted as working.

use std::{cell::RefCell, fmt, marker::PhantomData, time::Duration};

use fief_core::{Activity, Pressure, PressureStats, Threshold, Trigger};

use crate::{css::MemoryCss, node::Node, sync::Arc};

impl MemoryCss {
    /// Returns how much time the group and those below lost by waiting for memory. Sends what triggers are due.
    ///
    /// *Some* time is lost while a member stalls, *full* time while one does and none is known to be
    /// [at work](Self::work). Without such guards the two are the same.
    ///
    /// # Concurrency
    ///
    /// Reads the clock and takes a short lock.
    #[must_use]
    #[doc(alias = "memory.pressure")]
    pub fn pressure(&self) -> PressureStats {
        self.node.known_pressure().map_or_else(PressureStats::default, |pressure| pressure.stats())
    }

    /// Makes a trigger, which tells when so much time was lost within such a window; counted from now on.
    ///
    /// What the kernel does with a line written to an open `memory.pressure`. There is no timer: it is
    /// looked at as members begin and end to stall, and when somebody calls [`pressure`](Self::pressure) or
    /// [`poll_pressure`](Self::poll_pressure).
    #[doc(alias = "psi_trigger_create")]
    pub fn pressure_trigger(&self, threshold: Threshold) -> Trigger {
        self.node.pressure().trigger(threshold)
    }

    /// Sends what triggers are due, and returns when to call again at the latest; see [`Pressure::poll`].
    pub fn poll_pressure(&self) -> Option<Duration> {
        self.node.known_pressure()?.poll()
    }

    /// Counts the calling thread as productive in the group, until the guard is dropped.
    ///
    /// For the difference between *some* and *full* pressure. While the thread waits for memory, it does not
    /// count; of guards within each other the innermost does.
    ///
    /// # Concurrency
    ///
    /// One exchange a level; while nobody stalls, neither the clock nor a lock. The first guard near a group
    /// allocates.
    pub fn work(&self) -> Working {
        Working { _working: OnThread::enter(&self.node, Activity::Productive) }
    }
}

/// Counts the thread as productive in a group; from [`MemoryCss::work`].
#[must_use = "the thread is at work until it is dropped"]
#[derive(Debug)]
pub struct Working {
    _working: OnThread,
}

/// Counts a member as stalled until it is dropped, on whatever thread.
#[must_use = "the member stalls until it is dropped"]
pub(crate) struct Stall {
    node: Arc<Node>,
}

/// Counts the calling thread as stalled until it is dropped.
#[must_use = "the thread stalls until it is dropped"]
#[derive(Debug)]
pub(crate) struct StallHere {
    _stalled: OnThread,
}

impl Node {
    /// Has a member stall that is no thread: a future that waits.
    pub(crate) fn stall(self: &Arc<Self>) -> Stall {
        self.shift(Activity::Idle, Activity::Stalled);
        Stall { node: Arc::clone(self) }
    }

    /// Has the calling thread stall, which blocks or reclaims.
    pub(crate) fn stall_here(self: &Arc<Self>) -> StallHere {
        StallHere { _stalled: OnThread::enter(self, Activity::Stalled) }
    }

    fn pressure(&self) -> &Pressure {
        let made = || Box::new(Pressure::new(Arc::clone(&self.shared.clock)));
        self.rare().pressure.get_or_init(made)
    }

    fn known_pressure(&self) -> Option<&Pressure> {
        self.rare.get()?.pressure.get().map(Box::as_ref)
    }

    /// Counts a member for another activity, here and above.
    fn shift(self: &Arc<Self>, from: Activity, to: Activity) {
        // In a forked child the lock of a record may be held by a thread that is not there.
        if !self.shared.is_inherited() {
            self.levels().for_each(|level| level.pressure().shift(from, to));
        }
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        self.node.shift(Activity::Stalled, Activity::Idle);
    }
}

impl fmt::Debug for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stall").field(&self.node.path()).finish()
    }
}

thread_local! {
    static STACK: RefCell<Stack> = const { RefCell::new(Stack { next: 0, entries: Vec::new() }) };
}

/// The guards of one thread.
struct Stack {
    /// The number of the next guard.
    next: u64,
    entries: Vec<Entry>,
}

#[derive(Clone)]
struct Entry {
    number: u64,
    node: Arc<Node>,
    activity: Activity,
}

/// A place in the stack of the thread it was made on.
#[derive(Debug)]
struct OnThread {
    number: u64,
    /// It is of one thread.
    _thread: PhantomData<*const ()>,
}

impl OnThread {
    fn enter(node: &Arc<Node>, activity: Activity) -> Self {
        let number = change(|stack| {
            let number = stack.next;
            stack.next += 1;
            stack.entries.push(Entry { number, node: Arc::clone(node), activity });
            number
        });
        // A thread past its thread-locals' destructors does not count.
        Self { number: number.unwrap_or(u64::MAX), _thread: PhantomData }
    }
}

impl Drop for OnThread {
    fn drop(&mut self) {
        change(|stack| {
            let place = stack.entries.iter().position(|entry| entry.number == self.number);
            place.map(|place| stack.entries.remove(place)) // dropped when the stack is let go of
        });
    }
}

/// Changes the stack, and counts the thread for what it does from then on; `None` if there is no stack.
fn change<T>(how: impl FnOnce(&mut Stack) -> T) -> Option<T> {
    let changed = STACK.try_with(|stack| {
        let mut stack = stack.borrow_mut();
        let before = stack.active();
        let result = how(&mut stack);
        (before, result, stack.active())
    });
    let (before, result, after) = changed.ok()?;
    let number = |entry: &Option<Entry>| entry.as_ref().map(|entry| entry.number);
    if number(&before) != number(&after) {
        if let Some(Entry { node, activity, .. }) = after {
            node.shift(Activity::Idle, activity);
        }
        if let Some(Entry { node, activity, .. }) = before {
            node.shift(activity, Activity::Idle);
        }
    }
    Some(result)
}

impl Stack {
    /// Returns what the thread counts for.
    fn active(&self) -> Option<Entry> {
        let stall = self.entries.iter().find(|entry| entry.activity == Activity::Stalled);
        stall.or(self.entries.last()).cloned()
    }
}

#[cfg(test)]
mod tests;
