//! Who may use the disk, and when: what tenants `api` and `backup` read and write there.
//!
//! At first nobody asks: whatever is read and written goes to the file system at once. Once the controllers are bound,
//! each operation is asked for, on the device `disk`, on which a few operations run at a time. `api` weighs more than
//! `backup`; what that may do in a second, and its weight, change all the time, at work, by control files.
//!
//! The threads (`workload/disk.rs`) keep a book of what they read and wrote by way of the device, which the root has to
//! show in the end.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use fief_core::{Controller, WriteFileError};
use fief_io::{Device, Io, IoStats};
use hdrhistogram::Histogram;

use crate::{
    soak::{
        cpu::ByPhase,
        pair::Pair,
        stage::{ByTenant, Stage, Who},
    },
    sync::{Count, Flag, Mutex, OnceLock},
    workload::drive::{Drive, PIECE},
};

/// The device, the file that stands for it, and the books.
#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) device: Device,
    /// Made before the soak begins; until then nobody uses it.
    pub(crate) drive: OnceLock<Drive>,
    is_shared: Flag,
    phases: ByPhase<Phase>,
    tenants: ByTenant<Traffic>,
    changes: Count,
    /// Reads of `api`, and how long they took together, in nanoseconds.
    light: [Count; 2],
}

/// What was done so far, in either phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    pub(crate) is_shared: bool,
    pub(crate) bytes: u64,
    /// Reads of `api`, and how long they took together.
    pub(crate) reads: u64,
    pub(crate) took: Duration,
}

/// What was done in a phase: by operations that began in it.
#[derive(Debug, Default)]
struct Phase {
    bytes: ByTenant<Count>,
    reads: Mutex<Option<Histogram<u64>>>,
}

/// What a tenant read and wrote by way of the device.
#[derive(Debug, Default)]
struct Traffic {
    bytes: [Count; 2],
    operations: [Count; 2],
}

/// Whether something is read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Read,
    Write,
}

/// An operation that begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun {
    at: Instant,
    is_shared: bool,
}

/// How the disk was used in a phase.
#[derive(Clone, Debug)]
pub(crate) struct Use {
    pub(crate) bytes: ByTenant<u64>,
    /// How long reads of `api` took, their waits included, in nanoseconds.
    pub(crate) reads: Histogram<u64>,
}

/// What was done by way of the device, when all is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// Bytes and operations that the threads read and wrote.
    pub(crate) bytes: [u64; 2],
    pub(crate) operations: [u64; 2],
    /// What the root shows.
    pub(crate) root: IoStats,
}

impl Disk {
    /// # Errors
    ///
    /// Those of registering a device.
    pub(crate) fn new(io: &Controller<Io>) -> Result<Self> {
        Ok(Self {
            device: Device::builder(NAME).depth(DEPTH).quantum(PIECE as u64).register(io)?,
            drive: OnceLock::new(),
            is_shared: Flag::default(),
            phases: Default::default(),
            tenants: Default::default(),
            changes: Count::default(),
            light: Default::default(),
        })
    }

    /// Makes the file in `directory`.
    ///
    /// # Errors
    ///
    /// Those of [`Drive::make`].
    pub(crate) fn prepare(&self, directory: &Path) -> Result<()> {
        let drive = Drive::make(directory)?;
        self.drive.get_or_init(|| drive);
        Ok(())
    }

    /// Begins an operation, which is to be asked for if that is so.
    pub(crate) fn begin(&self) -> Begun {
        Begun { at: Instant::now(), is_shared: self.is_shared.is_raised() }
    }

