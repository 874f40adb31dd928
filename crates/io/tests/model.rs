//! Random operations on random groups, against a plain account: what is counted is what was granted and not given
//! back, at every level, whatever is dropped, moved, limited, removed and rebound meanwhile.

#[path = "support/scene.rs"]
mod scene;

use std::{error::Error, num::NonZeroU32, task::Poll, time::Duration};

use fief_core::{Cgroup, MemberPolicy, RebindOptions, Removal};
use fief_io::{Acquire, Device, IoCss, Limits, Op, OwnedPermit, Stream};
use proptest::prelude::*;
use scene::{Scene, poll};

/// Groups that stay: two with two below each.
const GROUPS: usize = 6;
/// The other of the two, and those below it.
const FLIPPED: [usize; GROUPS] = [3, 4, 5, 0, 1, 2];
const STREAMS: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    /// Asks without waiting, and keeps what is granted.
    Try(usize, Op),
    Urgent(usize, Op),
    /// Asks, and waits.
    Wait(usize, Op),
    /// Polls all who wait, as every step does.
    Poll,
    Cancel(usize),
    /// Ends an operation that did so many of a hundred of its bytes.
    Done(usize, u64),
    Pass(u64),
    Limit(usize, Option<u64>),
    Depth(u32),
    /// Moves a stream's task in the tree that the controller is bound to, or in the other.
    Move(usize, usize, bool),
    /// Moves the controller to the other tree: to the groups of the same names, or with the two exchanged.
    Rebind(bool),
    /// Has an extra group come, do something, and go.
    Guest(usize, u64),
    Kill(usize),
}

fn op() -> impl Strategy<Value = Op> {
    (0..3_u8, 0..200_000_u64).prop_map(|(kind, bytes)| match kind {
        0 => Op::read(bytes),
        1 => Op::write(bytes),
        _ => Op::discard(bytes),
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..STREAMS, op()).prop_map(|(at, op)| Step::Try(at, op)),
        1 => (0..STREAMS, op()).prop_map(|(at, op)| Step::Urgent(at, op)),
        4 => (0..STREAMS, op()).prop_map(|(at, op)| Step::Wait(at, op)),
        1 => Just(Step::Poll),
        2 => (0..20_usize).prop_map(Step::Cancel),
        4 => (0..20_usize, 0..120_u64).prop_map(|(at, part)| Step::Done(at, part)),
        3 => (0..200_u64).prop_map(Step::Pass),
        2 => (0..GROUPS, proptest::option::of(1..10_000_000_u64))
            .prop_map(|(at, rate)| Step::Limit(at, rate)),
        1 => (0..4_u32).prop_map(Step::Depth),
        2 => (0..STREAMS, 0..GROUPS, any::<bool>())
            .prop_map(|(at, to, is_here)| Step::Move(at, to, is_here)),
        2 => any::<bool>().prop_map(Step::Rebind),
        1 => (0..GROUPS, 0..100_000_u64).prop_map(|(at, bytes)| Step::Guest(at, bytes)),
        1 => (0..STREAMS).prop_map(Step::Kill),
    ]
}

/// What is counted for a group and those below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Account {
    bytes: [u64; 3],
    ops: [u64; 3],
}

impl Account {
    fn of(css: &IoCss, disk: &Device) -> Self {
        let stats = css.stats(disk);
        Self {
            bytes: [stats.rbytes, stats.wbytes, stats.dbytes],
            ops: [stats.rios, stats.wios, stats.dios],
        }
    }
}

fn kind(op: Op) -> usize {
    match op {
        _ if op == Op::read(op.bytes()) => 0,
        _ if op == Op::write(op.bytes()) => 1,
        _ => 2,
    }
}

struct World {
    scene: Scene,
    /// Two trees with groups of the same names, of which the controller is bound to one.
    trees: [Vec<Cgroup>; 2],
    bound: usize,
    /// Which group of that shows each css.
    shown: [usize; GROUPS],
    /// Where the task of each stream is, in each tree.
    places: [Vec<usize>; 2],
    /// Of each css.
    parents: Vec<Option<usize>>,
    accounts: Vec<Account>,
    root: Account,
    permits: Vec<(OwnedPermit, usize, Op)>,
}

