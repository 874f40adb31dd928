//! Criterion's side: a pair beside its peers, on one thread and on two.

use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};

use crate::{pair::Pair, race::timed};

/// Returns criterion with times that suit many small questions.
#[must_use]
pub fn criterion() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .without_plots()
        .configure_from_args()
}

/// Returns a group of questions whose unit is one operation.
pub fn group<'c>(criterion: &'c mut Criterion, name: &str) -> BenchmarkGroup<'c, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(1));
    group
}

/// Measures each of `pairs` alone, then on two threads at once; `subject` names the file.
pub fn on_one_thread_and_two(
    criterion: &mut Criterion,
    subject: &str,
    pairs: &[(&str, &dyn Pair)],
) {
    for (name, threads) in [("uncontended", 1), ("contended/2", 2)] {
        let mut group = group(criterion, &format!("{subject}/{name}"));
        for (name, pair) in pairs {
            let each = vec![*pair; threads];
            group.bench_function(*name, |bencher| {
                bencher.iter_custom(|pairs| timed(&each, pairs));
            });
        }
        group.finish();
    }
}
