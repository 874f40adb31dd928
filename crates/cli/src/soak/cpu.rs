//! Whose turn it is: the weights of the tenants, and what comes of them.
//!
//! At first the controller is in no tree. Then all jobs are the root's, and wait in one queue. Once it is bound,
//! each tenant has a weight, and `api` may be ahead of its turn, as it needs little, but at once. Within tenant
//! `analytics` the weights of the two reports change places all the time, at work.
//!
//! What a group was charged is kept by its css as long as that is kept: so we keep one reference to each css that a
//! tenant's own groups ever had. In the end these and the root itself must have what the root shows.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fief_core::CssRef;
use fief_cpu::CpuCss;
use hdrhistogram::Histogram;

use crate::{
    soak::{
        pair::Pair,
        stage::{ByTenant, Stage, Who},
    },
    sync::{Count, Mutex},
    workload::reports::NAMES,
};

/// Something of each report.
pub(crate) type ByReport<T> = [T; NAMES.len()];

/// What was charged to whom.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    tenants: Mutex<Vec<(Who, CssRef<CpuCss>)>>,
    window: Mutex<Option<Window>>,
    shares: Mutex<Shares>,
}

/// The time from one change of the reports' weights to the next.
#[derive(Debug)]
struct Window {
    favoured: usize,
    /// Whose weights were set, and what they had been charged before.
    reports: ByReport<(CssRef<CpuCss>, Duration)>,
}

/// What the reports were charged while the one or the other was favoured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shares {
    /// By who was favoured: what that was charged, and the other.
    pub(crate) charged: ByReport<[Duration; 2]>,
    /// How many times weights were set.
    pub(crate) changes: u64,
}

/// What everybody was charged, when all is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charged {
    pub(crate) tenants: ByTenant<Duration>,
    /// The root itself: before it was bound, and what tenants do outside of their groups.
    pub(crate) own: Duration,
    /// All of it, as the root shows it.
    pub(crate) root: Duration,
}

/// How much CPU time the tenants use, and whose turn it is of the reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) tenants: ByTenant<Duration>,
    /// `None` as long as there is one queue.
    pub(crate) weights: Option<ByReport<u16>>,
}

/// Where a soak was at some moments: its start, when the controllers were bound, and its end.
#[derive(Debug, Default)]
pub(crate) struct Phases {
    marks: Mutex<Vec<(Instant, ByTenant<u64>)>>,
    begun: Count,
    times: ByPhase<Mutex<Option<Histogram<u64>>>>,
}

/// Something of the time before the bind, and of that after it.
pub(crate) type ByPhase<T> = [T; 2];

/// How the tenants did in a phase.
#[derive(Clone, Debug)]
pub(crate) struct Phase {
    pub(crate) took: Duration,
    pub(crate) operations: ByTenant<u64>,
    /// How long requests took, in nanoseconds.
    pub(crate) replies: Histogram<u64>,
}

/// The weight of a tenant.
pub(crate) const fn weight(who: Who) -> u16 {
    match who {
        Who::Api => 400,
        Who::Analytics | Who::Backup => 100,
    }
}

/// How far ahead of its turn a tenant may be.
pub(crate) const fn latency(who: Who) -> Duration {
    match who {
        Who::Api => Duration::from_millis(10),
        Who::Analytics | Who::Backup => Duration::ZERO,
    }
}

/// Sets what `who` is promised in its new `group`, if the controller is bound, and keeps its account.
///
/// # Errors
///
/// Those of the controller.
pub(crate) fn settle(stage: &Stage, who: Who, group: &Pair) -> Result<()> {
    let Some(css) = stage.trees.css(&stage.cpu, group) else { return Ok(()) };
    css.set_weight(weight(who))?;
    css.set_latency(latency(who))?;
    stage.accounts.tenants.lock().push((who, css));
    Ok(())
}

/// Favours the other one of the reports, at work, if both were charged enough to tell how they shared.
///
/// Nothing happens while they are not there, or the controller is not bound.
///
/// # Errors
///
/// Those of the controller.
pub(crate) fn favour(stage: &Stage) -> Result<()> {
    let Some(reports) = reports(stage) else { return Ok(()) };
    let mut window = stage.accounts.window.lock();
    let mut favoured = 0;
    if let Some(window) = &*window {
        match window.charged(&reports) {
            Some(charged) if charged.iter().sum::<Duration>() < ENOUGH => return Ok(()),
            Some(charged) => stage.accounts.shares.lock().add(window.favoured, charged),
            // They were made again since.
            None => {}
        }
        favoured = 1 - window.favoured;
    }
    for (index, css) in reports.iter().enumerate() {
        css.set_weight(if index == favoured { FAVOURED } else { OTHER })?;
    }
    let reports = reports.map(|css| {
        let usage = css.usage();
        (css, usage)
    });
    *window = Some(Window { favoured, reports });
    stage.accounts.shares.lock().changes += 1;
    Ok(())
}

