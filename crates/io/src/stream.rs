//! Streams: by which operations are asked for, and are charged to a group.

use std::{
    fmt,
    time::{Duration, Instant},
};

use fief_core::{CssRef, Task, TaskId};

use crate::{
    acquire::{self, Acquire},
    css::IoCss,
    device::{Device, DeviceInner},
    error::{AcquireError, Refusal, StreamError},
    node::Node,
    op::Op,
    permit::{OwnedPermit, Permit, Ticket},
    sched::{Asked, Wish},
    shared::Shared,
    sync::{Arc, AtomicU64, Mutex, OnceLock, Ordering, Weak},
    table,
    tree::{FlowId, Request},
};

/// By what operations on a device are asked for: of a member of a group, or of a group.
///
/// Clones are the same stream. Operations of one stream are served in their order; streams of a group share equally
/// what the group gets. From [`Device::stream`], [`Device::stream_for`] or [`Device::stream_at`].
#[derive(Clone)]
pub struct Stream {
    pub(crate) inner: Arc<StreamInner>,
}

pub(crate) struct StreamInner {
    /// The key of the node where it is.
    key: AtomicU64,
    place: Mutex<Place>,
    flow: FlowId,
    pub(crate) device: Arc<DeviceInner>,
    shared: Arc<Shared>,
    /// The task that it follows.
    follows: Option<TaskId>,
    /// That task, if it is the stream's own.
    task: OnceLock<Task>,
}

/// Where a stream is.
struct Place {
    css: CssRef<IoCss>,
    node: Arc<Node>,
    /// How often it was moved.
    moves: u64,
    /// Where it was before, for what was granted there and is given back.
    former: Vec<Weak<Node>>,
    /// Where the operation before ended.
    cursor: Option<u64>,
}

impl Stream {
    /// Makes a stream with a task of its own.
    pub(crate) fn of(device: &Device, task: Task) -> Result<Self, StreamError> {
        let stream = Self::following(device, &task)?;
        let weak = Arc::downgrade(&stream.inner);
        task.on_cancel(move || {
            if let Some(stream) = weak.upgrade() {
                stream.device.sched.refuse_flow(stream.flow, Refusal::Killed);
            }
        });
        stream.inner.task.get_or_init(|| task);
        Ok(stream)
    }

    pub(crate) fn following(device: &Device, task: &Task) -> Result<Self, StreamError> {
        let foreign = || StreamError::Foreign {
            who: task.name().to_owned(),
            device: device.name().to_owned(),
        };
        let css = task.css(&device.controller).ok_or_else(foreign)?;
        let stream = Self::make(device, css, Some(task.id()))?;
        stream.inner.shared.follow(task.id(), &stream.inner);
        // It may have been moved before it could be found.
        stream.inner.follow(task.css(&device.controller).ok_or_else(foreign)?);
        stream.inner.device.sched.pump_now();
        Ok(stream)
    }

    pub(crate) fn at(device: &Device, css: &CssRef<IoCss>) -> Result<Self, StreamError> {
        if !css.is_of(device.controller.subsystem()) {
            let (who, device) = (css.path(), device.name().to_owned());
            return Err(StreamError::Foreign { who, device });
        }
        Self::make(device, CssRef::clone(css), None)
    }

    fn make(
        device: &Device,
        css: CssRef<IoCss>,
        follows: Option<TaskId>,
    ) -> Result<Self, StreamError> {
        if device.inner.sched.is_gone() {
            return Err(StreamError::DeviceGone { device: device.name().to_owned() });
        }
        let removed =
            || StreamError::Removed { cgroup: css.path(), device: device.name().to_owned() };
        let node = device.inner.node(&css).ok_or_else(removed)?;
        let flow = device.inner.sched.open(&node).ok_or_else(removed)?;
        let inner = Arc::new(StreamInner {
            key: AtomicU64::new(node.key),
            place: Mutex::new(Place { css, node, moves: 0, former: Vec::new(), cursor: None }),
            flow,
            device: Arc::clone(&device.inner),
            shared: Arc::clone(device.controller.subsystem().shared()),
            follows,
            task: OnceLock::new(),
        });
        Ok(Self { inner })
    }

    /// Returns the stream's own task, if it is from [`Device::stream`]: to be moved, or to spawn others.
    #[must_use]
    pub fn task(&self) -> Option<&Task> {
        self.inner.task.get()
    }

