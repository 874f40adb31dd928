//! A tree with a memory controller that is looked after by hand, and futures that are polled by hand.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use fief_core::{
    Barrier, Cgroup, Controller, CssRef, Hierarchy, Limit, Registry, Task, VirtualClock,
};
use fief_memory::{ChargeError, Keeper, Memory, MemoryBuilder, MemoryCss, Worker};

pub(crate) struct Scene {
    pub(crate) registry: Registry,
    pub(crate) hierarchy: Hierarchy,
    pub(crate) memory: Controller<Memory>,
    pub(crate) clock: VirtualClock,
}

/// Both kinds of barrier; a test goes through each.
pub(crate) const BARRIERS: [Barrier; 2] = [Barrier::Auto, Barrier::Fence];

impl Scene {
    pub(crate) fn new(barrier: Barrier) -> Self {
        Self::with(barrier, |builder| builder)
    }

    pub(crate) fn with(
        barrier: Barrier,
        change: impl FnOnce(MemoryBuilder) -> MemoryBuilder,
    ) -> Self {
        let clock = VirtualClock::new();
        let builder = Memory::builder().barrier(barrier).clock(Arc::new(clock.clone()));
        let memory = change(builder.keeper(Keeper::Manual)).build();
        let registry = Registry::new();
        let hierarchy = registry.create_hierarchy("tree").unwrap();
        let memory = registry.register(memory).unwrap();
        memory.bind(&hierarchy).unwrap();
        Self { registry, hierarchy, memory, clock }
    }

    /// Makes a group below `parent`, or the root.
    pub(crate) fn group(&self, parent: Option<&Cgroup>, name: &str) -> (Cgroup, CssRef<MemoryCss>) {
        let root = self.hierarchy.root();
        let cgroup = parent.unwrap_or(&root).create_child(name).unwrap();
        let css = self.memory.css(&cgroup).unwrap();
        (cgroup, css)
    }

    /// Makes a group below the root that may have `max`.
    pub(crate) fn limited(&self, name: &str, max: u64) -> (Cgroup, CssRef<MemoryCss>) {
        let (cgroup, css) = self.group(None, name);
        css.set_max(Limit::At(max));
        (cgroup, css)
    }

    /// Lets time go by, and makes a pass.
    pub(crate) fn pass(&self, millis: u64) {
        self.clock.advance(Duration::from_millis(millis));
        self.memory.subsystem().tick();
    }
}

/// A group below `/db`, which may have 100 bytes, with a worker and what it holds.
pub(crate) struct Query {
    pub(crate) cgroup: Cgroup,
    pub(crate) css: CssRef<MemoryCss>,
    pub(crate) worker: Option<Worker>,
    _task: Task,
    pub(crate) cancelled: Arc<AtomicU32>,
}

impl Query {
    /// Makes one with a task, that holds `bytes`.
    pub(crate) fn new(scene: &Scene, db: &Cgroup, name: &str, bytes: u64) -> Self {
        let (cgroup, css) = scene.group(Some(db), name);
        let task = cgroup.create_task(name).unwrap();
        let cancelled = Arc::new(AtomicU32::new(0));
        task.on_cancel({
            let cancelled = Arc::clone(&cancelled);
            move || {
                cancelled.fetch_add(1, Ordering::SeqCst);
            }
        });
        css.try_charge(bytes).unwrap();
        Self { cgroup, css, worker: None, _task: task, cancelled }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst) > 0
    }
}

/// What a waiter polls.
type Charging<'a> = Pin<Box<dyn Future<Output = Result<(), ChargeError>> + 'a>>;

/// A waiting charge, polled when it is woken.
pub(crate) struct Waiter<'a> {
    future: Option<Charging<'a>>,
    bell: Arc<Bell>,
    heard: u32,
    result: Option<Result<(), ChargeError>>,
}

#[derive(Default)]
struct Bell(AtomicU32);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl<'a> Waiter<'a> {
    /// Polls `future` once.
    pub(crate) fn new(future: impl Future<Output = Result<(), ChargeError>> + 'a) -> Self {
        let bell = Arc::default();
        let mut waiter = Self { future: Some(Box::pin(future)), bell, heard: 0, result: None };
        waiter.poll();
        waiter
    }

    /// Polls it, woken or not.
    pub(crate) fn poll(&mut self) {
        let waker = Waker::from(Arc::clone(&self.bell));
        let Some(future) = &mut self.future else { return };
        if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            self.result = Some(result);
            self.future = None;
        }
    }

    /// Returns whether it was woken since it was last asked.
    pub(crate) fn is_woken(&mut self) -> bool {
        let rung = self.bell.0.load(Ordering::SeqCst);
        std::mem::replace(&mut self.heard, rung) != rung
    }

    /// Polls it if it was woken, until it is not any more; returns whether it is done.
    pub(crate) fn run(&mut self) -> bool {
        while self.is_woken() {
            self.poll();
        }
        self.result.is_some()
    }

    /// Runs it; it has its charge.
    #[track_caller]
    pub(crate) fn has_it(&mut self) -> bool {
        self.run();
        match &self.result {
            Some(Ok(())) => true,
            Some(Err(error)) => panic!("refused: {error}"),
            None => false,
        }
    }

    /// Runs it; it was refused.
    #[track_caller]
    pub(crate) fn error(&mut self) -> ChargeError {
        self.run();
        match self.result.take() {
            Some(Err(error)) => error,
            other => panic!("{other:?}"),
        }
    }
}
