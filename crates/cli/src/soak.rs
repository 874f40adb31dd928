//! `fief soak`: three tenants at full load, killed in turn, their controllers moved between two trees,
//! and nothing lost.

use std::{
    iter,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::{
    display::Display,
    options::SoakOptions,
    output::Output,
    report::{self, Outcome},
    signal,
    soak::{
        agent::PATIENCE,
        crew::{Crew, Harvest},
        dropper::Batch,
        schedule::Kill,
        stage::{Input, Stage, Who},
    },
    sync::thread,
    workload::{api::Server, archive::Archive},
};

pub(crate) mod stage;
pub(crate) mod controller;
pub(crate) mod inflight;
pub(crate) mod memory;
pub(crate) mod bench;
pub(crate) mod cpu;
pub(crate) mod io;
pub(crate) mod pair;
pub(crate) mod tree;
pub(crate) mod audit;
pub(crate) mod mover;
pub(crate) mod lookup;
pub(crate) mod agent;
pub(crate) mod gate;
pub(crate) mod cancel;
pub(crate) mod operation;
pub(crate) mod dropper;
pub(crate) mod sample;
pub(crate) mod tally;
pub(crate) mod schedule;
mod crew;

/// What a soak hears while it runs; all but the first end it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Something to show, which ends nothing.
    Told(String),
    /// Ctrl-C.
    Interrupted,
    /// A thread failed; its error is found where it is joined.
    Failed,
}

/// How a run went to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The time was up.
    InTime,
    /// It was interrupted, or nobody reads its output any more.
    Early,
}

/// What the process exits with, unless with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The run is over, and every check held.
    Success,
    /// Interrupted before the run began.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Success => Self::SUCCESS,
            Exit::Interrupted => Self::from(signal::INTERRUPTED),
        }
    }
}

/// Runs the soak and prints its report.
///
/// # Errors
///
/// When it cannot run, and when a check is broken.
pub(crate) fn run(options: SoakOptions) -> Result<Exit> {
    let (sender, events) = crossbeam_channel::unbounded();
    let archive = Archive::make(options.dir.as_deref())?;
    let to_remove = (!options.keep).then(|| archive.path().to_owned());
    let interrupted = signal::watch(sender.clone(), to_remove)?;
    let server = Server::listen(options.port)?;
    let mut output = Output::stdout();
    output.line(format_args!("fief soak: making TPC-H data, scale factor {} ...", options.scale));
    let Some(input) = Input::make(options.scale, &interrupted)? else {
        return Ok(Exit::Interrupted);
    };
    let stage = Stage::new(options, input, archive, server.address())?;
    stage.disk.prepare(stage.archive.path())?;
    output.line(report::intro(&stage));

    let outcome = perform(&stage, &server, &sender, &events, &mut output)?;
    output.line(report::tables(&stage, &outcome));
    let broken = report::verdicts(&stage, &outcome, &mut output);
    if let Some(kept) = clear(stage)? {
        output.line(format_args!("\nKept: {}", kept.display()));
    }
    output.finish()?;
    match broken {
        0 => Ok(Exit::Success),
        1 => bail!("1 check is broken"),
        _ => bail!("{broken} checks are broken"),
    }
}

/// Does everything between the introduction and the report.
fn perform(
    stage: &Stage,
    server: &Server,
    sender: &Sender<Event>,
    events: &Receiver<Event>,
    output: &mut Output,
) -> Result<Outcome> {
    let agents = agent::start(stage)?;
    let start = Instant::now();
    stage.phases.mark(stage);
    let act = schedule::act(start, stage.options.seconds);
    let (run, took, harvest) = thread::scope(|scope| {
        let (mut crew, batches) = Crew::new(scope, stage, server, sender.clone());
        let run = crew
            .start(batches, act)
            .and_then(|()| Who::ALL.into_iter().try_for_each(|who| tree::open(stage, who)))
            .and_then(|()| conduct(stage, start, events, crew.dropper(), output));
        let took = start.elapsed();
        stage.phases.mark(stage);
        (run, took, crew.finish())
    });
    let Harvest { latencies, mut moves } = harvest?;
    let ended = run?;
    stage.buffers.clear();
    let charged = cpu::close(stage)?;
    let disk = io::close(stage)?;
    audit::finish(stage, &mut moves)?;
    let service = agent::retire(stage, agents, PATIENCE)?;
    for who in Who::ALL {
        if let Some(top) = stage.trees.of(who) {
            tree::detach(stage, who, &top.descendants_post(&stage.trees))?;
        }
    }
    stage.trees.registry.wait_reclaimed()?;
    Ok(Outcome { ended, took, latencies, moves, service, charged, disk })
}