    /// Enters an operation that came to its end.
    pub(crate) fn end(&self, who: Who, way: Way, bytes: u64, begun: Begun) {
        let Begun { at, is_shared } = begun;
        if is_shared {
            let traffic = &self.tenants[who as usize];
            traffic.bytes[way as usize].add(bytes);
            traffic.operations[way as usize].add(1);
        }
        let phase = &self.phases[usize::from(is_shared)];
        phase.bytes[who as usize].add(bytes);
        if who == Who::Api {
            let took = u64::try_from(at.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.light[0].add(1);
            self.light[1].add(took);
            phase.reads.lock().get_or_insert_with(histogram).saturating_record(took);
        }
    }

    /// How the disk was used before the bind, and after it.
    pub(crate) fn uses(&self) -> ByPhase<Use> {
        self.phases.each_ref().map(|phase| Use {
            bytes: phase.bytes.each_ref().map(Count::get),
            reads: phase.reads.lock().clone().unwrap_or_else(histogram),
        })
    }

    /// What was done so far.
    pub(crate) fn pace(&self) -> Pace {
        let bytes = self.phases.iter().flat_map(|phase| &phase.bytes).map(Count::get).sum();
        let [reads, took] = self.light.each_ref().map(Count::get);
        let is_shared = self.is_shared.is_raised();
        Pace { is_shared, bytes, reads, took: Duration::from_nanos(took) }
    }

    /// How often what `backup` may do was changed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.get()
    }

    /// How much was done by way of the device.
    fn done(&self) -> ([u64; 2], [u64; 2]) {
        let sum = |figure: fn(&Traffic) -> &[Count; 2]| {
            [0, 1].map(|way| self.tenants.iter().map(|traffic| figure(traffic)[way].get()).sum())
        };
        (sum(|traffic| &traffic.bytes), sum(|traffic| &traffic.operations))
    }
}

impl Begun {
    /// Whether the operation is to be asked for.
    pub(crate) fn is_shared(self) -> bool {
        self.is_shared
    }
}

/// The weight of a tenant.
pub(crate) const fn weight(who: Who) -> u32 {
    match who {
        Who::Api => 400,
        Who::Analytics | Who::Backup => 100,
    }
}

/// Sets the weight of `who` in its new `group`, if the controller is bound.
///
/// # Errors
///
/// Those of the controller.
pub(crate) fn settle(group: &Pair, who: Who) -> Result<()> {
    write(group, "io.weight", &format!("{NAME} {}", weight(who)))?;
    Ok(())
}

/// From now on operations are asked for.
pub(crate) fn share(stage: &Stage) {
    stage.disk.is_shared.raise();
}

/// Changes what tenant `backup` may do, and its weight; nothing happens while the controller is not bound.
///
/// # Errors
///
/// Those of the controller.
pub(crate) fn turn(stage: &Stage) -> Result<()> {
    let Some(group) = stage.trees.of(Who::Backup) else { return Ok(()) };
    let [limits, weight] = TURNS[usize::try_from(stage.disk.changes() % 2)?];
    if write(&group, "io.max", &format!("{NAME} {limits}"))? {
        write(&group, "io.weight", &format!("{NAME} {weight}"))?;
        stage.disk.changes.add(1);
    }
    Ok(())
}

