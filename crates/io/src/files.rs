//! The control files: `io.max` and the like, in the formats of Linux cgroup v2; `docs/control-files.md` lists them.
//!
//! A line is of a device, by its name; they are in the order of names. A write is of one device, and parsed as a whole
//! before anything is done. The root has `max` and `latency`, which the kernel's root has not: there it is the machine,
//! here it is the budget of the process. It competes with nobody, so it has no weight and no reservation.

use std::time::Duration;

use fief_core::{
    ControlFile, Css, HookError, Limit,
    file::{InputError, parse, render},
};

use crate::{
    css::IoCss,
    device::DeviceInner,
    error::UnknownDeviceError,
    limits::LATENCY_MAX,
    node::Node,
    stat::{IoStats, ProcessStats},
    sync::Arc,
    tree::{Dimension, Limits, Min, RATE_MAX, WEIGHT_MAX, WEIGHT_MIN},
};

/// Every file.
pub(crate) const FILES: &[ControlFile] = &[
    ControlFile::read_write("max"),
    ControlFile::read_write("weight").not_on_root(),
    ControlFile::read_write("min").not_on_root(),
    ControlFile::read_write("latency"),
    ControlFile::read_only("stat"),
    ControlFile::read_only("stat.local"),
    ControlFile::read_only("pressure"),
];

pub(crate) fn read(css: &Css<IoCss>, file: &str) -> Result<String, HookError> {
    Ok(match file {
        "max" => of_devices(css, max_line),
        "weight" => {
            render::flat([("default", css.default_weight())]) + &of_devices(css, weight_line)
        }
        "min" => of_devices(css, min_line),
        "latency" => of_devices(css, latency_line),
        "stat" => {
            let stat = of_devices(css, |css, device| {
                Some(stat_line(device, css.figures(device, Node::total)?))
            });
            stat + &process_line(css)
        }
        "stat.local" => of_devices(css, |css, device| {
            let stats = css.figures(device, |node| node.own())?;
            Some(stat_line(device, stats.without_limits()))
        }),
        "pressure" => render::value(css.pressure()),
        _ => return Err(format!("{file} cannot be read").into()),
    })
}

pub(crate) fn write(css: &Css<IoCss>, file: &str, input: &str) -> Result<(), HookError> {
    match file {
        "max" => {
            let (name, change) = max(input)?;
            css.change_limits(&device(css, name)?, |limits| change.of(limits))?;
        }
        "weight" => write_weight(css, input)?,
        "min" => {
            let (name, [bps, iops]) = min(input)?;
            let change =
                |min: Min| Min { bps: bps.unwrap_or(min.bps), iops: iops.unwrap_or(min.iops) };
            css.change_min(&device(css, name)?, change)?;
        }
        "latency" => {
            let (name, target) = latency(input)?;
            css.change_latency(&device(css, name)?, target)?;
        }
        _ => return Err(format!("{file} cannot be written").into()),
    }
    Ok(())
}

/// Returns what is to be said of each device, in the order of their names.
fn of_devices(
    css: &Css<IoCss>,
    line: impl Fn(&Css<IoCss>, &Arc<DeviceInner>) -> Option<String>,
) -> String {
    css.shared.all_devices().iter().filter_map(|device| line(css, device)).collect()
}

/// Finds a device by its name.
fn device(css: &Css<IoCss>, name: &str) -> Result<Arc<DeviceInner>, UnknownDeviceError> {
    css.shared.device(name).ok_or_else(|| {
        let devices = css.shared.all_devices();
        let devices = devices.iter().map(|device| device.name.clone()).collect();
        UnknownDeviceError { device: InputError::new(name, "").quoted().to_owned(), devices }
    })
}

/// What is to become of limits: a rate or burst of each dimension, where it is named.
#[derive(Clone, Copy, Default)]
struct Change {
    is_reset: bool,
    rates: [Option<Limit>; 6],
    bursts: [Option<Option<u64>>; 6],
}

