//! The operations that run under load, on devices of `fief-io`; and a book of what was granted.
//!
//! There are two devices: `disk`, on which a few operations run at a time, and `net`, which is only limited. Some
//! operations are asked for by threads that do not wait long, or think better of it; the others by *porters*, who wait
//! as long as it takes. Their streams follow a task of the script, are members of their own, or stay with a css.
//! Groups called `passing` are removed with whoever waits there: no members of their own are made in them.
//!
//! On `disk` never more than its depth may run, by the book. At rest every porter has been granted what it waits for,
//! or refused; as many operations as ever can run at once, and no more; and the root shows in `io.stat` what
//! the book says, to the byte.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, Sender};
use fief_core::{Cgroup, Controller, Task};
use fief_io::{AcquireError, Device, DeviceError, Io, Op, Permit, Refusal, Stream, StreamError};

use super::{below, refuse};
use crate::{
    refusal::Failure,
    stress::Random,
    sync::{Arc, Mutex, lock, thread},
};

/// The controller and its devices, once there are, and the book.
#[derive(Debug, Default)]
pub(super) struct Dock {
    site: Mutex<Option<Site>>,
    book: Arc<Book>,
}

#[derive(Debug)]
struct Site {
    controller: Controller<Io>,
    devices: Vec<Device>,
    errands: Sender<Errand>,
    porters: Vec<thread::JoinHandle<()>>,
}

/// What a porter is to wait for.
#[derive(Debug)]
struct Errand {
    stream: Stream,
    device: usize,
    op: Op,
    way: usize,
}

#[derive(Debug, Default)]
struct Book(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    /// What was granted and used of each device: the [`FIGURES`].
    used: [[u64; FIGURES.len()]; DEVICES.len()],
    running: [u64; DEVICES.len()],
    /// What porters have not come back from.
    errands: u64,
    granted: u64,
    refused: u64,
    complaint: Option<String>,
}

impl Dock {
    pub(super) fn open(&self, controller: Controller<Io>) -> Result<(), DeviceError> {
        let disk = Device::builder(DEVICES[DISK]).depth(DEPTH).register(&controller)?;
        let net = Device::builder(DEVICES[DISK + 1]).register(&controller)?;
        let (errands, receiver) = crossbeam_channel::unbounded();
        let porter = |_| {
            let (book, errands) = (Arc::clone(&self.book), receiver.clone());
            thread::spawn(move || carry(&book, &errands))
        };
        let porters = (0..PORTERS).map(porter).collect();
        *lock(&self.site) = Some(Site { controller, devices: vec![disk, net], errands, porters });
        Ok(())
    }

    pub(super) fn controller(&self) -> Option<Controller<Io>> {
        lock(&self.site).as_ref().map(|site| site.controller.clone())
    }

    /// Operations granted, and refused.
    pub(super) fn counts(&self) -> (u64, u64) {
        let entries = lock(&self.book.0);
        (entries.granted, entries.refused)
    }

    /// Has operations done for `task` now and then.
    pub(super) fn turn(&self, task: &Task, random: &mut Random) -> Result<(), Failure> {
        if random.below(8) > 0 {
            return Ok(());
        }
        let site = lock(&self.site);
        let Some(Site { controller, devices, errands, .. }) = &*site else { return Ok(()) };
        let (controller, errands) = (controller.clone(), errands.clone());
        let device = random.below(devices.len());
        let at = devices[device].clone();
        drop(site);
        let stream = match stream(&controller, &at, task, random) {
            Ok(stream) => stream,
            Err(StreamError::Task(_) | StreamError::Removed { .. }) => return Ok(()),
            Err(error) => return Err(refuse(format!("io: no stream was made: {error}"))),
        };
        for _ in 0..=random.below(4) {
            let (op, way) = (some_op(random), random.below(WAYS));
            let errand = Errand { stream: stream.clone(), device, op, way };
            match random.below(4) {
                0 if lock(&self.book.0).errands < ERRANDS => {
                    lock(&self.book.0).errands += 1;
                    errands.send(errand).map_err(|_| refuse("io: no porter".to_owned()))?;
                }
                1 => errand.ask(&self.book, stream.acquire_timeout(op, SOON)),
                2 => {
                    // Dropped if it would have to wait.
                    let mut acquire = pin!(stream.acquire(op));
                    let mut context = Context::from_waker(Waker::noop());
                    if let Poll::Ready(result) = acquire.as_mut().poll(&mut context) {
                        errand.ask(&self.book, result);
                    }
                }
                3 if device != DISK => errand.ask(&self.book, stream.charge_urgent(op)),
                _ => errand.ask(&self.book, stream.try_acquire(op)),
            }
        }
        Ok(())
    }

