//! A scenario from its first act to its last check.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::{
    arrivals::Arrivals,
    backup,
    checks::{Checks, Invariant},
    client::Client,
    config::{Act, Requests, Scenario},
    deeds,
    outcome::{Done, MIB, Outcome, SETTLING},
    queries, requests,
    sampler::Sample,
    show::Show,
    tenant::{Tenant, Work},
    world::{Input, World, runtime},
};
use crate::{
    output::Output,
    soak::Event,
    sync::{Arc, Flag, thread},
};

/// How a scenario is run.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) plain: bool,
    pub(crate) port: u16,
    /// For what is not kept.
    pub(crate) dir: PathBuf,
    /// How much shorter acts are.
    pub(crate) hurry: f64,
    /// In place of a scenario's own arrivals.
    pub(crate) arrivals: Option<PathBuf>,
}

/// When an act was, and what was done in it.
#[derive(Clone, Debug)]
pub(crate) struct ActTimes {
    pub(crate) title: String,
    pub(crate) claim: String,
    pub(crate) from: Duration,
    pub(crate) to: Duration,
    pub(crate) deeds: Vec<Done>,
}

/// How often everybody is looked at.
const EVERY: Duration = Duration::from_millis(100);

/// How long tenants may take to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// Those who work, to be waited for.
type Crew = Vec<(Arc<Tenant>, thread::JoinHandle<Result<()>>)>;

impl ActTimes {
    /// From when on it is only of itself.
    pub(crate) fn settled(&self) -> Duration {
        self.from + SETTLING.min((self.to - self.from) / 4)
    }
}

/// Runs a scenario; `None` if it was interrupted before it began.
///
/// # Errors
///
/// When it cannot run, or what it does is refused.
pub(crate) fn run(
    scenario: &Scenario,
    settings: &Settings,
    (events, stop): (&Receiver<Event>, &Flag),
    output: &mut Output,
) -> Result<Option<Outcome>> {
    let arrivals = arrivals(scenario, settings)?;
    let Some(input) = Input::make(scenario, &settings.dir, stop)? else { return Ok(None) };
    let runtime = runtime()?;
    let world = Arc::new(World::new(scenario, input, runtime.handle().clone())?);
    let result = play(scenario, settings, &world, arrivals, events, output);
    world.tenants.iter().for_each(|tenant| tenant.is_running.lower());
    world.pool.shutdown();
    runtime.shutdown_timeout(Duration::from_secs(2));
    result.map(Some)
}

/// Reads every trace before anything begins.
fn arrivals(scenario: &Scenario, settings: &Settings) -> Result<Vec<Option<Arrivals>>> {
    let of = |requests: &Requests| -> Result<Arrivals> {
        if let Some(rate) = &requests.rate {
            return Ok(Arrivals::random(*rate.get_ref(), scenario.seed));
        }
        let own = requests.arrivals.as_ref().map(|path| path.get_ref().clone());
        let path = settings.arrivals.clone().or(own).context("there are no arrivals")?;
        let speed = requests.speed.as_ref().map_or(1.0, |speed| *speed.get_ref());
        Arrivals::read(&path, speed).with_context(|| {
            format!("no arrivals from {}; name a trace with --arrivals", path.display())
        })
    };
    scenario.tenants.iter().map(|tenant| tenant.requests.as_ref().map(of).transpose()).collect()
}