impl Change {
    fn of(self, limits: Limits) -> Limits {
        let limits = if self.is_reset { Limits::MAX } else { limits };
        Dimension::ALL.into_iter().fold(limits, |limits, dimension| {
            let (rate, burst) = (self.rates[dimension as usize], self.bursts[dimension as usize]);
            let limits = rate.map_or(limits, |rate| limits.with(dimension, rate));
            let limits = burst.map_or(limits, |burst| limits.with_burst(dimension, burst));
            // What is not limited has no burst.
            let is_max = limits.rate(dimension) == Limit::Max;
            if is_max { limits.with_burst(dimension, None) } else { limits }
        })
    }
}

/// Parses `DEV max`, or `DEV` with any of the rates and bursts.
fn max(input: &str) -> Result<(&str, Change), InputError> {
    let malformed = || {
        let rule = format!(
            "a device and max, or a device and any of rbps= wbps= riops= wiops= bps= iops=, each a \
             rate from 1 to {RATE_MAX} or max, and their _burst=, each from 1 or default"
        );
        InputError::new(input, rule)
    };
    if let Ok([name, "max"]) = parse::words(input).as_deref() {
        return Ok((name, Change { is_reset: true, ..Change::default() }));
    }
    let line = parse::nested(input).map_err(|_| malformed())?;
    let mut change = Change::default();
    for (key, value) in line.pairs {
        let name = key.strip_suffix("_burst");
        let dimension =
            Dimension::ALL.into_iter().find(|dimension| dimension.name() == name.unwrap_or(key));
        let dimension = dimension.ok_or_else(malformed)?;
        if name.is_some() {
            let burst = if value == "default" {
                None
            } else {
                Some(amount(dimension, value).ok_or_else(malformed)?)
            };
            change.bursts[dimension as usize] = Some(burst);
        } else {
            let rate = if value == "max" {
                Limit::Max
            } else {
                Limit::At(amount(dimension, value).ok_or_else(malformed)?)
            };
            change.rates[dimension as usize] = Some(rate);
        }
    }
    Ok((line.name, change))
}

/// Parses a number of operations, or bytes as a size; 1 to 2^63 − 1.
fn amount(dimension: Dimension, value: &str) -> Option<u64> {
    let parsed = if dimension.is_bytes() { parse::size(value) } else { parse::number(value) };
    parsed.ok().filter(|amount| (1..=RATE_MAX).contains(amount))
}

fn max_line(css: &Css<IoCss>, device: &Arc<DeviceInner>) -> Option<String> {
    let node = css.existing(device).flatten()?;
    let limits = device.sched.look(|tree, _| tree.limits(node.id)).ok()?;
    (!limits.is_max()).then(|| format!("{} {}\n", device.name, shown_limits(limits)))
}

/// Returns limits as they stand in a line: all rates, and the bursts that were set.
pub(crate) fn shown_limits(limits: Limits) -> String {
    let rate = |dimension: Dimension| format!("{}={}", dimension.name(), limits.rate(dimension));
    let burst = |dimension: Dimension| {
        let burst = limits.burst(dimension)?;
        Some(format!("{}_burst={burst}", dimension.name()))
    };
    let rates = Dimension::ALL.into_iter().map(rate);
    rates.chain(Dimension::ALL.into_iter().filter_map(burst)).collect::<Vec<_>>().join(" ")
}

fn weight_line(css: &Css<IoCss>, device: &Arc<DeviceInner>) -> Option<String> {
    css.own_weight(device).map(|weight| render::flat([(&device.name, weight)]))
}

