//! W15: how exactly a rate is kept by readers of a real disk, beside the kernel's own controller.

use std::time::Duration;

use anyhow::Result;

use super::{Aim, Case, Context, Entrant, Gate, Outcome, Relative};
use crate::{
    cpu::figures::Figure,
    io::{
        disk::{
            Shared, Sharing, Throttled,
            load::{Load, Way},
            target::Target,
        },
        windows::{percent, worst},
    },
};

const READERS: usize = 8;
const BYTES: usize = 64 << 10;
const WARM_UP: Duration = Duration::from_secs(1);
const SPAN: Duration = Duration::from_secs(5);

pub(super) fn cases() -> Vec<Case> {
    [10_500_000, 105_000_000].map(case).into()
}

fn case(rate: u64) -> Case {
    let sd = "100 ms, deviation";
    let sharing =
        Sharing { quantum: BYTES, weights: &[100], rate: Some(rate), ..Sharing::default() };
    Case {
        row: "W15",
        name: format!("{} MB/s for 8 readers of 64 KiB on a disk", rate as f64 / 1e6),
        gate: Gate::Given,
        aims: vec![("worst 1 s", Aim::Within(0.5)), ("deviation of kernel's", Aim::AtMost(100.0))],
        relative: vec![Relative { of: sd, name: "deviation of kernel's", unit: "%" }],
        entrants: vec![
            Entrant::on_disk("kernel's blkio", move |context, target| {
                match Throttled::new(target, rate) {
                    Err(why) => Ok(Outcome::Skipped(why)),
                    Ok(way) => run(context, target, &way, rate).map(Outcome::Figures),
                }
            }),
            Entrant::on_disk("fief", move |context, target| {
                let shared = Shared::new(target, &sharing, READERS)?;
                run(context, target, &shared, rate).map(Outcome::Figures)
            }),
        ],
    }
}

fn run(context: &Context, target: &Target, way: &dyn Way, rate: u64) -> Result<Vec<Figure>> {
    let load = Load {
        readers: READERS,
        bytes: BYTES,
        is_light: false,
        warm_up: context.span(WARM_UP),
        span: context.span(SPAN),
        seed: context.seed,
    };
    let found = load.run(target, way)?;
    let slots = found.windows[0].windows(1).len();
    let errors = |slots: usize| {
        let each = found.windows.iter().map(|windows| windows.windows(slots));
        let sums = each.reduce(|mut sum, windows| {
            sum.iter_mut().zip(windows).for_each(|(sum, bytes)| *sum += bytes);
            sum
        });
        let expected = rate as f64 * slots as f64 / 100.0;
        let errors = sums.unwrap_or_default().into_iter();
        errors.map(move |bytes| percent(bytes as f64, expected)).collect::<Vec<_>>()
    };
    Ok(vec![
        Figure::new("mean error", "%", worst(errors(slots).into_iter())),
        Figure::new("worst 1 s", "%", worst(errors(slots.min(100)).into_iter())),
        Figure::new("worst 100 ms", "%", worst(errors(10).into_iter())),
        Figure::new("100 ms, deviation", "%", deviation(&errors(10))),
    ])
}

fn deviation(values: &[f64]) -> f64 {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deviation_is_from_the_mean() {
        assert_eq!(deviation(&[3.0, 7.0, 3.0, 7.0]), 2.0);
        assert_eq!(deviation(&[]), 0.0);
    }
}
