//! A device with its lock, tree and cells as they are, without a registry, and with time that stands still.

use std::{
    num::NonZeroU32,
    task::{Wake, Waker},
    time::Duration,
};

use crate::{
    cell::{Cell, Taken},
    cost::CostModel,
    foreign::{Clock, DeviceInner, WeakCss},
    node::{Figure, Node},
    op::{Kind, Op},
    refusal::Refusal,
    sched::{Asked, Sched, Wish},
    sync::{Arc, Mutex},
    time::Time,
    tree::{Amount, Dimension, Direction, FlowId, IoTree, Limits, NodeId, Request, TreeSettings},
};

/// A device, the root's node, and that of a group below.
pub(super) struct Scene {
    pub(super) device: Arc<DeviceInner>,
    pub(super) root: Arc<Node>,
    pub(super) group: Arc<Node>,
    alarm: Arc<Alarm>,
}

/// A stream, and the cell of the one thread that uses it.
#[derive(Clone)]
pub(super) struct Hand {
    pub(super) node: Arc<Node>,
    pub(super) flow: FlowId,
    pub(super) cell: &'static Cell,
}

/// An operation that was admitted by way of the lock.
pub(super) struct Admitted {
    node: Arc<Node>,
    slot: usize,
}

/// Somebody who waits.
pub(super) struct Waits {
    hand: Hand,
    key: usize,
}

/// What became of who asked.
pub(super) enum Got {
    Room(Admitted),
    Turn(Waits),
    Nothing(Refusal),
}

/// Whether somebody was woken.
#[derive(Default)]
pub(super) struct Bell(Mutex<bool>);

/// In how long somebody is to look in, as was said last.
#[derive(Default)]
struct Alarm(Mutex<Option<Duration>>);

/// Time stands still.
struct Still;

/// A lease is of so many bytes.
pub(super) const LEASE: u64 = 2;

/// What has leases of that size, in bytes a second.
const RATE: u64 = LEASE * 2_000;

/// What an operation costs.
const COST: u64 = 1_000;

impl Scene {
    fn new(depth: Option<u32>, burst: Option<u64>) -> Self {
        let alarm = Arc::<Alarm>::default();
        let call = {
            let alarm = Arc::clone(&alarm);
            move |delay| *alarm.0.lock() = Some(delay)
        };
        let tree = IoTree::new(TreeSettings::default().with_depth(depth.and_then(NonZeroU32::new)));
        let sched = Sched::new(tree, None, Time::of(Arc::new(Still)), Box::new(call));
        let device = Arc::new(DeviceInner { sched });
        let root = add(&device, None);
        let group = add(&device, Some(&root));
        let scene = Self { device, root, group, alarm };
        if burst.is_some() {
            scene.limit(burst);
        }
        scene
    }

    /// A device of which the group may read so many bytes at once, and no more as long as time stands still.
    pub(super) fn limited(burst: u64) -> Self {
        Self::new(None, Some(burst))
    }

    /// A device with so many operations in flight, of which the group may read so many bytes.
    pub(super) fn deep(depth: u32, burst: Option<u64>) -> Self {
        Self::new(Some(depth), burst)
    }

    /// A device where nothing is in the way.
    pub(super) fn free() -> Self {
        Self::new(None, None)
    }

    pub(super) fn sched(&self) -> &Sched {
        &self.device.sched
    }

    /// Adds a group.
    pub(super) fn add(&self, above: &Arc<Node>) -> Arc<Node> {
        add(&self.device, Some(above))
    }

    /// Sets what the group may read, or takes the limit away.
    pub(super) fn limit(&self, burst: Option<u64>) {
        let limits = burst.map_or(Limits::MAX, |burst| {
            Limits::new().rbps(RATE).with_burst(Dimension::Rbps, Some(burst))
        });
        let id = self.group.id;
        let set = self.sched().change(|tree, now| tree.set_limits(id, limits, now));
        set.expect("the group is there");
    }

    pub(super) fn hand(&self, node: &Arc<Node>) -> Hand {
        let flow = self.sched().open(node).expect("it is there");
        Hand { node: Arc::clone(node), flow, cell: node.new_cell() }
    }

    /// Reads as much as the group may; returns how many bytes that were.
    pub(super) fn drain(&self) -> u64 {
        let hand = self.hand(&self.group);
        let mut drained = 0;
        while hand.read(1) {
            drained += 1;
            assert!(drained < 100, "there is no end of it");
        }
        drained
    }

    /// Returns how many bytes were read by a group and those below it, as it is counted.
    pub(super) fn bytes(&self, node: &Arc<Node>) -> u64 {
        self.figure(node, Figure::ReadBytes)
    }