/// Ends the reports, all jobs and then the accounts.
///
/// # Errors
///
/// Those of ending the reports; and when the controller is not registered.
pub(crate) fn close(stage: &Stage) -> Result<Charged> {
    end_reports(stage)?;
    // Whatever ran is charged now.
    stage.pool.shutdown();
    drop(stage.accounts.window.lock().take());
    let tenants = stage.accounts.usage();
    let root = stage.cpu.root().context("cpu is registered")?.stats();
    stage.accounts.tenants.lock().clear();
    Ok(Charged { tenants, own: root.own_usage, root: root.usage })
}

/// Ends the reports, if there are any.
///
/// # Errors
///
/// Those of [`Reports::end`](crate::workload::reports::Reports::end).
pub(crate) fn end_reports(stage: &Stage) -> Result<()> {
    let reports = stage.reports.lock().take();
    reports.map_or(Ok(()), |reports| reports.end(stage))
}

/// Ends the reports, whose members were killed.
///
/// # Errors
///
/// As [`end_reports`].
pub(crate) fn end_killed_reports(stage: &Stage) -> Result<()> {
    let reports = stage.reports.lock().take();
    reports.map_or(Ok(()), |reports| reports.hear().and_then(|()| reports.end(stage)))
}

/// The css of the reports, if they are there, and the controller bound.
fn reports(stage: &Stage) -> Option<ByReport<CssRef<CpuCss>>> {
    let top = stage.trees.of(Who::Analytics)?;
    let css = |name| {
        let pair = stage.trees.pair_of(top.tenant.child(name)?)?;
        stage.trees.css(&stage.cpu, &pair)
    };
    let [one, two] = NAMES.map(css);
    Some([one?, two?])
}

impl Accounts {
    pub(crate) fn shares(&self) -> Shares {
        *self.shares.lock()
    }

    /// What each tenant was charged so far.
    fn usage(&self) -> ByTenant<Duration> {
        let tenants = self.tenants.lock();
        Who::ALL.map(|who| {
            tenants.iter().filter(|(other, _)| *other == who).map(|(_, css)| css.usage()).sum()
        })
    }
}

impl Window {
    /// What was charged in it to who is favoured, and to the other, if these still are `reports`.
    fn charged(&self, reports: &ByReport<CssRef<CpuCss>>) -> Option<[Duration; 2]> {
        let charged = |index: usize| {
            let (css, before) = &self.reports[index];
            (css.id() == reports[index].id()).then(|| css.usage().saturating_sub(*before))
        };
        Some([charged(self.favoured)?, charged(1 - self.favoured)?])
    }
}

impl Shares {
    fn add(&mut self, favoured: usize, charged: [Duration; 2]) {
        let sums = self.charged[favoured].iter_mut();
        sums.zip(charged).for_each(|(sum, charged)| *sum += charged);
    }
}

impl Usage {
    pub(crate) fn of(stage: &Stage) -> Self {
        let weights = reports(stage).map(|reports| reports.map(|css| css.weight()));
        Self { tenants: stage.accounts.usage(), weights }
    }
}

impl Phases {
    /// Begins a phase, or ends the last.
    pub(crate) fn mark(&self, stage: &Stage) {
        let operations = Who::ALL.map(|who| stage.tenant(who).tally.operations.get());
        self.marks.lock().push((Instant::now(), operations));
        self.begun.add(1);
    }

    /// Runs `request`, and notes how long it took if it was answered, and all in one phase.
    pub(crate) fn time<T>(&self, request: impl FnOnce() -> (T, bool)) -> T {
        let phase = self.begun.get();
        let start = Instant::now();
        let (result, is_answered) = request();
        let took = start.elapsed();
        let index = usize::try_from(phase).unwrap_or(usize::MAX).checked_sub(1);
        let times = index.and_then(|index| self.times.get(index));
        if let Some(times) = times.filter(|_| is_answered && self.begun.get() == phase) {
            let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(LONGEST).min(LONGEST);
            times.lock().get_or_insert_with(histogram).saturating_record(nanoseconds);
        }
        result
    }

    /// How the tenants did before the bind, and after it, as far as the soak came.
    pub(crate) fn all(&self) -> Vec<Phase> {
        let marks = self.marks.lock();
        let phase = |(marks, times): (&[_], &Mutex<Option<Histogram<u64>>>)| {
            let [(from, before), (to, after)]: &[(Instant, ByTenant<u64>)] = marks else {
                return None;
            };
            let operations = Who::ALL.map(|who| after[who as usize] - before[who as usize]);
            let replies = times.lock().clone().unwrap_or_else(histogram);
            Some(Phase { took: to.duration_since(*from), operations, replies })
        };
        marks.windows(2).zip(&self.times).filter_map(phase).collect()
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, 3).expect("three digits up to a minute are allowed")
}