    /// Sees all porters come back, and compares the book with what groups show, while no thread works.
    pub(super) fn compare(&self) -> Result<(), Failure> {
        let site = lock(&self.site);
        let Some(Site { controller, devices, .. }) = &*site else { return Ok(()) };
        let deadline = Instant::now() + PATIENCE;
        while lock(&self.book.0).errands > 0 {
            if Instant::now() > deadline {
                let left = lock(&self.book.0).errands;
                return Err(refuse(format!("io: {left} operations wait, after {PATIENCE:?}")));
            }
            thread::sleep(Duration::from_micros(50));
        }
        self.fill(controller, &devices[DISK])?;
        let entries = lock(&self.book.0);
        if let Some(complaint) = &entries.complaint {
            return Err(refuse(format!("io: {complaint}")));
        }
        let Some(hierarchy) = controller.hierarchy() else { return Ok(()) };
        for (device, used) in DEVICES.into_iter().zip(entries.used) {
            let shown = figures(&hierarchy.root(), device)?;
            if shown != (used, 0) {
                let text = format!("io: of {device} the root shows {shown:?}, and {used:?} were");
                return Err(refuse(text));
            }
            below(hierarchy.clone()).try_for_each(|group| are_parts(&group, device))?;
        }
        Ok(())
    }

    /// Sees that as many operations can run at once as ever, now that none does.
    fn fill(&self, controller: &Controller<Io>, disk: &Device) -> Result<(), Failure> {
        let Some(root) = controller.root() else { return Ok(()) };
        let failed = |what: &str| refuse(format!("io: at rest, {what}"));
        let stream = disk.stream_at(&root).map_err(|error| failed(&error.to_string()))?;
        let mut running = Vec::new();
        while let Ok(permit) = stream.try_acquire(Op::read(1)) {
            running.push(permit);
            if running.len() > DEPTH as usize {
                break;
            }
        }
        let count = running.len();
        for permit in running {
            self.book.note(DISK, Op::read(0));
            permit.done(0);
        }
        match count == DEPTH as usize {
            true => Ok(()),
            false => Err(failed(&format!("{count} operations can run, or more, not {DEPTH}"))),
        }
    }

    /// Ends the porters, and unregisters the controller.
    pub(super) fn settle(&self) -> Result<(), Failure> {
        self.compare()?;
        let site = lock(&self.site).take();
        let Some(Site { controller, devices, errands, porters }) = site else { return Ok(()) };
        drop(errands);
        for porter in porters {
            porter.join().map_err(|_| refuse("io: a porter panicked".to_owned()))?;
        }
        drop(devices);
        if controller.hierarchy().is_some() {
            controller.unbind()?;
        }
        Ok(controller.unregister()?)
    }
}

/// A porter's life.
fn carry(book: &Book, errands: &Receiver<Errand>) {
    for errand in errands {
        errand.ask(book, errand.stream.acquire_blocking(errand.op));
        drop(errand);
        lock(&book.0).errands -= 1;
    }
}

impl Errand {
    /// Does the operation if it was granted, and enters what came of it.
    fn ask(&self, book: &Book, result: Result<Permit<'_>, AcquireError>) {
        let permit = match result {
            Ok(permit) => permit,
            Err(error) => return book.refuse(&error),
        };
        book.begin(self.device);
        thread::yield_now();
        let half = self.op.bytes() / 2;
        // Before it ends by itself: then there are as many as the book says, or more.
        book.end(self.device, if self.way < 2 { self.op } else { resized(self.op, half) });
        match self.way {
            0 => drop(permit),
            1 => permit.into_owned().done(self.op.bytes()),
            2 => permit.into_owned().done(half),
            _ => permit.done(half),
        }
    }
}

