//! What came of a scenario, as data: this is `report.json`.

use std::time::Duration;

use serde::Serialize;

use super::{
    checks::{Checks, Invariant},
    conduct::ActTimes,
    config::Scenario,
    machine::Machine,
    sampler::Sample,
    score::{self, Spread},
    tenant::{Tenant, Work},
    world::World,
};
use crate::soak::lookup::{Comparison, Kind, Summary, compare};

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    /// Of this format.
    pub(crate) version: u32,
    pub(crate) title: String,
    pub(crate) about: String,
    pub(crate) machine: Machine,
    pub(crate) seed: u64,
    pub(crate) seconds: f64,
    /// Whether it was ended early.
    pub(crate) is_interrupted: bool,
    pub(crate) acts: Vec<ActOutcome>,
    /// The first acts again, with nothing bound, if that was asked for.
    pub(crate) plain: Option<Vec<ActOutcome>>,
    pub(crate) tenants: Vec<TenantOutcome>,
    pub(crate) rebinds: Option<Rebinds>,
    pub(crate) invariants: Vec<Invariant>,
    /// How everybody did, ten times a second.
    pub(crate) series: Series,
}

/// An act.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ActOutcome {
    pub(crate) title: String,
    pub(crate) claim: String,
    /// Seconds from the beginning.
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) deeds: Vec<Done>,
    pub(crate) tenants: Vec<TenantAct>,
    /// What tenants without an objective had of the CPU time that all others left, in percent.
    pub(crate) work_csv: Option<f64>,
}

/// Something that was done.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Done {
    pub(crate) at: f64,
    pub(crate) what: String,
}

/// A tenant in an act.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TenantAct {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    /// A second.
    pub(crate) operations: f64,
    /// CPUs.
    pub(crate) cpu: f64,
    /// To and from the file, a second.
    pub(crate) bytes: f64,
    /// At the end of the act; `None` while the controller is not bound.
    pub(crate) memory: Option<u64>,
    pub(crate) memory_max: Option<u64>,
    pub(crate) latency: Option<Latency>,
    pub(crate) isol: Option<Spread>,
    pub(crate) lat_imp: Option<Spread>,
}

/// What requests took, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    pub(crate) objective: f64,
}

/// A tenant in all acts.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct TenantOutcome {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) operations: u64,
    pub(crate) wrong: u64,
    pub(crate) cpu_seconds: f64,
    pub(crate) read: u64,
    pub(crate) written: u64,
    /// Without asking, while the controller was not bound.
    pub(crate) unasked: u64,
    pub(crate) spills: u64,
    pub(crate) waits: u64,
    pub(crate) victims: u64,
    pub(crate) memory_peak: Option<u64>,
}

/// The rebinds, and lookups around them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Rebinds {
    pub(crate) count: usize,
    pub(crate) median_us: f64,
    pub(crate) max_us: f64,
    /// Windows, and p50 and p99 of lookups in nanoseconds, as medians over the windows.
    pub(crate) with: Lookups,
    pub(crate) without: Lookups,
    pub(crate) verdict: String,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Lookups {
    pub(crate) windows: usize,
    pub(crate) timed: u64,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
}

/// Figures over time; all lists are as long as `at`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Series {
    pub(crate) at: Vec<f64>,
    pub(crate) tenants: Vec<TenantSeries>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct TenantSeries {
    pub(crate) name: String,
    /// CPUs.
    pub(crate) cpu: Vec<f64>,
    /// MiB a second to and from the file.
    pub(crate) io: Vec<f64>,
    /// MiB.
    pub(crate) memory: Vec<Option<f64>>,
    pub(crate) memory_max: Vec<Option<f64>>,
    /// The mean of requests that were due then, in milliseconds.
    pub(crate) latency: Option<Vec<Option<f64>>>,
}

/// Windows at the beginning of an act that are not of it alone: what came before is still on its way.
pub(crate) const SETTLING: Duration = Duration::from_secs(1);

pub(crate) const MIB: f64 = (1 << 20) as f64;

