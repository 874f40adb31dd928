//! The invariants of CPU time: no job lost, no charge lost, and shares that follow weights.

use std::time::Duration;

use indicatif::HumanCount;

use crate::{
    report::verdict::Verdict,
    soak::{
        cpu::{ByReport, Charged},
        stage::{Stage, Who},
    },
};

/// What is compared of jobs, and of what they were charged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CpuBooks {
    /// Jobs spawned.
    spawned: u64,
    /// Jobs that ended, and those that were cancelled, as they know it, and as who waited for them heard.
    ends: [u64; 2],
    heard: [u64; 2],
    /// Nanoseconds of CPU time that the root shows, and those of the tenants' groups, and its own.
    at_root: u64,
    charged: u64,
    own: u64,
    /// Nanoseconds of CPU time of both reports while the one or the other was favoured, and those of that one.
    reports: ByReport<u64>,
    favoured: ByReport<u64>,
}

impl CpuBooks {
    pub(super) fn of(stage: &Stage, charged: &Charged) -> Self {
        let sum = |count: fn(&crate::soak::tally::Tally) -> u64| {
            Who::ALL.into_iter().map(|who| count(&stage.tenant(who).tally)).sum()
        };
        let shares = stage.accounts.shares();
        Self {
            spawned: sum(|tally| tally.jobs_spawned.get()),
            ends: [sum(|tally| tally.jobs_ended.get()), sum(|tally| tally.jobs_cancelled.get())],
            heard: [sum(|tally| tally.jobs_answered.get()), sum(|tally| tally.jobs_given_up.get())],
            at_root: nanos(charged.root),
            charged: nanos(charged.tenants.iter().sum()),
            own: nanos(charged.own),
            reports: shares.charged.map(|charged| nanos(charged.iter().sum())),
            favoured: shares.charged.map(|[favoured, _]| nanos(favoured)),
        }
    }

    pub(super) fn jobs(&self) -> Verdict {
        Verdict::equal("jobs = ended + cancelled", self.spawned, self.ends)
            .and(self.heard == self.ends, "not as it was heard")
    }

    pub(super) fn usage(&self) -> Verdict {
        let parts = [self.charged, self.own];
        let verdict = Verdict::equal("CPU at root = groups' + own", self.at_root, parts);
        let sign = if verdict.holds { "=" } else { "≠" };
        let micros = |time: u64| HumanCount(time / 1000).to_string();
        let parts = parts.map(micros).join(" + ");
        Verdict { figures: format!("{} {sign} {parts} µs", micros(self.at_root)), ..verdict }
    }

    /// That each had its part while it was favoured, as far as it was.
    pub(super) fn shares(&self) -> Verdict {
        let percent = |index: usize| (self.favoured[index] * 100).checked_div(self.reports[index]);
        let shares = [percent(0), percent(1)];
        let holds = shares.iter().flatten().all(|share| *share >= LEAST);
        let shares = shares.map(|share| share.map_or("-".to_owned(), |share| format!("{share} %")));
        let figures = format!("{} of both, at least {LEAST} %", shares.join(" and "));
        Verdict { holds, claim: "the favoured report's CPU", figures }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The least share of the report that is favoured four to one, in percent: as far from one half as from what exact
/// sharing gives.
const LEAST: u64 = 65;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::report::verdict) const SOUND: CpuBooks = CpuBooks {
        spawned: 90,
        ends: [70, 20],
        heard: [70, 20],
        at_root: 5_000,
        charged: 4_000,
        own: 1_000,
        reports: [1_000, 0],
        favoured: [800, 0],
    };

    /// Books with one claim broken each.
    pub(in crate::report::verdict) fn broken() -> [(CpuBooks, &'static str); 5] {
        [
            (CpuBooks { spawned: 91, ..SOUND }, "jobs = ended + cancelled"),
            (CpuBooks { heard: [71, 19], ..SOUND }, "jobs = ended + cancelled"),
            (CpuBooks { own: 999, ..SOUND }, "CPU at root = groups' + own"),
            (CpuBooks { favoured: [649, 0], ..SOUND }, "the favoured report's CPU"),
            (CpuBooks { reports: [1_000; 2], ..SOUND }, "the favoured report's CPU"),
        ]
    }

    #[test]
    fn figures_are_shown_with_their_units() {
        let time = 3_600_000_000_000;
        let books = CpuBooks { at_root: time, charged: time, own: 0, ..SOUND };
        let expected =
            "  ok      CPU at root = groups' + own    3,600,000,000 = 3,600,000,000 + 0 µs";
        assert_eq!(books.usage().to_string(), expected);
        let expected = "  ok      the favoured report's CPU      80 % and - of both, at least 65 %";
        assert_eq!(books.shares().to_string(), expected);
    }
}