impl Book {
    fn refuse(&self, error: &AcquireError) {
        use Refusal::{Killed, Removed, TimedOut, WouldBlock};
        let mut entries = lock(&self.0);
        match error.why {
            WouldBlock { .. } | TimedOut { .. } | Removed | Killed => entries.refused += 1,
            _ => drop(entries.complaint.get_or_insert(error.to_string())),
        }
    }

    fn begin(&self, device: usize) {
        let mut entries = lock(&self.0);
        entries.granted += 1;
        entries.running[device] += 1;
        let running = entries.running[device];
        if device == DISK && running > u64::from(DEPTH) {
            entries.complaint.get_or_insert(format!("{running} operations run at once"));
        }
    }

    fn end(&self, device: usize, used: Op) {
        lock(&self.0).running[device] -= 1;
        self.note(device, used);
    }

    /// Enters what was used.
    fn note(&self, device: usize, used: Op) {
        let kind = kinds(0).iter().position(|op| *op == resized(used, 0)).unwrap_or_default();
        let mut entries = lock(&self.0);
        entries.used[device][2 * kind] += used.bytes();
        entries.used[device][2 * kind + 1] += 1;
    }
}

/// Makes a stream, in one of three ways.
fn stream(
    controller: &Controller<Io>,
    device: &Device,
    task: &Task,
    random: &mut Random,
) -> Result<Stream, StreamError> {
    let css = task.css(controller);
    let group = controller.hierarchy().and_then(|hierarchy| task.cgroup(&hierarchy));
    match (random.below(3), css, group) {
        (1, Some(css), _) => device.stream_at(&css),
        (2, _, Some(group)) if !group.path().contains(PASSING) => device.stream(&group),
        _ => device.stream_for(task),
    }
}

/// An operation of each kind, in the order of the [`FIGURES`].
fn kinds(bytes: u64) -> [Op; 3] {
    [Op::read(bytes), Op::write(bytes), Op::discard(bytes)]
}

fn some_op(random: &mut Random) -> Op {
    // Most are small, and a few are above any burst.
    let most = [512, 4 << 10, 4 << 10, 128 << 10][random.below(4)];
    let ops = kinds(1 + random.below(most) as u64);
    ops[[0, 0, 0, 1, 1, 2][random.below(6)]]
}

/// The same kind of operation, of so many bytes.
fn resized(op: Op, bytes: u64) -> Op {
    let own = kinds(op.bytes());
    let kind = own.iter().position(|other| *other == op).unwrap_or_default();
    kinds(bytes)[kind]
}

/// What a group shows of a device: the [`FIGURES`], and how many operations are in flight.
fn figures(group: &Cgroup, device: &str) -> Result<([u64; FIGURES.len()], u64), Failure> {
    let text = group.read(FILE).map_err(|error| refuse(error.to_string()))?;
    parse(&text, device).ok_or_else(|| refuse(format!("io: {} shows {text:?}", group.path())))
}

/// Finds the figures in a file; nothing is shown of a device that was not used.
fn parse(text: &str, device: &str) -> Option<([u64; FIGURES.len()], u64)> {
    let line = text.lines().find_map(|line| line.strip_prefix(device)?.strip_prefix(' '));
    let Some(line) = line else { return Some(([0; FIGURES.len()], 0)) };
    let value = |key: &str| {
        let pairs = line.split_whitespace().filter_map(|pair| pair.split_once('='));
        pairs.filter(|(other, _)| *other == key).find_map(|(_, value)| value.parse().ok())
    };
    let mut shown = [0; FIGURES.len()];
    for (shown, key) in shown.iter_mut().zip(FIGURES) {
        *shown = value(key)?;
    }
    Some((shown, value("inflight").unwrap_or(0)))
}

/// Checks that what the groups below one show is part of what it shows.
fn are_parts(group: &Cgroup, device: &str) -> Result<(), Failure> {
    let (all, _) = figures(group, device)?;
    let mut parts = [0; FIGURES.len()];
    for child in group.children() {
        let (of_child, _) = figures(&child, device)?;
        parts.iter_mut().zip(of_child).for_each(|(sum, part)| *sum += part);
    }
    if parts.iter().zip(all).all(|(part, all)| *part <= all) {
        return Ok(());
    }
    let path = group.path();
    Err(refuse(format!("io: of {device} {path} shows {all:?}, and its children {parts:?}")))
}

