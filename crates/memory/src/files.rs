//! The control files: `memory.max` and the like, in the formats of Linux cgroup v2. The crate's page lists them.
//!
//! The root has `current`, `peak`, `max`, `high` and `events`, which the kernel's root has not: there it is the
//! machine, here it is the budget of the process, and what it refuses has to be counted somewhere. A
//! protection of the root's would keep nothing from anybody, and a process is not a victim as a whole.
//!
//! A size is taken as it is, to the byte, or refused; above 2^63 − 2 there is only `max`.

use fief_core::{
    ControlFile, HookError, Limit,
    file::{InputError, parse, render},
};

use crate::{
    css::MemoryCss,
    events::{Events, KINDS, NAMES},
    limits::MOST_LIMIT,
    stat::MemoryStats,
};

/// Every file.
pub(crate) const FILES: &[ControlFile] = &[
    ControlFile::read_only("current"),
    ControlFile::read_only("peak"),
    ControlFile::read_write("max"),
    ControlFile::read_write("high"),
    ControlFile::read_write("low").not_on_root(),
    ControlFile::read_write("min").not_on_root(),
    ControlFile::read_write("oom.group").not_on_root(),
    ControlFile::read_only("events"),
    ControlFile::read_only("events.local"),
    ControlFile::read_only("stat"),
    ControlFile::read_only("pressure"),
    ControlFile::write_only("reclaim"),
];

pub(crate) fn read(css: &MemoryCss, file: &str) -> Result<String, HookError> {
    Ok(match file {
        "current" => render::value(css.current()),
        "peak" => render::value(css.peak()),
        "max" => render::value(css.max()),
        "high" => render::value(css.high()),
        "low" => render::value(css.low()),
        "min" => render::value(css.min()),
        "oom.group" => render::flag(css.oom_group()),
        "events" => events(Events::total(&css.node)),
        "events.local" => events(Events::own(&css.node)),
        "stat" => stat(&css.stats()),
        "pressure" => render::value(css.pressure()),
        _ => return Err(format!("{file} cannot be read").into()),
    })
}

pub(crate) fn write(css: &MemoryCss, file: &str, input: &str) -> Result<(), HookError> {
    match file {
        "max" => drop(css.set_max(size(input)?)),
        "high" => drop(css.set_high(size(input)?)),
        "low" => css.set_low(size(input)?),
        "min" => css.set_min(size(input)?),
        "oom.group" => css.set_oom_group(parse::flag(input)?),
        "reclaim" => drop(css.reclaim(parse::size(input)?)?),
        _ => return Err(format!("{file} cannot be written").into()),
    }
    Ok(())
}

fn size(input: &str) -> Result<Limit, InputError> {
    match parse::size_limit(input) {
        Ok(limit) if !matches!(limit, Limit::At(bytes) if bytes > MOST_LIMIT) => Ok(limit),
        _ => Err(InputError::new(input, "a size (bytes up to 2^63 - 2; K M G T P E) or max")),
    }
}

fn events(counts: [u64; KINDS]) -> String {
    render::flat(NAMES.into_iter().zip(counts))
}

fn stat(stats: &MemoryStats) -> String {
    render::flat([
        ("current", stats.current),
        ("own", stats.own),
        ("ahead", stats.ahead),
        ("pockets", stats.pockets),
        ("waiting", stats.waiting),
        ("effective_low", stats.effective_low),
        ("effective_min", stats.effective_min),
        ("accounting_bugs", stats.accounting_bugs),
    ])
}