/// Writes to whichever group of `pair` has the file; returns whether one has.
fn write(pair: &Pair, file: &str, value: &str) -> Result<bool> {
    for group in [&pair.tenant, &pair.plan, &pair.tenant] {
        match group.write(file, value) {
            Ok(()) => return Ok(true),
            // It is in the other tree, or moves there just now.
            Err(WriteFileError::Unknown(_)) => {}
            // An agent was first.
            Err(WriteFileError::Removed { .. }) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

/// Reads what was done, now that nobody does anything.
///
/// # Errors
///
/// When the controller is not registered.
pub(crate) fn close(stage: &Stage) -> Result<Done> {
    let (bytes, operations) = stage.disk.done();
    let root = stage.io.root().context("io is registered")?.stats(&stage.disk.device);
    Ok(Done { bytes, operations, root })
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("three digits up to a minute are allowed")
}

/// The name of the device.
pub(crate) const NAME: &str = "disk";

/// How many operations run on it at a time.
pub(crate) const DEPTH: u32 = 4;

/// What tenant `backup` may do, and its weight, in turn.
const TURNS: [[&str; 2]; 2] = [["rbps=512M wbps=192M", "50"], ["rbps=max wbps=max", "100"]];

/// The longest time told apart from longer ones, in nanoseconds: a minute.
const LONGEST: u64 = 60_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    use fief_io::Op;

    use crate::soak::{mover::Moves, stage::tests::small_stage, tree};

    fn stage() -> Stage {
        let stage = small_stage(([127, 0, 0, 1], 0).into());
        Who::ALL.into_iter().for_each(|who| tree::open(&stage, who).unwrap());
        stage
    }

    fn read(stage: &Stage, who: Who, file: &str) -> String {
        let Pair { tenant, plan } = stage.trees.of(who).unwrap();
        tenant.read(file).or_else(|_| plan.read(file)).unwrap()
    }

    #[test]
    fn what_backup_may_do_changes_from_the_bind_on_in_either_tree() {
        let stage = stage();
        turn(&stage).unwrap();
        assert_eq!(stage.disk.changes(), 0);
        tree::bind(&stage).unwrap();
        assert_eq!(read(&stage, Who::Api, "io.weight"), "default 100\ndisk 400\n");
        for [weight, limits] in [["disk 50", "rbps=536870912 wbps=201326592"], ["disk 100", ""]] {
            turn(&stage).unwrap();
            Moves::new().rebind(&stage);
            assert!(read(&stage, Who::Backup, "io.weight").contains(weight));
            assert!(read(&stage, Who::Backup, "io.max").contains(limits));
        }
        assert_eq!(read(&stage, Who::Backup, "io.max"), "");
        assert_eq!(stage.disk.changes(), 2);
    }

    #[test]
    fn operations_are_of_the_phase_in_which_they_were_and_in_the_book_if_asked_for() {
        let stage = stage();
        tree::bind(&stage).unwrap();
        let disk = &stage.disk;
        disk.is_shared.lower();
        disk.end(Who::Api, Way::Read, 1, disk.begin());
        let before = disk.begin();
        share(&stage);
        disk.end(Who::Backup, Way::Write, 2, before);
        let begun = disk.begin();
        assert!(begun.is_shared() && !before.is_shared());
        disk.end(Who::Api, Way::Read, 4, begun);
        disk.end(Who::Backup, Way::Write, 8, disk.begin());
        let uses = disk.uses();
        assert_eq!(uses.each_ref().map(|it| it.bytes), [[1, 0, 2], [4, 0, 8]]);
        assert_eq!(uses.map(|it| it.reads.len()), [1, 1]);
        let pace = disk.pace();
        assert_eq!((pace.is_shared, pace.bytes, pace.reads), (true, 15, 2));
        assert!(pace.took > Duration::ZERO);
        let done = close(&stage).unwrap();
        assert_eq!((done.bytes, done.operations), ([4, 8], [1, 1]));
        assert_eq!((done.root.rbytes, done.root.wbytes), (0, 0));
    }

    #[test]
    fn what_a_killed_tenant_did_is_at_the_root() {
        let stage = stage();
        tree::bind(&stage).unwrap();
        let api = stage.trees.of(Who::Api).unwrap();
        let task = stage.trees.registry.create_task("reader").unwrap();
        stage.trees.join(&task, &api).unwrap();
        let stream = stage.disk.device.stream_for(&task).unwrap();
        stream.acquire_blocking(Op::read(4096).at(0)).unwrap().done(4096);
        assert!(read(&stage, Who::Api, "io.stat").contains("rbytes=4096"));
        stage.trees.leave(&task).unwrap();
        tree::detach(&stage, Who::Api, &api.descendants_post(&stage.trees)).unwrap();
        let root = close(&stage).unwrap().root;
        assert_eq!((root.rbytes, root.rios, root.waiting, root.inflight), (4096, 1, 0, 0));
    }
}
