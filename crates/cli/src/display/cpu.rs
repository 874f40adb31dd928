//! The line of CPU time: how much was used since the last line, by whom, and who is favoured.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::soak::{
    cpu::{ByReport, Usage},
    stage::{ByTenant, Who},
};

/// What had been used when it was last shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gauge {
    at: Instant,
    before: ByTenant<Duration>,
}

/// What was used meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cpu {
    cpus: f64,
    tenants: ByTenant<Duration>,
    weights: Option<ByReport<u16>>,
}

impl Gauge {
    pub(super) fn new(at: Instant) -> Self {
        Self { at, before: ByTenant::default() }
    }

    /// What was used since the last time.
    pub(super) fn read(&mut self, now: Instant, usage: Usage) -> Cpu {
        let Self { at, before } = std::mem::replace(self, Self { at: now, before: usage.tenants });
        let used = |who: Who| usage.tenants[who as usize].saturating_sub(before[who as usize]);
        let tenants = Who::ALL.map(used);
        let (sum, time) = (tenants.iter().sum::<Duration>(), now.duration_since(at));
        let cpus = if time.is_zero() { 0.0 } else { sum.div_duration_f64(time) };
        Cpu { cpus, tenants, weights: usage.weights }
    }
}

/// How many percent each of `times` is of all.
pub(crate) fn percent<const N: usize>(times: [Duration; N]) -> [u128; N] {
    let sum = times.iter().sum::<Duration>().as_nanos();
    times.map(|time| (time.as_nanos() * 200 + sum).checked_div(sum * 2).unwrap_or(0))
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some([sales, _]) = self.weights else {
            return write!(f, "{:10} all wait in one queue", "cpu");
        };
        let [api, analytics, backup] = percent(self.tenants);
        write!(
            f,
            "{:10} {:>9}: {api} % api, {analytics} % analytics, {backup} % backup; sales: {sales}",
            "cpu",
            format!("{:.1} CPUs", self.cpus),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_what_was_used_meanwhile() {
        let start = Instant::now();
        let mut gauge = Gauge::new(start);
        let second = Duration::from_secs(1);
        let usage = |tenants: ByTenant<u32>| Usage {
            tenants: tenants.map(|time| second * time),
            weights: Some([40, 10]),
        };
        gauge.read(start + second, usage([1, 1, 2]));
        let cpu = gauge.read(start + 3 * second, usage([1, 2, 4])).to_string();
        let expected = "cpu         1.5 CPUs: 0 % api, 33 % analytics, 67 % backup; sales: 40";
        assert_eq!(cpu, expected);
        let tenants = [second; 3];
        let cpu = Cpu { cpus: 99.9, tenants, weights: Some([40, 10]) }.to_string();
        assert!(cpu.len() <= 80 - 9, "{cpu}");
        let cpu = Gauge::new(start).read(start, Usage::default()).to_string();
        assert_eq!(cpu, "cpu        all wait in one queue");
    }

    #[test]
    fn nothing_has_no_shares() {
        assert_eq!(percent([Duration::ZERO; 2]), [0, 0]);
        assert_eq!(percent([1, 2].map(Duration::from_nanos)), [33, 67]);
    }
}