/// What is due in a soak, at its time.
enum Due {
    Bind,
    Limit(memory::Turn),
    Kill(Kill),
    Favour,
    Disk,
}

/// Everything that is due in a soak of `seconds`, in order.
fn agenda(seconds: u64) -> Vec<(Duration, Due)> {
    let kills = schedule::kills(seconds).map(|kill| (kill.at, Due::Kill(kill)));
    let turns = schedule::turns(seconds).map(|(at, turn)| (at, Due::Limit(turn)));
    let favours = schedule::favours(seconds).map(|at| (at, Due::Favour));
    let disk = schedule::disk(seconds).map(|at| (at, Due::Disk));
    let bind = iter::once((schedule::bind(seconds), Due::Bind));
    let limits = turns.chain(favours).chain(disk);
    let mut agenda: Vec<(Duration, Due)> = bind.chain(kills).chain(limits).collect();
    agenda.sort_by_key(|(at, _)| *at);
    agenda
}

/// Lets the tenants work, binds the controllers and kills tenants on schedule, and shows how they do.
fn conduct(
    stage: &Stage,
    start: Instant,
    events: &Receiver<Event>,
    dropper: &Sender<Batch>,
    output: &mut Output,
) -> Result<Ended> {
    let seconds = stage.options.seconds;
    let end = start + Duration::from_secs(seconds);
    let mut display = Display::new(stage, start);
    let mut agenda = agenda(seconds).into_iter().peekable();
    loop {
        let now = Instant::now();
        if output.is_closed() {
            return Ok(Ended::Early);
        }
        match agenda.next_if(|(at, _)| start + *at <= now) {
            Some((_, Due::Bind)) => display.tell(&tree::bind(stage)?, output),
            Some((_, Due::Limit(turn))) => {
                if let Some(changed) = memory::turn(stage, turn)? {
                    display.tell(&changed, output);
                }
            }
            Some((_, Due::Favour)) => cpu::favour(stage)?,
            Some((_, Due::Disk)) => io::turn(stage)?,
            Some((_, Due::Kill(kill))) => {
                display.tell(&tree::kill(stage, kill.who, dropper)?, output);
            }
            None => {
                display.show(now, output);
                if now >= end {
                    display.clear();
                    return Ok(Ended::InTime);
                }
                let next = agenda.peek().map_or(end, |(at, _)| start + *at);
                match events.recv_deadline(display.next().min(next).min(end)) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(Event::Told(text)) => display.tell(&text, output),
                    // A failed run ends with the error of the thread that failed.
                    Ok(Event::Interrupted | Event::Failed)
                    | Err(RecvTimeoutError::Disconnected) => {
                        display.clear();
                        return Ok(Ended::Early);
                    }
                }
            }
        }
    }
}

/// Takes down what is left: the controllers, the hierarchies and the files; returns where these are
/// kept, if they are.
fn clear(stage: Stage) -> Result<Option<PathBuf>> {
    // A run may end before they are bound.
    if let Some(tree) = stage.queries.hierarchy() {
        tree.remount(&[])?;
    }
    stage.queries.unregister()?;
    stage.inflight.unregister()?;
    stage.memory.unregister()?;
    stage.cpu.unregister()?;
    stage.io.unregister()?;
    stage.trees.tenants.destroy()?;
    stage.trees.plans.destroy()?;
    stage.archive.end(stage.options.keep)
}
