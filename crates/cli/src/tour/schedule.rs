//! When things happen in a tour.

use std::time::Duration;

use crate::tour::stage::Who;

/// A tenant to be killed, at a time after the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kill {
    pub(crate) at: Duration,
    pub(crate) who: Who,
}

/// The kills of a tour of `seconds`: about one every two seconds, each tenant in turn and at least
/// once, evenly spread and neither at the start nor at the end.
pub(crate) fn kills(seconds: u64) -> impl Iterator<Item = Kill> {
    let count = u32::try_from(seconds / 2).unwrap_or(u32::MAX).max(3);
    let run = Duration::from_secs(seconds);
    (1..=count).zip(Who::ALL.into_iter().cycle()).map(move |(number, who)| Kill {
        at: run.mul_f64(f64::from(number) / f64::from(count + 1)),
        who,
    })
}

/// How far apart the figures of a run are printed: a second, or more if the run is long.
pub(crate) fn lines_apart(seconds: u64) -> Duration {
    Duration::from_secs(seconds.div_ceil(20).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tenant_is_killed_during_the_run() {
        for seconds in [1, 2, 3, 10, 3600] {
            let kills: Vec<Kill> = kills(seconds).collect();
            assert!(kills.is_sorted_by(|one, two| one.at < two.at), "{kills:?}");
            assert!(kills[0].at > Duration::ZERO);
            assert!(kills[kills.len() - 1].at < Duration::from_secs(seconds));
            for who in Who::ALL {
                assert!(kills.iter().any(|kill| kill.who == who), "{seconds} s: {who:?}");
            }
        }
    }

    #[test]
    fn there_is_a_kill_about_every_two_seconds() {
        assert_eq!(kills(10).count(), 5);
        assert_eq!(kills(3600).count(), 1800);
    }

    #[test]
    fn a_run_prints_about_twenty_lines_at_most() {
        assert_eq!(lines_apart(1), Duration::from_secs(1));
        assert_eq!(lines_apart(10), Duration::from_secs(1));
        assert_eq!(lines_apart(60), Duration::from_secs(3));
        assert_eq!(lines_apart(3600), Duration::from_secs(180));
    }
}