    /// Returns the name of the device.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.inner.device.name
    }

    /// Returns the css to which operations are charged now.
    #[must_use]
    pub fn css(&self) -> CssRef<IoCss> {
        self.inner.place.lock().css.clone()
    }

    /// Asks for an operation that is not to wait.
    ///
    /// One that is larger than all that its limits save up always has to, as its parts are charged one after the other.
    ///
    /// # Concurrency
    ///
    /// From what the thread has of the group: wait-free but for a sweep meanwhile, one exchange, and none where nothing
    /// limits the group. Else by the device's lock.
    ///
    /// # Errors
    ///
    /// [`Refusal::WouldBlock`], and what [`acquire`](Self::acquire) is refused for; nothing is charged.
    #[inline]
    pub fn try_acquire(&self, op: Op) -> Result<Permit<'_>, AcquireError> {
        match self.inner.take(op) {
            Some(ticket) => Ok(Permit::new(self, ticket)),
            None => self.inner.try_slowly(op).map(|ticket| Permit::new(self, ticket)),
        }
    }

    /// Waits for an operation's turn, on any runtime.
    ///
    /// Dropped while it waits, nothing is charged; dropped when it was granted, that is given back.
    ///
    /// # Concurrency
    ///
    /// As [`try_acquire`](Self::try_acquire) if nothing is in the way, at the first poll. It allocates nothing that
    /// is not used again.
    ///
    /// # Errors
    ///
    /// The group or the device was removed, or the group killed meanwhile; nothing is charged.
    pub fn acquire(&self, op: Op) -> Acquire<'_> {
        Acquire::new(self, op)
    }

    /// Waits on this thread for an operation's turn. As [`acquire`](Self::acquire) otherwise.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    pub fn acquire_blocking(&self, op: Op) -> Result<Permit<'_>, AcquireError> {
        acquire::block(self, op, None)
    }

    /// Waits on this thread for an operation's turn, not longer than `timeout` by the machine's clock.
    ///
    /// # Errors
    ///
    /// As [`acquire_until`](Self::acquire_until).
    pub fn acquire_timeout(&self, op: Op, timeout: Duration) -> Result<Permit<'_>, AcquireError> {
        acquire::block(self, op, Instant::now().checked_add(timeout))
    }

    /// Waits on this thread for an operation's turn, until `deadline`.
    ///
    /// The deadline is of the machine's clock, also where the controller has [another](crate::IoBuilder::clock): what a
    /// limit makes it wait is reckoned by the controller's, and compared with what is left until then by the machine's.
    ///
    /// # Errors
    ///
    /// [`Refusal::WouldBlock`] at once, if a limit lets nothing through before that: with the time after which it does.
    /// [`Refusal::TimedOut`], and as [`acquire`](Self::acquire).
    pub fn acquire_until(&self, op: Op, deadline: Instant) -> Result<Permit<'_>, AcquireError> {
        acquire::block(self, op, Some(deadline))
    }

    /// Charges an operation that cannot wait, whatever the limits say: they go into debt, which is paid before anything
    /// else of the group is admitted.
    ///
    /// For what others wait for: a log that is written under a lock, a page that is evicted.
    ///
    /// # Errors
    ///
    /// The group or the device was removed; nothing is charged.
    pub fn charge_urgent(&self, op: Op) -> Result<Permit<'_>, AcquireError> {
        self.inner.force(op).map(|ticket| Permit::new(self, ticket))
    }

    /// Makes a permit keep the stream.
    pub(crate) fn own(&self, ticket: Ticket) -> OwnedPermit {
        OwnedPermit::new(self.clone(), ticket)
    }
}

impl StreamInner {
    /// Takes from what the thread has.
    #[inline]
    pub(crate) fn take(&self, op: Op) -> Option<Ticket> {
        // Ordering: Relaxed: where the stream is; who moves it does not wait for operations that began before.
        let key = self.key.load(Ordering::Relaxed);
        table::take(key, op).then(|| Ticket::leased(key, op))
    }

    #[cold]
    fn try_slowly(&self, op: Op) -> Result<Ticket, AcquireError> {
        self.ask(op, |wish| self.device.sched.try_acquire(wish, table::cell(wish.node)))
    }