/// The weights of the reports.
pub(crate) const FAVOURED: u16 = 40;
pub(crate) const OTHER: u16 = 10;

/// The least that both reports are charged before their weights change places: many pieces.
const ENOUGH: Duration = Duration::from_millis(20);

/// The longest time told apart from longer ones, in nanoseconds: a minute.
const LONGEST: u64 = 60_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    use crate::{
        soak::{mover::Moves, stage::tests::small_stage, tree},
        sync::thread,
    };

    fn stage() -> Stage {
        let stage = small_stage(([127, 0, 0, 1], 0).into());
        Who::ALL.into_iter().for_each(|who| tree::open(&stage, who).unwrap());
        stage
    }

    #[test]
    fn weights_are_there_from_the_bind_on_and_in_either_tree() {
        let stage = stage();
        favour(&stage).unwrap();
        assert_eq!(Usage::of(&stage).weights, None);
        tree::bind(&stage).unwrap();
        let read = |pair: &Pair, file| pair.tenant.read(file).or_else(|_| pair.plan.read(file));
        for _ in 0..2 {
            let api = stage.trees.of(Who::Api).unwrap();
            assert_eq!(read(&api, "cpu.weight").unwrap(), "400\n");
            assert_eq!(read(&api, "cpu.latency").unwrap(), "10000\n");
            let backup = stage.trees.of(Who::Backup).unwrap();
            assert_eq!(read(&backup, "cpu.weight").unwrap(), "100\n");
            Moves::new().rebind(&stage);
        }
        favour(&stage).unwrap();
        assert_eq!(Usage::of(&stage).weights, Some([FAVOURED, OTHER]));
        close(&stage).unwrap();
    }

    #[test]
    fn what_is_charged_follows_the_weights_across_rebinds_and_adds_up() {
        let stage = stage();
        tree::bind(&stage).unwrap();
        while stage.accounts.shares().changes < 6 {
            favour(&stage).unwrap();
            Moves::new().rebind(&stage);
            thread::sleep(Duration::from_millis(5));
        }
        let shares = stage.accounts.shares();
        for [favoured, other] in shares.charged {
            assert!(favoured + other >= 2 * ENOUGH, "{shares:?}");
            assert!(favoured > 2 * other, "{shares:?}");
        }
        let Charged { tenants, own, root } = close(&stage).unwrap();
        assert_eq!(tenants.iter().sum::<Duration>() + own, root);
        assert!(tenants[Who::Analytics as usize] > own);
        let tally = &stage.tenant(Who::Analytics).tally;
        // All jobs but the two watches came to their end, with the right answers.
        let ended = tally.jobs_ended.get();
        assert_eq!((tally.jobs_spawned.get(), tally.jobs_cancelled.get()), (ended + 2, 2));
        assert!(tally.checked.get() > 0 && tally.wrong.get() == 0);
    }

    #[test]
    fn a_window_in_which_the_reports_were_made_again_does_not_count() {
        let stage = stage();
        tree::bind(&stage).unwrap();
        favour(&stage).unwrap();
        let (sender, batches) = crossbeam_channel::unbounded();
        thread::scope(|scope| {
            scope.spawn(|| crate::soak::dropper::drop_references(&stage, &batches));
            let sender = sender;
            tree::kill(&stage, Who::Analytics, &sender).unwrap();
        });
        favour(&stage).unwrap();
        assert_eq!(Usage::of(&stage).weights, Some([OTHER, FAVOURED]));
        assert_eq!(stage.accounts.shares().charged, [[Duration::ZERO; 2]; 2]);
        let Charged { tenants, own, root } = close(&stage).unwrap();
        assert_eq!(tenants.iter().sum::<Duration>() + own, root);
    }

    #[test]
    fn requests_are_of_the_phase_in_which_they_were() {
        let stage = small_stage(([127, 0, 0, 1], 0).into());
        let phases = &stage.phases;
        phases.time(|| ((), true));
        phases.mark(&stage);
        phases.time(|| ((), true));
        phases.time(|| ((), false));
        phases.time(|| (phases.mark(&stage), true));
        stage.tenant(Who::Backup).tally.operations.add(3);
        phases.time(|| ((), true));
        phases.time(|| ((), true));
        assert_eq!(phases.all().len(), 1);
        phases.mark(&stage);
        let all = phases.all();
        let replies: Vec<u64> = all.iter().map(|phase| phase.replies.len()).collect();
        assert_eq!(replies, [1, 2]);
        assert_eq!((all[0].operations, all[1].operations), ([0; 3], [0, 0, 3]));
    }
}
