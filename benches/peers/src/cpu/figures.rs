//! What a run says: named figures, latencies among them.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hdrhistogram::Histogram;

/// One figure of a run.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Figure {
    /// What it is.
    pub name: &'static str,
    /// Its unit.
    pub unit: &'static str,
    /// How much.
    pub value: f64,
}

impl Figure {
    /// Returns a figure.
    #[must_use]
    pub fn new(name: &'static str, unit: &'static str, value: f64) -> Self {
        Self { name, unit, value }
    }
}

/// Latencies from several threads.
#[derive(Debug)]
pub struct Latencies(Mutex<Histogram<u64>>);

impl Default for Latencies {
    /// From a nanosecond to a minute, three digits.
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, 60_000_000_000, 3);
        Self(Mutex::new(histogram.expect("the bounds are in order")))
    }
}

impl Latencies {
    /// Adds one.
    pub fn record(&self, latency: Duration) {
        self.lock().saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Returns how many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.lock().len()
    }

    /// Returns a quantile, in µs.
    #[must_use]
    pub fn micros(&self, quantile: f64) -> f64 {
        self.lock().value_at_quantile(quantile) as f64 / 1e3
    }

    /// Returns the figures of a histogram's row.
    #[must_use]
    pub fn figures(&self) -> [Figure; 3] {
        [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)]
            .map(|(name, quantile)| Figure::new(name, "µs", self.micros(quantile)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Histogram<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_has_its_quantiles() {
        let latencies = Latencies::default();
        (1..=1000).for_each(|micros| latencies.record(Duration::from_micros(micros)));
        let values = latencies.figures().map(|figure| figure.value.round());
        assert_eq!((latencies.count(), values), (1000, [500.0, 990.0, 999.0]));
    }
}