/// The devices; one on which [`DEPTH`] operations run at once, and one with limits only.
const DEVICES: [&str; 2] = ["disk", "net"];
const DISK: usize = 0;
const DEPTH: u32 = 2;

const FILE: &str = "io.stat";
const FIGURES: [&str; 6] = ["rbytes", "rios", "wbytes", "wios", "dbytes", "dios"];

/// More than run at a time.
const PORTERS: usize = 4;

/// How many operations porters have to do, at most.
const ERRANDS: u64 = 16;

/// Ways to end an operation.
const WAYS: usize = 4;

/// Part of the paths of groups that are removed with whoever waits there.
const PASSING: &str = "/passing";

/// How long a thread of the script waits.
const SOON: Duration = Duration::from_micros(200);

/// How long rest may take.
const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    use fief_core::Registry;

    /// A dock whose controller is bound, and a stream of a group on each device.
    fn docked() -> (Registry, Dock, Vec<Stream>) {
        let (registry, dock) = (Registry::new(), Dock::default());
        let hierarchy = registry.create_hierarchy("test").unwrap();
        let io = registry.register(Io::new()).unwrap();
        io.bind(&hierarchy).unwrap();
        dock.open(io).unwrap();
        let group = hierarchy.root().create_child("web").unwrap();
        let devices = lock(&dock.site).as_ref().map(|site| site.devices.clone()).unwrap();
        let streams = devices.iter().map(|device| device.stream(&group).unwrap()).collect();
        (registry, dock, streams)
    }

    fn done(dock: &Dock, stream: &Stream, device: usize, op: Op, way: usize) {
        let errand = Errand { stream: stream.clone(), device, op, way };
        errand.ask(&dock.book, stream.acquire_blocking(op));
    }

    fn told(dock: &Dock) -> String {
        dock.compare().unwrap_err().text
    }

    #[test]
    fn what_is_used_is_in_the_book_however_it_ends() {
        let (_registry, dock, streams) = docked();
        for (device, stream) in streams.iter().enumerate() {
            for way in 0..WAYS {
                kinds(4096).into_iter().for_each(|op| done(&dock, stream, device, op, way));
            }
        }
        dock.compare().unwrap();
        let used = lock(&dock.book.0).used[DISK + 1];
        assert_eq!(used, [3 * 4096, 4, 3 * 4096, 4, 3 * 4096, 4]);
        drop(streams);
        dock.settle().unwrap();
        assert!(dock.controller().is_none());
    }

    #[test]
    fn what_is_not_in_the_book_is_told() {
        let (_registry, dock, streams) = docked();
        let permit = streams[DISK].try_acquire(Op::read(5)).unwrap();
        assert_eq!(told(&dock), "io: at rest, 1 operations can run, or more, not 2");
        permit.done(5);
        assert!(told(&dock).starts_with("io: of disk the root shows ([5, "), "{}", told(&dock));
        done(&dock, &streams[DISK + 1], DISK, Op::read(5), 3);
        assert!(told(&dock).starts_with("io: of disk the root shows ([5, "), "{}", told(&dock));
    }

    #[test]
    fn more_than_may_run_and_strange_refusals_are_told() {
        let (_registry, dock, streams) = docked();
        (0..=DEPTH).for_each(|_| dock.book.begin(DISK));
        assert_eq!(told(&dock), "io: 3 operations run at once");
        lock(&dock.book.0).complaint = None;
        lock(&dock.site).as_ref().unwrap().devices[DISK + 1].remove();
        dock.book.refuse(&streams[DISK + 1].try_acquire(Op::read(1)).unwrap_err());
        assert!(told(&dock).ends_with("the device was removed"), "{}", told(&dock));
    }

    #[test]
    fn figures_are_found_in_the_file() {
        let line = "disk rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6 inflight=7\n";
        assert_eq!(parse(line, "disk"), Some(([1, 3, 2, 4, 5, 6], 7)));
        assert_eq!(parse(line, "dis"), Some(([0; 6], 0)));
        assert_eq!(parse("disk rbytes=x", "disk"), None);
    }
}