/// Everything between the making of the world and its end.
fn play(
    scenario: &Scenario,
    settings: &Settings,
    world: &Arc<World>,
    mut arrivals: Vec<Option<Arrivals>>,
    events: &Receiver<Event>,
    output: &mut Output,
) -> Result<Outcome> {
    let checks = Checks::default();
    let mut show = Show::begin(scenario, (settings.plain, settings.hurry), output);
    let mut samples = vec![Sample::take(world, &checks)];
    let (mut acts, mut crew) = (Vec::new(), Crew::new());
    let mut is_interrupted = false;
    for (number, act) in scenario.acts.iter().enumerate() {
        for name in &act.start {
            let index = world.tenants.iter().position(|other| other.name == *name.get_ref());
            let index = index.context("there is no such tenant")?;
            let tenant = &world.tenants[index];
            if !tenant.is_running.is_raised() {
                let arrivals = arrivals.get_mut(index).and_then(Option::take);
                start(world, tenant, (scenario.seed, settings.port), arrivals, &mut crew)?;
            }
        }
        let mut times = ActTimes {
            title: act.title.clone(),
            claim: act.claim.clone(),
            from: world.now(),
            to: world.now(),
            deeds: Vec::new(),
        };
        world.tenants.iter().for_each(|tenant| tenant.record.begin_act(times.from));
        show.act(number, act, output);
        let went = perform(world, &checks, act, settings.hurry, |tick| match tick {
            Tick::Look => {
                samples.push(Sample::take(world, &checks));
                show.look(world, &samples, output);
                !output.is_closed() && !is_over(events)
            }
            Tick::Done(done) => {
                show.tell(world.now(), &done.what, output);
                times.deeds.push(done);
                true
            }
        });
        times.to = world.now();
        acts.push(times);
        if !went {
            is_interrupted = !world.has_failed();
            break;
        }
    }
    samples.push(Sample::take(world, &checks));
    show.end();
    let stopped = stop(world, crew);
    // What went wrong first is why the rest did.
    world.take_fault().map_or(stopped, Err)?;
    let mut outcome = Outcome::of(scenario, world, &checks, (&acts, &samples), is_interrupted);
    outcome.invariants = audit(world, &checks, &outcome)?;
    Ok(outcome)
}

/// What happens in an act.
enum Tick {
    /// It is time to look at everybody.
    Look,
    /// Something was done.
    Done(Done),
}