impl World {
    fn new() -> Result<Self, Box<dyn Error>> {
        let scene = Scene::new(Device::builder("disk"))?;
        let other = scene.registry.create_hierarchy("by-plan")?;
        let mut trees = [Vec::new(), Vec::new()];
        let mut parents = Vec::new();
        for (tree, hierarchy) in trees.iter_mut().zip([&scene.tenants, &other]) {
            parents.clear();
            for name in ["a", "b"] {
                let above = tree.len();
                let group = hierarchy.root().create_child(name)?;
                parents.push(None);
                let below = ["x", "y"].map(|name| group.create_child(name));
                tree.push(group);
                for below in below {
                    tree.push(below?);
                    parents.push(Some(above));
                }
            }
        }
        let accounts = vec![Account::default(); GROUPS];
        let place: Vec<_> = (0..STREAMS).map(|at| at % GROUPS).collect();
        let (places, shown) = ([place.clone(), place], std::array::from_fn(|at| at));
        let (root, permits, bound) = (Account::default(), Vec::new(), 0);
        Ok(Self { scene, trees, bound, shown, places, parents, accounts, root, permits })
    }

    /// Makes the streams, and has their tasks be in both trees.
    fn streams(&self) -> Result<Vec<Stream>, Box<dyn Error>> {
        let mut streams = Vec::new();
        for at in 0..STREAMS {
            let stream = self.scene.disk.stream(&self.trees[0][self.places[0][at]])?;
            stream.task().ok_or("no task")?.join(&self.trees[1][self.places[1][at]])?;
            streams.push(stream);
        }
        Ok(streams)
    }

    /// Returns the group that shows a css.
    fn group(&self, css: usize) -> &Cgroup {
        &self.trees[self.bound][self.shown[css]]
    }

    /// Returns the css that a stream is charged to.
    fn home(&self, stream: usize) -> usize {
        let place = self.places[self.bound][stream];
        self.shown.iter().position(|shown| *shown == place).expect("each shows one")
    }

    fn rebind(&mut self, is_flipped: bool) -> Result<(), Box<dyn Error>> {
        let to = 1 - self.bound;
        let shown = self.shown.map(|at| if is_flipped { FLIPPED[at] } else { at });
        let here = self.shown.map(|at| self.trees[self.bound][at].clone());
        let there = shown.map(|at| self.trees[to][at].clone());
        let target = there[0].hierarchy();
        let pairs = here.into_iter().zip(there);
        let options = RebindOptions::new().mapping(pairs).members(MemberPolicy::Move);
        self.scene.io.rebind(&target, &options)?;
        (self.bound, self.shown) = (to, shown);
        Ok(())
    }

    fn charge(&mut self, group: usize, op: Op, ops: u64, bytes: u64) {
        let at = kind(op);
        let mut next = Some(group);
        let add = |account: &mut Account| {
            account.bytes[at] = account.bytes[at].wrapping_add(bytes);
            account.ops[at] += ops;
        };
        while let Some(group) = next {
            add(&mut self.accounts[group]);
            next = self.parents[group];
        }
        add(&mut self.root);
    }

    /// Notes what was granted to a stream; `home` is where it was then.
    fn keep(&mut self, permit: OwnedPermit, home: usize, op: Op) {
        self.charge(home, op, 1, op.bytes());
        self.permits.push((permit, home, op));
    }

    fn check(&self) {
        let disk = &self.scene.disk;
        for (css, account) in self.accounts.iter().enumerate() {
            let group = self.group(css);
            assert_eq!(Account::of(&self.scene.css(group), disk), *account, "{}", group.path());
        }
        let root = self.scene.io.root().expect("it is registered");
        assert_eq!(Account::of(&root, disk), self.root);
    }
}

/// Somebody who waits, and for what.
struct Waits<'a> {
    acquire: Acquire<'a>,
    stream: usize,
    op: Op,
}

fn settle(world: &mut World, waits: &mut Vec<Waits<'_>>) {
    // What was granted is counted at once, so all are asked before accounts are compared.
    let mut at = 0;
    while at < waits.len() {
        let home = world.home(waits[at].stream);
        match poll(&mut waits[at].acquire) {
            Poll::Pending => at += 1,
            Poll::Ready(result) => {
                let done = waits.swap_remove(at);
                if let Ok(permit) = result {
                    world.keep(permit.into_owned(), home, done.op);
                }
            }
        }
    }
}