    pub(super) fn figure(&self, node: &Arc<Node>, figure: Figure) -> u64 {
        self.sched().look(|_, _| node.total()[figure as usize])
    }

    /// Returns how many bytes were charged to a group and those below it, without leases.
    pub(super) fn charged(&self, node: NodeId) -> u64 {
        self.sched().look(|tree, _| tree.stats(node).expect("it is there").bytes[0])
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.sched().look(|tree, _| tree.in_flight())
    }

    /// Has who waits for nothing but time be looked after, or find that nobody does.
    pub(super) fn check_alarm(&self) {
        let next = self.sched().next();
        let alarm = *self.alarm.0.lock();
        assert!(next.is_none_or(|next| alarm.is_some_and(|alarm| alarm <= next)), "nobody comes");
    }
}

fn add(device: &Arc<DeviceInner>, above: Option<&Arc<Node>>) -> Arc<Node> {
    let make =
        |id, above| Node::new(id, Arc::clone(device), above, WeakCss::default(), Arc::default());
    device.sched.add(above.cloned(), 100, make).expect("the one above is there")
}

impl Hand {
    fn sched(&self) -> &Sched {
        &self.node.device.sched
    }

    fn wish(&self, bytes: u64) -> Wish<'_> {
        let request = Request::new(Direction::Read, bytes, COST);
        Wish { node: &self.node, flow: self.flow, op: Op::read(bytes), request }
    }

    /// Reads, from the cell or by way of the lock, if it need not wait.
    pub(super) fn read(&self, bytes: u64) -> bool {
        let taken = self.cell.take(Kind::Read, bytes);
        taken != Taken::Short || self.sched().try_acquire(self.wish(bytes), Some(self.cell)).is_ok()
    }

    /// Reads by way of the lock, or waits.
    pub(super) fn acquire(&self) -> Got {
        match self.sched().acquire(self.wish(1), Some(self.cell), None) {
            Asked::Granted(slot) => Got::Room(Admitted { node: Arc::clone(&self.node), slot }),
            Asked::Queued(key) => Got::Turn(Waits { hand: self.clone(), key }),
            Asked::Refused(why) => Got::Nothing(why),
        }
    }

    /// Reads by way of the lock.
    pub(super) fn admit(&self) -> Admitted {
        match self.acquire() {
            Got::Room(admitted) => admitted,
            _ => panic!("there is room"),
        }
    }

    /// Waits.
    pub(super) fn wait(&self) -> Waits {
        match self.acquire() {
            Got::Turn(waits) => waits,
            _ => panic!("there is no room"),
        }
    }

    /// Gives back what an operation did not use that was admitted without the lock.
    pub(super) fn give_back(&self, bytes: u64) {
        let amount = Amount { bytes, ops: 0, cost: 0 };
        self.sched().refund(&self.node, self.flow, Kind::Read, amount);
    }

    /// The same stream at another node, where it was moved.
    pub(super) fn moved(&self, node: &Arc<Node>) -> Self {
        Self { node: Arc::clone(node), flow: self.flow, cell: node.new_cell() }
    }

    /// The thread ends.
    pub(super) fn fold(&self) {
        self.sched().fold(self.cell, &self.node);
    }
}

impl Admitted {
    pub(super) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// The operation has ended.
    pub(super) fn end(self) {
        self.node.device.sched.finish(self.slot, 0, &CostModel::default());
    }
}

impl Waits {
    /// Looks what became of it, and has `bell` rung if nothing yet.
    pub(super) fn poll(&self, bell: &Arc<Bell>) -> Option<Result<Admitted, Refusal>> {
        let outcome = self.hand.sched().poll(self.key, &Waker::from(Arc::clone(bell)))?;
        let node = |slot| self.hand.sched().node_of(slot).expect("it runs");
        Some(outcome.map(|slot| Admitted { node: node(slot), slot }))
    }

    /// Polls it, as it is not over.
    pub(super) fn sleep(&self) -> Arc<Bell> {
        let bell = Arc::default();
        assert!(self.poll(&bell).is_none(), "there is no room");
        bell
    }

    /// Polls it, as it was woken.
    pub(super) fn wake(&self, bell: &Bell) -> Result<Admitted, Refusal> {
        assert!(bell.is_rung(), "a wake-up is lost");
        self.poll(&Arc::default()).expect("who is woken has something")
    }

    /// The future is dropped.
    pub(super) fn cancel(self) {
        self.hand.sched().cancel(self.key);
    }
}

impl Bell {
    pub(super) fn is_rung(&self) -> bool {
        *self.0.lock()
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        *self.0.lock() = true;
    }
}

impl Clock for Still {
    fn now(&self) -> Duration {
        Duration::from_secs(1)
    }
}