/// Does what an act is to do, each at its time, on a thread of its own; false if it was ended early, or
/// something went wrong.
fn perform(
    world: &Arc<World>,
    checks: &Checks,
    act: &Act,
    hurry: f64,
    mut tick: impl FnMut(Tick) -> bool,
) -> bool {
    let start = Instant::now();
    let end = start + act.lasts.get_ref().div_f64(hurry);
    let (sender, done) = crossbeam_channel::unbounded();
    let is_over = Flag::default();
    thread::scope(|scope| {
        let is_over = &is_over;
        let doing = scope.spawn(move || {
            for deed in act.deeds.iter().map(toml::Spanned::get_ref) {
                let due = start + deed.at.div_f64(hurry);
                while let Some(left) = due.checked_duration_since(Instant::now()) {
                    if is_over.is_raised() {
                        return;
                    }
                    thread::sleep(left.min(EVERY));
                }
                let at = world.now().as_secs_f64();
                match deeds::perform(world, checks, deed) {
                    // Somebody always listens.
                    Ok(what) => drop(sender.send(Done { at, what })),
                    Err(error) => return world.fail(error),
                }
            }
        });
        let mut next = start + EVERY;
        let mut goes_on = true;
        // What takes longer than its act is waited for.
        while goes_on && !world.has_failed() && (Instant::now() < end || !doing.is_finished()) {
            match done.recv_deadline(next) {
                Ok(done) => goes_on = tick(Tick::Done(done)),
                // Nothing is done any more.
                Err(RecvTimeoutError::Disconnected) => {
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= next {
                next += EVERY;
                goes_on &= tick(Tick::Look);
            }
        }
        is_over.raise();
        if !goes_on {
            world.is_ending.raise();
        }
        doing.join().unwrap_or_else(|_| world.fail(anyhow::anyhow!("an act has panicked")));
        while let Ok(done) = done.try_recv() {
            tick(Tick::Done(done));
        }
        goes_on && !world.has_failed()
    })
}

/// Whether it was interrupted.
fn is_over(events: &Receiver<Event>) -> bool {
    events.try_iter().any(|event| !matches!(event, Event::Told(_)))
}

/// Has a tenant begin to work.
fn start(
    world: &Arc<World>,
    tenant: &Arc<Tenant>,
    (seed, port): (u64, u16),
    arrivals: Option<Arrivals>,
    crew: &mut Crew,
) -> Result<()> {
    tenant.is_running.raise();
    let mut hire = |name: String, work: Box<dyn FnOnce() -> Result<()> + Send>| -> Result<()> {
        let thread =
            thread::Builder::new().name(name).spawn(work).context("cannot start a thread")?;
        crew.push((Arc::clone(tenant), thread));
        Ok(())
    };
    let (here, this) = (Arc::clone(world), Arc::clone(tenant));
    match &tenant.work {
        Work::Requests(work) => {
            let address = requests::listen(world, tenant, *work.users.get_ref(), port)?;
            let client = Client::connect(world, tenant, work, address, seed)?;
            let arrivals = arrivals.context("there are no arrivals")?;
            hire(format!("{}-client", tenant.name), Box::new(move || client.run(arrivals)))
        }
        Work::Queries(work) => {
            let work = work.clone();
            let run = move || queries::run(&here, &this, &work, seed);
            hire(tenant.name.clone(), Box::new(run))
        }
        Work::Backup(work) => {
            let mut streams = Vec::new();
            for index in 0..*work.streams.get_ref() {
                let member = world.member(tenant, &format!("stream-{index}"))?;
                tenant.keep(&member);
                let stream = backup::run(Arc::clone(world), Arc::clone(tenant), member, index);
                streams.push(world.runtime.spawn(stream));
            }
            let run = move || {
                let ended = streams.into_iter().map(|stream| here.runtime.block_on(stream));
                ended.into_iter().try_for_each(|ended| ended?)
            };
            hire(tenant.name.clone(), Box::new(run))
        }
    }
}

/// Has everybody stop, and waits for them.
fn stop(world: &World, crew: Crew) -> Result<()> {
    world.tenants.iter().for_each(|tenant| tenant.is_running.lower());
    let until = Instant::now() + PATIENCE;
    for (tenant, thread) in crew {
        while !thread.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        if !thread.is_finished() {
            // Nobody would end it: what it waits for is said instead.
            anyhow::bail!("{} did not stop in {PATIENCE:?}", tenant.name);
        }
        let ended = thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread has panicked")));
        ended.unwrap_or_else(|error| world.fail(error.context(tenant.name.clone())));
        tenant.dismiss();
    }
    Ok(())
}

/// Removes what is left, and looks whether everything was counted once.
fn audit(world: &World, checks: &Checks, outcome: &Outcome) -> Result<Vec<Invariant>> {
    let mut invariants = vec![checks.limits(), checks.notices(), checks.moves(), checks.carries()];
    for tenant in world.tenants.iter().filter(|tenant| !tenant.is_removed.is_raised()) {
        let groups: Vec<_> = tenant.places().into_iter().map(|place| place.top).collect();
        deeds::wait_empty(&groups, Instant::now() + PATIENCE)
            .with_context(|| format!("{} has not ended", tenant.name))?;
        deeds::detach(world, &groups)?;
    }
    world.registry.wait_reclaimed()?;
    let root = world.memory.root().context("the memory controller is gone")?;
    root.drain();
    let (left, inside) = root.usage_exact();
    let zero = left == 0 && inside == 0;
    let bound = world.hierarchy_of("memory").is_some();
    invariants.push(Invariant::new(
        "memory charges end at zero",
        bound.then_some(zero),
        format!("{left} bytes left when all have gone"),
    ));
    let cpu = world.cpu.root().context("the cpu controller is gone")?;
    invariants.push(checks.usages(cpu.usage()));
    let stats = world.io.root().context("the io controller is gone")?.stats(&world.disk);
    let sum = |figure: fn(&super::outcome::TenantOutcome) -> u64| -> u64 {
        outcome.tenants.iter().map(figure).sum()
    };
    let (read, written) = (sum(|tenant| tenant.read), sum(|tenant| tenant.written));
    invariants.push(Invariant::new(
        "every byte of I/O is charged once",
        (read + written > 0).then_some((stats.rbytes, stats.wbytes) == (read, written)),
        format!(
            "{:.0} MiB read, {:.0} MiB written, {} bytes off",
            stats.rbytes as f64 / MIB,
            stats.wbytes as f64 / MIB,
            stats.rbytes.abs_diff(read) + stats.wbytes.abs_diff(written),
        ),
    ));
    invariants.push(Invariant::new(
        "nothing is left in flight",
        Some(stats.inflight == 0 && stats.waiting == 0),
        format!("{} in flight, {} waiting", stats.inflight, stats.waiting),
    ));
    let wrong = sum(|tenant| tenant.wrong);
    invariants.push(Invariant::new(
        "every answer is right",
        Some(wrong == 0),
        format!("{} checked, {wrong} wrong", sum(|tenant| tenant.operations)),
    ));
    let groups = world.trees.iter().map(|tree| tree.root().descendant_count()).sum::<u32>();
    invariants.push(Invariant::new(
        "every group is gone",
        Some(groups == 0),
        format!("{groups} groups are left"),
    ));
    Ok(invariants)
}