fn guest(world: &mut World, below: usize, bytes: u64) -> Result<(), Box<dyn Error>> {
    let group = world.group(below).create_child("guest")?;
    let css = world.scene.css(&group);
    let stream = world.scene.disk.stream_at(&css)?;
    let op = Op::write(bytes);
    let permit = stream.charge_urgent(op)?;
    world.charge(below, op, 1, bytes);
    let mut waits = stream.acquire(op);
    let early = match poll(&mut waits) {
        Poll::Ready(permit) => Some(permit?),
        Poll::Pending => None,
    };
    if early.is_some() {
        world.charge(below, op, 1, bytes);
    }
    drop(early);
    drop(css);
    group.remove(Removal::Detach)?;
    world.scene.io.subsystem().tick();
    drop(waits);
    permit.done(bytes / 2);
    world.charge(below, op, 0, (bytes - bytes / 2).wrapping_neg());
    Ok(())
}

fn run(steps: Vec<Step>) -> Result<(), Box<dyn Error>> {
    let mut world = World::new()?;
    let streams = world.streams()?;
    let mut waits: Vec<Waits<'_>> = Vec::new();
    for step in steps {
        match step {
            Step::Try(at, op) => {
                if let Ok(permit) = streams[at].try_acquire(op) {
                    let home = world.home(at);
                    world.keep(permit.into_owned(), home, op);
                }
            }
            Step::Urgent(at, op) => {
                let permit = streams[at].charge_urgent(op)?.into_owned();
                let home = world.home(at);
                world.keep(permit, home, op);
            }
            Step::Wait(at, op) => {
                waits.push(Waits { acquire: streams[at].acquire(op), stream: at, op });
            }
            Step::Poll => {}
            Step::Cancel(at) if !waits.is_empty() => {
                let at = at % waits.len();
                drop(waits.swap_remove(at));
            }
            Step::Cancel(_) => {}
            Step::Done(at, part) if !world.permits.is_empty() => {
                let at = at % world.permits.len();
                let (permit, home, op) = world.permits.swap_remove(at);
                let used = (op.bytes() * part / 100).min(op.bytes());
                permit.done(used);
                world.charge(home, op, 0, (op.bytes() - used).wrapping_neg());
            }
            Step::Done(..) => {}
            Step::Pass(millis) => world.scene.pass(Duration::from_millis(millis)),
            Step::Limit(at, rate) => {
                let limits = rate.map_or(Limits::new(), |rate| {
                    Limits::new().rbps(rate).wiops(1 + rate / 1_000).bps(rate * 2)
                });
                world.scene.limit(world.group(at), limits)?;
            }
            Step::Depth(depth) => world.scene.disk.set_depth(NonZeroU32::new(depth)),
            Step::Move(at, to, is_here) => {
                let tree = if is_here { world.bound } else { 1 - world.bound };
                streams[at].task().ok_or("no task")?.join(&world.trees[tree][to])?;
                world.places[tree][at] = to;
            }
            Step::Rebind(is_flipped) => world.rebind(is_flipped)?,
            Step::Guest(at, bytes) => guest(&mut world, at, bytes)?,
            Step::Kill(at) => world.group(world.home(at)).kill().map(drop)?,
        }
        settle(&mut world, &mut waits);
        world.check();
    }
    // All that is left ends, and nothing is left.
    drop(waits);
    world.check();
    world.permits.clear();
    world.check();
    let stats = world.scene.disk.stats();
    assert_eq!((stats.waiting, stats.in_flight), (0, 0));
    // Who is next gets through.
    for css in 0..GROUPS {
        world.scene.limit(world.group(css), Limits::new())?;
    }
    for stream in &streams {
        let mut last = stream.acquire(Op::read(1));
        assert!(matches!(poll(&mut last), Poll::Ready(Ok(_))), "somebody is stuck");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_is_counted_is_what_was_granted(steps in proptest::collection::vec(step(), 1..80)) {
        if let Err(error) = run(steps) {
            panic!("{error}");
        }
    }
}
