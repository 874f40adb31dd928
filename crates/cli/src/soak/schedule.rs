//! When things happen in a soak.

use std::time::{Duration, Instant};

use crate::soak::{memory::Turn, stage::Who};

/// A tenant to be killed, at a time after the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kill {
    pub(crate) at: Duration,
    pub(crate) who: Who,
}

/// The kills of a soak of `seconds`: about one every two seconds, each tenant in turn and at least
/// once, evenly spread and neither at the start nor at the end.
pub(crate) fn kills(seconds: u64) -> impl Iterator<Item = Kill> {
    let count = u32::try_from(seconds / 2).unwrap_or(u32::MAX).max(3);
    let run = Duration::from_secs(seconds);
    (1..=count).zip(Who::ALL.into_iter().cycle()).map(move |(number, who)| Kill {
        at: run.mul_f64(f64::from(number) / f64::from(count + 1)),
        who,
    })
}

/// The time in which controllers are moved to and fro, and in what pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Act {
    pub(crate) from: Instant,
    pub(crate) to: Instant,
    /// How long one window takes; every other one has a rebind.
    pub(crate) window: Duration,
}

/// When the controllers are bound, in a soak of `seconds`: with everybody at work, before the first
/// kill.
pub(crate) fn bind(seconds: u64) -> Duration {
    kills(seconds).next().map_or(Duration::ZERO, |kill| kill.at / 2)
}

/// The act of a soak of `seconds` that begins at `start`: three fifths of it, in windows of 10 ms or
/// more, of which there are 500 at most.
pub(crate) fn act(start: Instant, seconds: u64) -> Act {
    let run = Duration::from_secs(seconds);
    let (from, to) = (start + run * 3 / 10, start + run * 9 / 10);
    Act { from, to, window: ((to - from) / WINDOWS).max(SHORTEST) }
}

/// When the limit of tenant `analytics` changes, in a soak of `seconds`: from the time between the bind and the
/// first kill on it is low for half of every second.
pub(crate) fn turns(seconds: u64) -> impl Iterator<Item = (Duration, Turn)> {
    let from = bind(seconds) * 4 / 3;
    let each = Duration::from_secs(1);
    let starts =
        (0..u32::try_from(seconds).unwrap_or(u32::MAX)).map(move |second| from + each * second);
    starts
        .flat_map(move |at| [(at, Turn::Squeeze), (at + each / 2, Turn::Ease)])
        .filter(move |(at, _)| *at < Duration::from_secs(seconds))
}

/// When two reports may change places, in a soak of `seconds`: from the bind on, forty times or once a second.
pub(crate) fn favours(seconds: u64) -> impl Iterator<Item = Duration> {
    let (from, run) = (bind(seconds), Duration::from_secs(seconds));
    let each = (run / 40).clamp(SHORTEST * 5, Duration::from_secs(1));
    (1..).map(move |number| from + each * number).take_while(move |at| *at < run)
}

/// When what tenant `backup` may do on the disk changes, in a soak of `seconds`: from the bind on, every half second or
/// more often.
pub(crate) fn disk(seconds: u64) -> impl Iterator<Item = Duration> {
    let (from, run) = (bind(seconds), Duration::from_secs(seconds));
    let each = (run / 20).min(Duration::from_millis(500));
    (1..).map(move |number| from + each * number).take_while(move |at| *at < run)
}

/// How far apart the figures of a run are printed: a second, or more if the run is long.
pub(crate) fn lines_apart(seconds: u64) -> Duration {
    Duration::from_secs(seconds.div_ceil(20).max(1))
}

/// The most windows of an act, each of which keeps a histogram.
const WINDOWS: u32 = 500;

/// The shortest window.
const SHORTEST: Duration = Duration::from_millis(10);

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
    fn controllers_are_bound_before_the_first_kill_and_the_first_rebind() {
        let start = Instant::now();
        for seconds in [1, 2, 10, 3600] {
            let bound = bind(seconds);
            assert!(bound > Duration::ZERO && kills(seconds).all(|kill| bound < kill.at));
            let act = act(start, seconds);
            assert!(start + bound < act.from && act.to < start + Duration::from_secs(seconds));
        }
    }

    #[test]
    fn an_act_has_a_hundred_windows_of_each_kind_if_there_is_time() {
        let windows = |seconds| {
            let act = act(Instant::now(), seconds);
            (act.to - act.from).as_nanos() / act.window.as_nanos()
        };
        assert_eq!([1, 2, 10, 3600].map(windows), [60, 120, 500, 500]);
    }

    #[test]
    fn a_run_prints_about_twenty_lines_at_most() {
        assert_eq!(lines_apart(1), Duration::from_secs(1));
        assert_eq!(lines_apart(10), Duration::from_secs(1));
        assert_eq!(lines_apart(60), Duration::from_secs(3));
        assert_eq!(lines_apart(3600), Duration::from_secs(180));
    }
}
