//! The disk's users: threads of `api` that read a block now and then, and threads of `backup` that read and write
//! as much as they can.
//!
//! A thread is a member of its tenant, and what it does is charged wherever that is. A kill ends its wait: it gives
//! up what it waits for, and nothing is charged.

use std::{
    pin::pin,
    task::{Context as TaskContext, Poll, Wake, Waker},
    time::Duration,
};

use anyhow::Result;
use crossbeam_channel::{Receiver, Sender, bounded, select};
use fief_core::Task;
use fief_io::{Op, Permit, Stream};

use crate::{
    soak::{
        cancel::Cancel,
        io::Way,
        sample::Latencies,
        stage::{Stage, Who},
        tree,
    },
    sync::{Arc, thread},
    workload::drive::{BLOCK, BULK, Buffer, CHUNK, Drive, LIGHT, PIECE, ROOM},
};

/// A thread that uses the disk.
#[derive(Debug)]
pub(crate) struct User<'a> {
    stage: &'a Stage,
    who: Who,
    way: Way,
    task: Task,
    stream: Stream,
    cancel: Arc<Cancel>,
    bell: Arc<Bell>,
    rung: Receiver<()>,
    buffer: Buffer,
    /// Its last operation, counted from the beginning of its part of the file.
    last: Option<u64>,
    rng: fastrand::Rng,
}

/// Wakes a thread that waits.
#[derive(Debug)]
struct Bell(Sender<()>);

impl<'a> User<'a> {
    /// # Errors
    ///
    /// Those of making a task and a stream.
    pub(crate) fn new(stage: &'a Stage, who: Who, index: u32) -> Result<Self> {
        let task = stage.trees.registry.create_task(&format!("{}-disk-{index}", who.name()))?;
        let cancel = Cancel::new(&stage.tenant(who).tally);
        cancel.stop_with(&task);
        let stream = stage.disk.device.stream_for(&task)?;
        let (sender, rung) = bounded(1);
        let bell = Arc::new(Bell(sender));
        let buffer = Buffer::new(if who == Who::Api { BLOCK } else { CHUNK });
        let rng = stage.rng(who, u32::MAX - index);
        // A quarter of bulk is written.
        let way = if who == Who::Backup && index % 4 == 3 { Way::Write } else { Way::Read };
        Ok(Self { stage, who, way, task, stream, cancel, bell, rung, buffer, last: None, rng })
    }

    /// Works until the soak ends, whatever is killed meanwhile.
    ///
    /// # Errors
    ///
    /// Those of the registry, and of reading and writing.
    pub(crate) fn run(mut self) -> Result<Latencies> {
        let stage = self.stage;
        if let Some(drive) = stage.disk.drive.get() {
            let gate = &stage.tenant(self.who).gate;
            while let Some(_inside) =
                gate.enter(|now| tree::enter(stage, self.who, &self.task, &now.group))?
            {
                while !self.cancel.is_cancelled() && !stage.ending.is_raised() {
                    self.work(drive)?;
                }
                stage.trees.leave(&self.task)?;
                self.cancel.reset();
            }
        }
        Ok(Latencies::new())
    }

    /// Does one operation, in pieces if it has to ask; or gives it up after a kill.
    fn work(&mut self, drive: &Drive) -> Result<()> {
        let size = self.buffer.bytes().len();
        let way = self.way;
        let offset = self.place(size as u64);
        let mut done = 0;
        while done < size {
            match self.piece(drive, way, offset + done as u64, done)? {
                Some(bytes) => done += bytes,
                None => return Ok(()),
            }
        }
        if way == Way::Read {
            let tally = &self.stage.tenant(self.who).tally;
            tally.checked.add(1);
            // One block of many: this is to use the disk, not the CPU.
            let block = self.rng.usize(..size / BLOCK) * BLOCK;
            tally.wrong.add(u64::from(!self.buffer.is_block(block, offset + block as u64)));
        }
        if self.who == Who::Api || !drive.is_direct() {
            // Out of the page cache others would only copy, and leave no CPU to anybody.
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Where the next operation is in its part of the file: anywhere for `api`; bulk goes on where it was.
    fn place(&mut self, size: u64) -> u64 {
        let part = match (self.who, self.way) {
            (Who::Backup, Way::Read) => BULK,
            (Who::Backup, Way::Write) => ROOM,
            _ => LIGHT,
        };
        let count = (part.end - part.start) / size;
        let next = match self.last {
            Some(last) if self.who == Who::Backup => (last + 1) % count,
            _ => self.rng.u64(..count),
        };
        self.last = Some(next);
        part.start + next * size
    }

    /// Does a piece of an operation, of the buffer from `at` on: all of the rest, if it need not ask. Returns how many
    /// bytes that was; `None` after a kill.
    fn piece(&mut self, drive: &Drive, way: Way, place: u64, at: usize) -> Result<Option<usize>> {
        let begun = self.stage.disk.begin();
        let rest = self.buffer.bytes().len() - at;
        let size = if begun.is_shared() { rest.min(PIECE) } else { rest };
        let bytes = size as u64;
        let permit = match (begun.is_shared(), way) {
            (false, _) => None,
            (true, way) => {
                let op = if way == Way::Read { Op::read(bytes) } else { Op::write(bytes) };
                let bell = (&self.bell, &self.rung);
                let Some(permit) = wait(&self.stream, op.at(place), &self.cancel, bell)? else {
                    return Ok(None);
                };
                Some(permit)
            }
        };
        match way {
            Way::Read => drive.read(&mut self.buffer.bytes_mut()[at..at + size], place)?,
            Way::Write => drive.write(&self.buffer.bytes()[at..at + size], place)?,
        }
        if let Some(permit) = permit {
            permit.done(bytes);
        }
        self.stage.disk.end(self.who, way, bytes, begun);
        Ok(Some(size))
    }
}

/// Waits for an operation's turn; `None` after a kill.
fn wait<'s>(
    stream: &'s Stream,
    op: Op,
    cancel: &Cancel,
    (bell, rung): (&Arc<Bell>, &Receiver<()>),
) -> Result<Option<Permit<'s>>> {
    let waker = Waker::from(Arc::clone(bell));
    let mut acquire = pin!(stream.acquire(op));
    loop {
        if cancel.is_cancelled() {
            return Ok(None);
        }
        if let Poll::Ready(permit) = acquire.as_mut().poll(&mut TaskContext::from_waker(&waker)) {
            return Ok(Some(permit?));
        }
        select! {
            recv(rung) -> _ => {}
            recv(cancel.woken()) -> _ => {}
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        // Full means that it was rung already.
        self.0.try_send(()).ok();
    }
}

/// How many threads of tenant `api` there are.
pub(crate) const READERS: u32 = 4;

/// How many threads of tenant `backup` there are.
pub(crate) const COPIERS: u32 = 16;

/// How long a thread of `api` waits from one read to the next.
const PAUSE: Duration = Duration::from_millis(2);
