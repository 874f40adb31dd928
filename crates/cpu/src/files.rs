//! The control files: `cpu.weight` and the like, in the formats of Linux cgroup v2; `docs/control-files.md` lists them.
//!
//! The root has `max` and `max.burst`, which the kernel's root has not: there it is the machine, here it is the budget of
//! the process. It competes with nobody, so it has no weight, class and latency.

use std::time::Duration;

use fief_core::{
    ControlFile, HookError,
    file::{InputError, parse, render},
};

use crate::{
    css::CpuCss,
    stat::CpuStats,
    tree::{Bandwidth, BandwidthError, LATENCY_MAX},
};

/// Every file.
pub(crate) const FILES: &[ControlFile] = &[
    ControlFile::read_write("weight").not_on_root(),
    ControlFile::read_write("idle").not_on_root(),
    ControlFile::read_write("latency").not_on_root(),
    ControlFile::read_write("max"),
    ControlFile::read_write("max.burst"),
    ControlFile::read_only("stat"),
    ControlFile::read_only("stat.local"),
    ControlFile::read_only("pressure"),
];

pub(crate) fn read(css: &CpuCss, file: &str) -> Result<String, HookError> {
    Ok(match file {
        "weight" if css.idle() => render::value(0),
        "weight" => render::value(css.weight()),
        "idle" => render::flag(css.idle()),
        "latency" => render::value(css.latency().as_micros()),
        "max" => render::value(css.max()),
        "max.burst" => render::value(css.burst().as_micros()),
        "stat" => stat(&css.stats()),
        "stat.local" => stat_local(&css.stats()),
        "pressure" => render::value(css.pressure()),
        _ => return Err(format!("{file} cannot be read").into()),
    })
}

pub(crate) fn write(css: &CpuCss, file: &str, input: &str) -> Result<(), HookError> {
    match file {
        "weight" => css.set_weight(parse::weight(input)?)?,
        "idle" => css.set_idle(parse::flag(input)?)?,
        "latency" => {
            let micros = parse::number_in(input, 0..=LATENCY_MAX / 1_000)?;
            css.set_latency(Duration::from_micros(micros))?;
        }
        "max" => {
            let (quota, period) = max(input)?;
            // Only the burst can be in the way.
            css.change_max(|max| match period {
                Some(period) => max.with_period(period)?.with_quota(quota),
                None => max.with_quota(quota),
            })?;
        }
        "max.burst" => {
            let burst = parse::microseconds(input)?;
            css.change_max(|max| max.with_burst(burst))?;
        }
        _ => return Err(format!("{file} cannot be written").into()),
    }
    Ok(())
}

/// Parses `max` or a quota, and perhaps a period; each makes sense by itself.
fn max(input: &str) -> Result<(Option<Duration>, Option<Duration>), InputError> {
    let malformed = || {
        let rule =
            "max or a quota from 1000, and perhaps a period from 1000 to 1000000, in microseconds";
        InputError::new(input, rule)
    };
    let words = parse::words(input).map_err(|_| malformed())?;
    let (quota, period) = match words[..] {
        [quota] => (quota, None),
        [quota, period] => (quota, Some(period)),
        _ => return Err(malformed()),
    };
    let micros = |word| parse::microseconds(word).map_err(|_| malformed());
    let quota = (quota != "max").then(|| micros(quota)).transpose()?;
    let period = period.map(micros).transpose()?;
    let check = |max: Bandwidth| -> Result<(), BandwidthError> {
        let max = period.map_or(Ok(max), |period| max.with_period(period))?;
        max.with_quota(quota).map(drop)
    };
    check(Bandwidth::MAX).map_err(|_| malformed())?;
    Ok((quota, period))
}

fn stat(stats: &CpuStats) -> String {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    render::flat([
        ("usage_usec", micros(stats.usage)),
        ("nr_periods", stats.nr_periods),
        ("nr_throttled", stats.nr_throttled),
        ("throttled_usec", micros(stats.throttled)),
        ("nr_bursts", stats.nr_bursts),
        ("burst_usec", micros(stats.burst)),
        ("wait_usec", micros(stats.wait)),
        ("slices", stats.slices),
        ("overruns", stats.overruns),
        ("nr_rescues", stats.nr_rescues),
        ("nr_long_polls", stats.nr_long_polls),
    ])
}

fn stat_local(stats: &CpuStats) -> String {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    render::flat([
        ("throttled_usec", micros(stats.throttled)),
        ("usage_usec", micros(stats.own_usage)),
        ("wait_usec", micros(stats.own_wait)),
        ("nr_rescues", stats.own_nr_rescues),
        ("nr_long_polls", stats.own_nr_long_polls),
    ])
}
