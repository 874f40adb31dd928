//! W8 and W13: a light reader beside bulk readers on a real disk.

use std::time::Duration;

use anyhow::Result;

use super::{Aim, Case, Context, Entrant, Gate, Outcome, Relative};
use crate::{
    cpu::figures::Figure,
    io::disk::{
        Capped, Permits, Raw, Shared, Sharing, Throttled,
        load::{BULK, Found, Load, Way},
        target::Target,
    },
};

const READERS: usize = 16;
const WARM_UP: Duration = Duration::from_millis(500);
const SPAN: Duration = Duration::from_secs(4);
/// What most of the disk can do, for those who have to be told.
const KNOWN_PERCENT: u64 = 80;
const PIECE: usize = 128 << 10;

pub(super) fn cases() -> Vec<Case> {
    let relative = |of, name| Relative { of, name, unit: "%" };
    let ratios = vec![
        relative("light p99", "p99 of raw"),
        relative("bulk", "bulk of raw"),
        relative("bulk alone", "bulk alone of raw"),
    ];
    let name = format!("a 4 KiB reader every 2 ms beside {READERS} bulk readers of 1 MiB");
    let w8 = Case {
        row: "W8",
        name: name.clone(),
        gate: Gate::Given,
        aims: vec![
            ("light p50", Aim::AtMost(0.9)),
            ("light p99", Aim::AtMost(2.5)),
            ("p99 of raw", Aim::AtMost(2.0)),
            ("bulk of raw", Aim::AtLeast(80.0)),
            ("bulk alone of raw", Aim::AtLeast(98.0)),
        ],
        relative: ratios.clone(),
        entrants: entrants(),
    };
    let target = Duration::from_millis(2);
    let w13 = Case {
        row: "W13",
        name: format!("{name}, latency target 2 ms"),
        gate: Gate::Given,
        aims: vec![("light p90", Aim::AtMost(2.5)), ("bulk of raw", Aim::AtLeast(60.0))],
        relative: ratios,
        entrants: vec![raw(), fief("fief", None, Some(target))],
    };
    vec![w8, w13]
}

fn entrants() -> Vec<Entrant> {
    vec![
        raw(),
        fief("fief, depth 2", Some(2), None),
        fief("fief, depth 4", Some(4), None),
        fief("fief, depth 8", Some(8), None),
        permits("tokio's semaphore of 4, 1 MiB", BULK),
        permits("tokio's semaphore of 4, 128 KiB", PIECE),
        known("async-speed-limit, 80 % of raw, 128 KiB", |_, rate| Ok(Capped::new(rate, PIECE))),
        glommio(),
        known("kernel's blkio, 80 % of raw", Throttled::new),
    ]
}

fn load(context: &Context) -> Load {
    Load {
        readers: READERS,
        bytes: BULK,
        is_light: true,
        warm_up: context.span(WARM_UP),
        span: context.span(SPAN),
        seed: context.seed,
    }
}

/// Runs it with the light one, and then without.
fn run(context: &Context, target: &Target, way: &dyn Way) -> Result<Vec<Figure>> {
    both(|is_light| Load { is_light, ..load(context) }.run(target, way))
}

fn both(mut run: impl FnMut(bool) -> Result<Found>) -> Result<Vec<Figure>> {
    let mut figures = run(true)?.figures();
    figures.push(Figure::new("bulk alone", "MB/s", run(false)?.bulk as f64 / 1e6));
    Ok(figures)
}

fn raw() -> Entrant {
    Entrant::on_disk("raw", |context, target| run(context, target, &Raw).map(Outcome::Figures))
}

fn fief(name: &'static str, depth: Option<u32>, latency: Option<Duration>) -> Entrant {
    let sharing = Sharing { depth, latency, quantum: PIECE, weights: &[100], rate: None };
    Entrant::on_disk(name, move |context, target| {
        let shared = Shared::new(target, &sharing, READERS)?;
        run(context, target, &shared).map(Outcome::Figures)
    })
}

fn permits(name: &'static str, piece: usize) -> Entrant {
    Entrant::on_disk(name, move |context, target| {
        run(context, target, &Permits::new(4, piece)?).map(Outcome::Figures)
    })
}

/// Returns one that has to be told what the disk can do.
fn known<W: Way>(
    name: &'static str,
    make: impl Fn(&Target, u64) -> Result<W, String> + 'static,
) -> Entrant {
    Entrant::on_disk(name, move |context, target| {
        let rate = target.rate(&load(context));
        match rate.and_then(|rate| make(target, rate * KNOWN_PERCENT / 100)) {
            Err(why) => Ok(Outcome::Skipped(why)),
            Ok(way) => run(context, target, &way).map(Outcome::Figures),
        }
    })
}

#[cfg(feature = "glommio")]
fn glommio() -> Entrant {
    use crate::io::disk::glommio;

    Entrant::on_disk("glommio", |context, target| {
        let mut why = None;
        let figures = both(|is_light| {
            let load = Load { is_light, ..load(context) };
            glommio::run(target, &load)?.map_err(|error| {
                why = Some(error.clone());
                anyhow::Error::msg(error)
            })
        });
        match why {
            Some(why) => Ok(Outcome::Skipped(why)),
            None => figures.map(Outcome::Figures),
        }
    })
}

#[cfg(not(feature = "glommio"))]
fn glommio() -> Entrant {
    Entrant::maybe("glommio", |_| Ok(Outcome::Skipped("built without it".to_owned())))
}
