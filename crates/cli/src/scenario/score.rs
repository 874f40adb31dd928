//! The figures of an act: how well requests were served, and what the others got meanwhile.
//!
//! The metrics are those of `resctl-bench`: *isol%* is the part of a window's requests that were answered within the
//! objective, *lat-imp%* how much longer they took than at the baseline, and *work-csv* how much of what was left of the
//! machine the others had.

use std::time::Duration;

use serde::Serialize;

use super::{record::Window, sampler::Sample};

/// How windows are spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) p01: f64,
    pub(crate) median: f64,
    pub(crate) mean: f64,
    pub(crate) p99: f64,
    /// How many there were.
    pub(crate) windows: usize,
}

impl Spread {
    /// Of figures, one a window; `None` of none.
    pub(crate) fn of(mut figures: Vec<f64>) -> Option<Self> {
        figures.sort_unstable_by(f64::total_cmp);
        let count = figures.len();
        let at = |hundredth: usize| figures.get((count * hundredth / 100).min(count - 1)).copied();
        if count == 0 {
            return None;
        }
        Some(Self {
            p01: at(1)?,
            median: at(50)?,
            mean: figures.iter().sum::<f64>() / count as f64,
            p99: at(99)?,
            windows: count,
        })
    }
}

/// Requests that were answered within the objective, in percent of those that were due.
pub(crate) fn isolation(windows: &[Window]) -> Option<Spread> {
    let busy = windows.iter().filter(|window| window.offered > 0);
    let isolation = busy.map(|window| f64::from(window.good) * 100.0 / f64::from(window.offered));
    Spread::of(isolation.collect())
}

/// What requests took on average.
pub(crate) fn mean_latency(windows: &[Window]) -> Option<Duration> {
    let answered: u64 = windows.iter().map(|window| u64::from(window.answered)).sum();
    let micros: u64 = windows.iter().map(|window| window.micros).sum();
    micros.checked_div(answered).map(Duration::from_micros)
}

/// How much longer requests took than `baseline`, in percent.
pub(crate) fn impact(windows: &[Window], baseline: Duration) -> Option<Spread> {
    let answered = windows.iter().filter(|window| window.answered > 0);
    let baseline = baseline.as_secs_f64() * 1e6;
    let impact = answered.map(|window| {
        let mean = window.micros as f64 / f64::from(window.answered);
        ((mean - baseline) / baseline * 100.0).max(0.0)
    });
    Spread::of(impact.collect())
}

/// What the tenants of `others` had of the CPU time that everybody else left them, in percent.
pub(crate) fn conservation(
    first: &Sample,
    last: &Sample,
    others: &[usize],
    cpus: usize,
) -> Option<f64> {
    let time = (last.at - first.at).as_secs_f64();
    let elsewhere = last.others?.saturating_sub(first.others?).as_secs_f64();
    let process = (last.process - first.process).as_secs_f64();
    let had = |index: &usize| {
        let (last, first) = (last.tenants.get(*index)?, first.tenants.get(*index)?);
        Some(last.cpu.saturating_sub(first.cpu).as_secs_f64())
    };
    let had: f64 = others.iter().filter_map(had).sum();
    let left = cpus as f64 * time - elsewhere - (process - had);
    (left > 0.0 && !others.is_empty()).then(|| (had / left * 100.0).min(100.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::scenario::sampler::Figures;

    fn window(offered: u32, good: u32, micros: u64) -> Window {
        Window { offered, answered: offered, good, micros }
    }

    #[test]
    fn isolation_is_of_windows_in_which_somebody_asked() {
        let mut windows = vec![window(10, 10, 100); 99];
        windows.push(window(10, 5, 100));
        windows.push(window(0, 0, 0));
        let isolation = isolation(&windows).unwrap();
        assert_eq!((isolation.p01, isolation.median, isolation.windows), (100.0, 100.0, 100));
        assert!((isolation.mean - 99.5).abs() < 1e-9);
        assert_eq!(super::isolation(&[]), None);
    }

    #[test]
    fn the_worst_hundredth_is_seen() {
        let figures = (1..=200).map(f64::from).collect();
        let spread = Spread::of(figures).unwrap();
        assert_eq!((spread.p01, spread.median, spread.p99), (3.0, 101.0, 199.0));
        assert_eq!(Spread::of(vec![7.0]).map(|one| (one.p01, one.p99)), Some((7.0, 7.0)));
    }

    #[test]
    fn impact_is_against_the_baseline_and_never_negative() {
        let windows = [window(10, 10, 20_000), window(10, 10, 5_000)];
        assert_eq!(mean_latency(&windows), Some(Duration::from_micros(1_250)));
        let impact = impact(&windows, Duration::from_millis(1)).unwrap();
        assert_eq!((impact.p01, impact.p99), (0.0, 100.0));
    }

    #[test]
    fn what_is_left_is_what_nobody_else_had() {
        let sample = |at, process, others, cpu: [u64; 2]| Sample {
            at: Duration::from_secs(at),
            process: Duration::from_secs(process),
            others: Some(Duration::from_secs(others)),
            stolen: None,
            load: None,
            tenants: cpu
                .map(|cpu| Figures { cpu: Duration::from_secs(cpu), ..Figures::default() })
                .to_vec(),
        };
        let (first, last) = (sample(0, 0, 100, [0, 0]), sample(10, 14, 102, [3, 9]));
        // Of 20 s, 2 went elsewhere and 5 to the rest of the process: 13 were left, of which 9 were had.
        let conserved = conservation(&first, &last, &[1], 2).unwrap();
        assert!((conserved - 900.0 / 13.0).abs() < 1e-9, "{conserved}");
        assert_eq!(conservation(&first, &last, &[], 2), None);
    }
}