impl Outcome {
    /// Adds everything up.
    pub(crate) fn of(
        scenario: &Scenario,
        world: &World,
        checks: &Checks,
        (acts, samples): (&[ActTimes], &[Sample]),
        is_interrupted: bool,
    ) -> Self {
        let baseline = acts.first();
        let outcomes = acts.iter().enumerate().map(|(number, act)| ActOutcome {
            title: act.title.clone(),
            claim: act.claim.clone(),
            from: act.from.as_secs_f64(),
            to: act.to.as_secs_f64(),
            deeds: act.deeds.clone(),
            tenants: world
                .tenants
                .iter()
                .enumerate()
                .filter_map(|(index, tenant)| {
                    TenantAct::of(tenant, (index, number), act, samples, baseline)
                })
                .collect(),
            work_csv: conserved(world, act, samples),
        });
        Self {
            version: 1,
            title: scenario.title.clone(),
            about: scenario.about.clone(),
            machine: Machine::this(world, samples),
            seed: scenario.seed,
            seconds: acts.last().map_or(0.0, |act| act.to.as_secs_f64()),
            is_interrupted,
            acts: outcomes.collect(),
            plain: None,
            tenants: world.tenants.iter().map(|tenant| TenantOutcome::of(tenant, checks)).collect(),
            rebinds: Rebinds::of(checks),
            invariants: Vec::new(),
            series: Series::of(world, samples),
        }
    }
}

/// What tenants without an objective had of what the others left.
fn conserved(world: &World, act: &ActTimes, samples: &[Sample]) -> Option<f64> {
    let (first, last) = ends(act, samples)?;
    let others = world
        .tenants
        .iter()
        .enumerate()
        .filter(|(_, tenant)| !matches!(tenant.work, Work::Requests(_)));
    let others: Vec<usize> = others.map(|(index, _)| index).collect();
    // Who has nothing to do leaves it to nobody.
    let within = || samples.iter().filter(|one| (first.at..=last.at).contains(&one.at));
    let is_at_work = |(one, two): (&Sample, &Sample)| {
        others.iter().any(|index| two.tenants[*index].cpu > one.tenants[*index].cpu)
    };
    within()
        .zip(within().skip(1))
        .all(is_at_work)
        .then(|| score::conservation(first, last, &others, world.cpus))?
}

/// The first and the last sample of an act.
fn ends<'s>(act: &ActTimes, samples: &'s [Sample]) -> Option<(&'s Sample, &'s Sample)> {
    let mut within = samples.iter().filter(|sample| (act.settled()..=act.to).contains(&sample.at));
    let first = within.next()?;
    let last = within.next_back()?;
    (last.at > first.at).then_some((first, last))
}

impl TenantAct {
    fn of(
        tenant: &Tenant,
        (index, number): (usize, usize),
        act: &ActTimes,
        samples: &[Sample],
        baseline: Option<&ActTimes>,
    ) -> Option<Self> {
        let (first, last) = ends(act, samples)?;
        let time = (last.at - first.at).as_secs_f64();
        let (from, to) = (first.tenants.get(index)?, last.tenants.get(index)?);
        let rate = |to: u64, from: u64| (to - from) as f64 / time;
        let objective = match &tenant.work {
            Work::Requests(requests) => Some(requests.objective),
            _ => None,
        };
        let windows = objective.map(|_| tenant.record.windows(act.settled(), act.to));
        let quiet = baseline.map(|act| tenant.record.windows(act.settled(), act.to));
        let quiet = quiet.as_deref().and_then(score::mean_latency);
        Some(Self {
            name: tenant.name.clone(),
            unit: tenant.unit(),
            operations: rate(to.operations, from.operations),
            cpu: (to.cpu.saturating_sub(from.cpu)).as_secs_f64() / time,
            bytes: rate(to.bytes, from.bytes),
            memory: to.memory,
            memory_max: to.max,
            latency: objective.and_then(|objective| Latency::of(tenant, number, objective)),
            isol: windows.as_deref().and_then(score::isolation),
            lat_imp: windows
                .as_deref()
                .zip(quiet)
                .and_then(|(windows, quiet)| score::impact(windows, quiet)),
        })
    }
}