    fn force(&self, op: Op) -> Result<Ticket, AcquireError> {
        self.ask(op, |wish| self.device.sched.force(wish))
    }

    /// Asks, or waits; the number is that of the waiter.
    pub(crate) fn acquire(&self, op: Op) -> Result<Result<Ticket, usize>, AcquireError> {
        self.acquire_within(op, None)
    }

    /// As [`acquire`](Self::acquire), but does not wait if that would surely take longer than `most`.
    pub(crate) fn acquire_within(
        &self,
        op: Op,
        most: Option<Duration>,
    ) -> Result<Result<Ticket, usize>, AcquireError> {
        self.try_wish(op, |wish| {
            match self.device.sched.acquire(wish, table::cell(wish.node), most) {
                Asked::Granted(slot) => Ok(Ok(Ticket::running(slot, op))),
                Asked::Queued(key) => Ok(Err(key)),
                Asked::Refused(why) => Err(why),
            }
        })
    }

    fn ask(
        &self,
        op: Op,
        ask: impl Fn(Wish<'_>) -> Result<usize, Refusal>,
    ) -> Result<Ticket, AcquireError> {
        self.try_wish(op, |wish| ask(wish).map(|slot| Ticket::running(slot, op)))
    }

    /// Asks where the stream is; again if it was moved meanwhile.
    fn try_wish<T>(
        &self,
        op: Op,
        ask: impl Fn(Wish<'_>) -> Result<T, Refusal>,
    ) -> Result<T, AcquireError> {
        if self.shared.is_inherited() {
            return Err(self.refused(op, Refusal::Forked));
        }
        loop {
            let (node, moves, cost) = self.whereabouts(op);
            let request = Request::new(op.direction(), op.bytes, cost);
            let wish = Wish { node: &node, flow: self.flow, op, request };
            match ask(wish) {
                // By its lock: who moves it holds that until all is moved. It may be back where it was.
                Err(Refusal::Removed) if self.place.lock().moves != moves => {}
                Err(why) => return Err(self.refused(op, why)),
                Ok(what) => return Ok(what),
            }
        }
    }

    /// Returns where the stream is, after how many moves, and what the operation costs after the one before.
    fn whereabouts(&self, op: Op) -> (Arc<Node>, u64, u64) {
        let mut place = self.place.lock();
        let cost = self.device.cost.cost(op, place.cursor);
        if let Some(offset) = op.offset {
            place.cursor = Some(offset.saturating_add(op.bytes));
        }
        (Arc::clone(&place.node), place.moves, cost)
    }

    /// Returns the node where it is or was, if that has this key.
    pub(crate) fn node(&self, key: u64) -> Option<Arc<Node>> {
        let place = self.place.lock();
        if place.node.key == key {
            return Some(Arc::clone(&place.node));
        }
        place.former.iter().filter_map(Weak::upgrade).find(|node| node.key == key)
    }

    pub(crate) fn flow(&self) -> FlowId {
        self.flow
    }

    pub(crate) fn refused(&self, op: Op, why: Refusal) -> AcquireError {
        let cgroup = self.place.lock().css.path();
        AcquireError { cgroup, device: self.device.name.clone(), op, why }
    }

    /// Goes where its task is now. Somebody else has to pump.
    pub(crate) fn follow(&self, css: CssRef<IoCss>) {
        let Some(node) = self.device.node(&css) else { return };
        let mut place = self.place.lock();
        if node.key == place.node.key || !self.device.sched.move_flow(self.flow, &node) {
            return;
        }
        // Ordering: Relaxed: see `take`.
        self.key.store(node.key, Ordering::Relaxed);
        place.moves += 1;
        let former = std::mem::replace(&mut place.node, node);
        place.former.retain(|node| node.strong_count() > 0);
        place.former.push(Arc::downgrade(&former));
        let former = (std::mem::replace(&mut place.css, css), former);
        drop(place);
        drop(former);
    }
}

impl Drop for StreamInner {
    fn drop(&mut self) {
        if self.shared.is_inherited() {
            return;
        }
        if let Some(task) = self.follows {
            self.shared.unfollow(task);
        }
        self.device.sched.shut(self.flow);
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("device", &self.device())
            .field("css", &self.css())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for StreamInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamInner").field("flow", &self.flow).finish_non_exhaustive()
    }
}