/// Takes `W`, `default W`, `DEV W` or `DEV default`.
fn write_weight(css: &Css<IoCss>, input: &str) -> Result<(), HookError> {
    let malformed = || {
        let rule = format!(
            "a weight from {WEIGHT_MIN} to {WEIGHT_MAX}, perhaps behind default or a device, or a \
             device and default"
        );
        InputError::new(input, rule)
    };
    let weight = |word: &str| {
        let weight = parse::number_in(word, WEIGHT_MIN.into()..=WEIGHT_MAX.into());
        weight.ok().and_then(|weight| u32::try_from(weight).ok()).ok_or_else(malformed)
    };
    match parse::words(input).map_err(|_| malformed())?[..] {
        [word] | ["default", word] => css.set_default_weight(weight(word)?)?,
        [name, "default"] => css.change_weight(&device(css, name)?, None)?,
        [name, word] => {
            let weight = weight(word)?;
            css.change_weight(&device(css, name)?, Some(weight))?;
        }
        _ => return Err(malformed().into()),
    }
    Ok(())
}

/// Parses `DEV` with `bps=`, `iops=` or both.
fn min(input: &str) -> Result<(&str, [Option<u64>; 2]), InputError> {
    let malformed = || {
        let rule = format!("a device and bps= or iops= or both, each from 0 to {RATE_MAX}");
        InputError::new(input, rule)
    };
    let line = parse::nested(input).map_err(|_| malformed())?;
    let mut rates = [None; 2];
    for (key, value) in line.pairs {
        let (at, rate) = match key {
            "bps" => (0, parse::size(value)),
            "iops" => (1, parse::number(value)),
            _ => return Err(malformed()),
        };
        let rate = rate.ok().filter(|rate| *rate <= RATE_MAX);
        rates[at] = Some(rate.ok_or_else(malformed)?);
    }
    Ok((line.name, rates))
}

fn min_line(css: &Css<IoCss>, device: &Arc<DeviceInner>) -> Option<String> {
    let node = css.existing(device).flatten()?;
    let min = device.sched.look(|tree, _| tree.min(node.id)).ok()?;
    let Min { bps, iops } = min;
    (min != Min::NONE).then(|| render::nested(&device.name, [("bps", bps), ("iops", iops)]))
}

/// Parses `DEV target=` with microseconds or `max`.
fn latency(input: &str) -> Result<(&str, Option<Duration>), InputError> {
    let most = u64::try_from(LATENCY_MAX.as_micros()).unwrap_or(u64::MAX);
    let malformed = || {
        let rule = format!("a device and target= with 1 to {most} microseconds, or max");
        InputError::new(input, rule)
    };
    let line = parse::nested(input).map_err(|_| malformed())?;
    let [("target", value)] = line.pairs[..] else { return Err(malformed()) };
    if value == "max" {
        return Ok((line.name, None));
    }
    let micros = parse::number_in(value, 1..=most).map_err(|_| malformed())?;
    Ok((line.name, Some(Duration::from_micros(micros))))
}

fn latency_line(css: &Css<IoCss>, device: &Arc<DeviceInner>) -> Option<String> {
    let target = css.latency_on(device)?.as_micros();
    Some(render::nested(&device.name, [("target", target)]))
}

fn stat_line(device: &DeviceInner, stats: IoStats) -> String {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let pairs = [
        ("rbytes", stats.rbytes),
        ("wbytes", stats.wbytes),
        ("rios", stats.rios),
        ("wios", stats.wios),
        ("dbytes", stats.dbytes),
        ("dios", stats.dios),
        ("wait_usec", micros(stats.wait)),
        ("queue_usec", micros(stats.queue)),
        ("nr_throttled", stats.nr_throttled),
        ("nr_urgent", stats.nr_urgent),
        ("waiting", stats.waiting),
        ("inflight", stats.inflight),
        ("cost_usec", micros(stats.cost)),
        ("debt_usec", micros(stats.debt)),
    ];
    render::nested(&device.name, pairs)
}

/// Returns what the kernel says of the process, on a root.
fn process_line(css: &Css<IoCss>) -> String {
    let stats = if css.parent().is_none() { ProcessStats::read() } else { None };
    let line = |stats: ProcessStats| {
        let ProcessStats { device_rbytes, device_wbytes } = stats;
        let pairs = [("device_rbytes", device_rbytes), ("device_wbytes", device_wbytes)];
        render::nested("process", pairs)
    };
    stats.map(line).unwrap_or_default()
}