impl Latency {
    fn of(tenant: &Tenant, act: usize, objective: Duration) -> Option<Self> {
        let histogram = tenant.record.latencies(act).filter(|all| !all.is_empty())?;
        let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        let objective = objective.as_secs_f64() * 1e3;
        Some(Self { p50: ms(0.5), p99: ms(0.99), max: ms(1.0), objective })
    }
}

impl TenantOutcome {
    fn of(tenant: &Tenant, checks: &Checks) -> Self {
        let tally = &tenant.tally;
        Self {
            name: tenant.name.clone(),
            unit: tenant.unit(),
            operations: tally.operations.get(),
            wrong: tally.wrong.get(),
            cpu_seconds: Duration::from_nanos(tally.cpu.get()).as_secs_f64(),
            read: tally.read.get(),
            written: tally.written.get(),
            unasked: tally.unasked.get(),
            spills: tally.spills.get(),
            waits: tally.waits.get(),
            victims: tally.victims.get(),
            memory_peak: checks.peak_of(&tenant.name),
        }
    }
}

impl Rebinds {
    fn of(checks: &Checks) -> Option<Self> {
        let mut took = checks.rebinds();
        took.sort_unstable();
        let micros = |time: &Duration| time.as_secs_f64() * 1e6;
        let [with, without] = [Kind::Rebind, Kind::Quiet].map(|kind| checks.windows.summary(kind));
        Some(Self {
            count: took.len(),
            median_us: took.get(took.len() / 2).map(micros)?,
            max_us: took.last().map(micros)?,
            with: Lookups::of(&with),
            without: Lookups::of(&without),
            verdict: match compare(&with, &without) {
                Comparison::TooFew => "too few windows to compare".to_owned(),
                Comparison::NoDifference => "no difference".to_owned(),
                Comparison::Times(ratio) => format!("{ratio:.2} times as long with a rebind"),
            },
        })
    }
}

impl Lookups {
    fn of(summary: &Summary) -> Self {
        let Summary { windows, timed, p50, p99, .. } = *summary;
        Self { windows, timed, p50, p99 }
    }
}

impl Series {
    fn of(world: &World, samples: &[Sample]) -> Self {
        let tenants = world.tenants.iter().enumerate();
        let tenants = tenants.map(|(index, tenant)| TenantSeries::of(tenant, index, samples));
        let at = samples.iter().skip(1).map(|sample| sample.at.as_secs_f64()).collect();
        Self { at, tenants: tenants.collect() }
    }
}

impl TenantSeries {
    fn of(tenant: &Tenant, index: usize, samples: &[Sample]) -> Self {
        let pairs = || samples.iter().zip(samples.iter().skip(1));
        let each = |figure: &dyn Fn(&Sample, &Sample) -> f64| -> Vec<f64> {
            let rate = |(one, two): (&Sample, &Sample)| {
                figure(one, two) / (two.at - one.at).as_secs_f64().max(1e-6)
            };
            pairs().map(rate).collect()
        };
        let mib = |bytes: u64| bytes as f64 / MIB;
        let latency = |one: &Sample, two: &Sample| {
            score::mean_latency(&tenant.record.windows(one.at, two.at + super::record::WINDOW))
                .map(|mean| mean.as_secs_f64() * 1e3)
        };
        Self {
            name: tenant.name.clone(),
            cpu: each(&|one, two| (two.tenants[index].cpu - one.tenants[index].cpu).as_secs_f64()),
            io: each(&|one, two| mib(two.tenants[index].bytes - one.tenants[index].bytes)),
            memory: pairs().map(|(_, two)| two.tenants[index].memory.map(mib)).collect(),
            memory_max: pairs().map(|(_, two)| two.tenants[index].max.map(mib)).collect(),
            latency: matches!(tenant.work, Work::Requests(_))
                .then(|| pairs().map(|(one, two)| latency(one, two)).collect()),
        }
    }
}
