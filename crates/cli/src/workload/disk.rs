//! The disk's users: a thread of `api` that reads a block now and then, and threads of `backup` that read and write
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
    sync::{Arc, thread},
    tour::{
        cancel::Cancel,
        io::Way,
        sample::Latencies,
        stage::{Stage, Who},
        tree,
    },
    workload::drive::{BLOCK, Buffer, CHUNK, Drive, SIZE},
};

/// A thread that uses the disk.
#[derive(Debug)]
pub(crate) struct User<'a> {
    stage: &'a Stage,
    who: Who,
    index: u32,
    task: Task,
    stream: Stream,
    cancel: Arc<Cancel>,
    bell: Arc<Bell>,
    rung: Receiver<()>,
    buffer: Buffer,
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
        Ok(Self { stage, who, index, task, stream, cancel, bell, rung, buffer, rng })
    }

    /// Works until the tour ends, whatever is killed meanwhile.
    ///
    /// # Errors
    ///
    /// Those of the registry, and of reading and writing.
    pub(crate) fn run(mut self) -> Result<Latencies> {
        let stage = self.stage;
        if let Some(drive) = self.drive()? {
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

    /// The file; `None` if the tour ends before there is one.
    fn drive(&self) -> Result<Option<&'a Drive>> {
        let Stage { disk, archive, ending, .. } = self.stage;
        if (self.who, self.index) == (Who::Backup, 0) {
            let drive = Drive::make(archive.path())?;
            return Ok(Some(disk.drive.get_or_init(|| drive)));
        }
        while disk.drive.get().is_none() && !ending.is_raised() {
            thread::sleep(PAUSE);
        }
        Ok(disk.drive.get())
    }

    /// Does one operation, or gives it up after a kill.
    fn work(&mut self, drive: &Drive) -> Result<()> {
        let size = self.buffer.bytes().len() as u64;
        let way =
            if self.who == Who::Backup && self.rng.u32(..4) == 0 { Way::Write } else { Way::Read };
        let half = SIZE / 2;
        let offset = self.rng.u64(..half / size) * size;
        let begun = self.stage.disk.begin();
        let permit = match begun.is_shared() {
            false => None,
            true => {
                let op = match way {
                    Way::Read => Op::read(size).at(offset),
                    Way::Write => Op::write(size).at(half + offset),
                };
                let Some(permit) = wait(&self.stream, op, &self.cancel, (&self.bell, &self.rung))?
                else {
                    return Ok(());
                };
                Some(permit)
            }
        };
        match way {
            Way::Read => drive.read(&mut self.buffer, offset)?,
            Way::Write => drive.write(&self.buffer, half + offset)?,
        }
        if let Some(permit) = permit {
            permit.done(size);
        }
        self.stage.disk.end(self.who, way, size, begun);
        if way == Way::Read {
            let tally = &self.stage.tenant(self.who).tally;
            tally.checked.add(1);
            tally.wrong.add(u64::from(!self.buffer.is_of(offset)));
        }
        if self.who == Who::Api || !drive.is_direct() {
            // Out of the page cache others would only copy, and leave no CPU to anybody.
            thread::sleep(PAUSE);
        }
        Ok(())
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

/// How many threads of tenant `backup` there are.
pub(crate) const COPIERS: u32 = 16;

/// How long `api` waits from one read to the next.
const PAUSE: Duration = Duration::from_millis(2);
