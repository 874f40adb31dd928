//! What is shown while a scenario runs: live lines on a terminal, else plain ones.

use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};

use fief_core::PressureStats;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{
    config::{Act, Scenario},
    outcome::MIB,
    sampler::Sample,
    tenant::Tenant,
    world::World,
};
use crate::output::Output;

/// The lines.
#[derive(Debug)]
pub(crate) struct Show {
    live: Option<Live>,
    acts: usize,
    /// How much shorter acts are.
    hurry: f64,
    looks: u64,
}

/// Those of a terminal, which are drawn over and over.
#[derive(Debug)]
struct Live {
    lines: MultiProgress,
    act: ProgressBar,
    /// Shown as long as it is there.
    _header: ProgressBar,
    tenants: Vec<ProgressBar>,
}

/// What the columns are that cannot say it themselves.
const LEGEND: &str = "p50/p99: of requests in this act. Stalled: how much of the last ten seconds\n\
                      somebody waited for CPU / disk / memory; - is where it is not controlled.";

/// Looks between two plain lines.
const PLAIN: u64 = 20;

/// Looks over which rates are taken.
const OVER: usize = 10;

impl Show {
    pub(crate) fn begin(
        scenario: &Scenario,
        (plain, hurry): (bool, f64),
        output: &mut Output,
    ) -> Self {
        let is_live = !plain && io::stdout().is_terminal();
        let live = is_live.then(|| Live::new(scenario));
        if live.is_none() {
            output.line(format_args!("{LEGEND}\n\n{:>7}  {}", "time", header()));
        }
        Self { live, acts: scenario.acts.len(), hurry, looks: 0 }
    }

    /// An act begins.
    pub(crate) fn act(&mut self, number: usize, act: &Act, output: &mut Output) {
        let title = format!("Act {} of {}: {}", number + 1, self.acts, act.title);
        match &self.live {
            Some(live) => {
                let millis = act.lasts.get_ref().div_f64(self.hurry).as_millis();
                live.act.set_length(u64::try_from(millis).unwrap_or(u64::MAX));
                live.act.reset();
                live.act.set_message(title.clone());
                output.note(live.lines.println(format!("\n{title}\n  {}", act.claim)));
            }
            None => output.line(format_args!("\n{title}\n  {}", act.claim)),
        }
    }

    /// Something was done.
    pub(crate) fn tell(&self, at: Duration, what: &str, output: &mut Output) {
        let line = format!("{:6.1}s  * {what}", at.as_secs_f64());
        match &self.live {
            Some(live) => output.note(live.lines.println(line)),
            None => output.line(line),
        }
    }

    /// Everybody was looked at.
    pub(crate) fn look(&mut self, world: &World, samples: &[Sample], output: &mut Output) {
        self.looks += 1;
        let is_due = self.live.is_some() || self.looks.is_multiple_of(PLAIN);
        let (Some(last), true) = (samples.last(), is_due) else { return };
        let first = samples.get(samples.len().saturating_sub(OVER + 1)).unwrap_or(last);
        let lines = world.tenants.iter().enumerate();
        let lines = lines.map(|(index, tenant)| line(world, tenant, (index, first, last)));
        match &self.live {
            Some(live) => {
                live.act.inc(100);
                live.tenants.iter().zip(lines).for_each(|(bar, line)| bar.set_message(line));
            }
            None => {
                for (number, line) in lines.enumerate() {
                    let time = match number {
                        0 => format!("{:6.1}s", last.at.as_secs_f64()),
                        _ => String::new(),
                    };
                    output.line(format_args!("{time:>7}  {line}"));
                }
            }
        }
    }

    /// Takes the live lines off the screen.
    pub(crate) fn end(&self) {
        if let Some(live) = &self.live {
            // The report says the same, and finds out what is wrong with the terminal.
            live.lines.clear().ok();
        }
    }
}

impl Live {
    fn new(scenario: &Scenario) -> Self {
        let lines = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let style = |template| {
            ProgressStyle::with_template(template).expect("the template is a constant that parses")
        };
        let act = lines.add(ProgressBar::new(1).with_style(style("[{bar:24}] {msg}")));
        let line = || lines.add(ProgressBar::new(0).with_style(style("{msg}")));
        let head = line();
        head.set_message(header());
        let tenants = scenario.tenants.iter().map(|_| line()).collect();
        Self { lines, act, _header: head, tenants }
    }
}

fn header() -> String {
    format!(
        "{:10} {:>13} {:>11} {:>4} {:>5} {:>11} {:>11}",
        "tenant", "a second", "p50/p99 ms", "CPUs", "MB/s", "memory MiB", "stalled %"
    )
}

/// How a tenant does, between two looks.
fn line(world: &World, tenant: &Tenant, (index, first, last): (usize, &Sample, &Sample)) -> String {
    let time = (last.at - first.at).as_secs_f64().max(1e-3);
    let (from, to) = (first.tenants[index], last.tenants[index]);
    let operations = (to.operations - from.operations) as f64 / time;
    let latency = tenant.record.latest().map(|both| both.map(short).join("/"));
    let latency = latency.unwrap_or_default();
    let memory = match (to.memory, to.max) {
        (None, _) => String::new(),
        (Some(now), None) => format!("{:.1}", now as f64 / MIB),
        (Some(now), Some(max)) => format!("{:.1}/{:.1}", now as f64 / MIB, max as f64 / MIB),
    };
    let stalled = stalled(world, tenant).map_or(String::new(), |all| all.join("/"));
    format!(
        "{:10} {:>13} {latency:>11} {:>4.2} {:>5.0} {memory:>11} {stalled:>11}",
        tenant.name,
        format!("{operations:.0} {}", tenant.unit()),
        (to.cpu.saturating_sub(from.cpu)).as_secs_f64() / time,
        (to.bytes - from.bytes) as f64 / time / 1e6,
    )
}

/// A time in milliseconds, with as many digits as matter.
fn short(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    match millis {
        ..10.0 => format!("{millis:.2}"),
        ..100.0 => format!("{millis:.1}"),
        _ => format!("{millis:.0}"),
    }
}

/// How much of the last ten seconds somebody waited for cpu, io and memory; `None` while all go uncontrolled.
fn stalled(world: &World, tenant: &Tenant) -> Option<[String; 3]> {
    let place = |controller| world.group_of(tenant, controller);
    let cpu = place("cpu").and_then(|group| world.cpu.css(&group)).map(|css| css.pressure());
    let io = place("io").and_then(|group| world.io.css(&group)).map(|css| css.pressure());
    let memory = place("memory").and_then(|group| world.memory.css(&group));
    let all = [cpu, io, memory.map(|css| css.pressure())];
    let of = |pressure: PressureStats| format!("{:.0}", f64::from(pressure.some.avg10));
    let is_any = all.iter().any(Option::is_some);
    is_any.then(|| all.map(|pressure| pressure.map_or("-".to_owned(), of)))
}
