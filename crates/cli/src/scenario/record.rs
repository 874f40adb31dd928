//! When requests were due, and when they were answered.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::sync::Mutex;

/// Every window of a run, and the latencies of every act.
#[derive(Debug, Default)]
pub(crate) struct Record(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    windows: Vec<Window>,
    /// When each act began, and what requests that were due in it took.
    acts: Vec<(Duration, Histogram<u64>)>,
}

/// What became of the requests that were due in a tenth of a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) offered: u32,
    pub(crate) answered: u32,
    /// Answered within the objective.
    pub(crate) good: u32,
    /// What those that were answered took, in all, in microseconds.
    pub(crate) micros: u64,
}

/// How long a window is.
pub(crate) const WINDOW: Duration = Duration::from_millis(100);

/// The longest time told apart from longer ones, in microseconds.
const LONGEST: u64 = 3_600_000_000;

impl Record {
    /// Begins an act.
    pub(crate) fn begin_act(&self, at: Duration) {
        let histogram = Histogram::new_with_bounds(1, LONGEST, 3)
            .expect("three digits up to an hour are within the limits");
        self.0.lock().acts.push((at, histogram));
    }

    /// A request was due.
    pub(crate) fn offer(&self, due: Duration) {
        self.0.lock().window(due).offered += 1;
    }

    /// It was answered so much later.
    pub(crate) fn answer(&self, due: Duration, took: Duration, objective: Duration) {
        let mut inner = self.0.lock();
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let window = inner.window(due);
        window.answered += 1;
        window.good += u32::from(took <= objective);
        window.micros = window.micros.saturating_add(micros);
        if let Some((_, act)) = inner.acts.iter_mut().rev().find(|(from, _)| *from <= due) {
            act.saturating_record(micros);
        }
    }

    /// The windows that lie between two times.
    pub(crate) fn windows(&self, from: Duration, to: Duration) -> Vec<Window> {
        let inner = self.0.lock();
        let (first, last) = (index(from + WINDOW - Duration::from_nanos(1)), index(to));
        inner.windows.get(first..last.min(inner.windows.len())).unwrap_or_default().to_vec()
    }

    /// The p50 and p99 of what the requests of the last act took so far; `None` before any was answered.
    pub(crate) fn latest(&self) -> Option<[Duration; 2]> {
        let inner = self.0.lock();
        let (_, all) = inner.acts.last().filter(|(_, all)| !all.is_empty())?;
        Some([0.5, 0.99].map(|quantile| Duration::from_micros(all.value_at_quantile(quantile))))
    }

    /// What the requests of an act took, in microseconds.
    pub(crate) fn latencies(&self, act: usize) -> Option<Histogram<u64>> {
        self.0.lock().acts.get(act).map(|(_, histogram)| histogram.clone())
    }
}

impl Inner {
    fn window(&mut self, due: Duration) -> &mut Window {
        let index = index(due);
        if index >= self.windows.len() {
            self.windows.resize(index + 1, Window::default());
        }
        &mut self.windows[index]
    }
}

fn index(at: Duration) -> usize {
    usize::try_from(at.as_nanos() / WINDOW.as_nanos()).unwrap_or(usize::MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_request_belongs_to_the_window_and_act_in_which_it_was_due() {
        let record = Record::default();
        record.begin_act(Duration::ZERO);
        record.begin_act(250 * MS);
        for due in [0, 99, 100, 260] {
            record.offer(due * MS);
        }
        // The last one due in the first act is answered in the second.
        record.answer(100 * MS, 200 * MS, 5 * MS);
        record.answer(260 * MS, 5 * MS, 5 * MS);
        let windows = record.windows(Duration::ZERO, 300 * MS);
        assert_eq!(windows.len(), 3);
        assert_eq!(windows[0], Window { offered: 2, ..Window::default() });
        assert_eq!((windows[1].offered, windows[1].answered, windows[1].good), (1, 1, 0));
        assert_eq!((windows[2].good, windows[2].micros), (1, 5_000));
        let counts = [0, 1].map(|act| record.latencies(act).map(|act| act.len()));
        assert_eq!(counts, [Some(1), Some(1)]);
        let latest = record.latest().unwrap().map(|took| took.as_millis());
        assert_eq!(latest, [5, 5]);
    }

    #[test]
    fn windows_that_are_cut_by_an_edge_are_left_out() {
        let record = Record::default();
        (0..10).for_each(|window| record.offer(window * WINDOW));
        assert_eq!(record.windows(50 * MS, 450 * MS).len(), 3);
        assert_eq!(record.windows(100 * MS, 400 * MS).len(), 3);
        assert_eq!(record.windows(900 * MS, 5_000 * MS).len(), 1);
        assert_eq!(record.windows(2_000 * MS, 5_000 * MS).len(), 0);
    }
}
