//! The thread that moves the controllers from one tree to the other and back, while all others work.
//!
//! One rebind moves four controllers in one publication. Before and after it the css of every group are
//! compared: whatever stayed must show the same css under its counterpart, and nothing under itself;
//! and the limits, read through control files, must be found there.

use std::{collections::BTreeMap, time::Instant};

use anyhow::Result;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use fief_core::{Cgroup, CgroupId, CssId, Hierarchy, ReadFileError, State};
use hdrhistogram::Histogram;

use crate::soak::{
    Event, cpu, io,
    lookup::Kind,
    pair::Pair,
    schedule::Act,
    stage::{Stage, Who},
    tree,
};

/// What became of the rebinds.
#[derive(Debug)]
pub(crate) struct Moves {
    pub(crate) done: u64,
    pub(crate) refused: u64,
    /// Why the first was refused.
    pub(crate) refusal: Option<String>,
    /// Css compared before and after a rebind, and those that were others afterwards.
    pub(crate) css_compared: u64,
    pub(crate) css_changed: u64,
    /// Limits read after a rebind, and those that were not found, or found in the wrong place.
    pub(crate) limits_read: u64,
    pub(crate) limits_lost: u64,
    /// How long rebinds took, in nanoseconds.
    pub(crate) took: Histogram<u64>,
}

/// What every group that was there at some moment shows, by the group's id in the tree by tenant.
type Shown = BTreeMap<CgroupId, Option<[CssId; 4]>>;

impl Moves {
    pub(crate) fn new() -> Self {
        let digits = 3;
        Self {
            done: 0,
            refused: 0,
            refusal: None,
            css_compared: 0,
            css_changed: 0,
            limits_read: 0,
            limits_lost: 0,
            took: Histogram::new(digits).expect("three significant digits are within the limits"),
        }
    }

    /// Moves the controllers to the other tree, and looks whether all is as it was.
    ///
    /// Nothing happens while they are bound nowhere.
    pub(crate) fn rebind(&mut self, stage: &Stage) {
        let tops = stage.tops.lock();
        self.rebind_locked(stage);
        drop(tops);
    }

    /// As [`Moves::rebind`]; the caller holds the tenants' own groups where they are.
    fn rebind_locked(&mut self, stage: &Stage) {
        let Some(target) = other_tree(stage) else { return };
        let options = stage.trees.options(&target);
        let before = shown(stage);
        let start = Instant::now();
        let result = stage.trees.registry.rebind(
            &[&stage.queries, &stage.inflight, &stage.cpu, &stage.io],
            &target,
            &options,
        );
        let took = start.elapsed();
        match result {
            Ok(()) => {
                self.done += 1;
                stage.rebinds.add(1);
                let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
                self.took.record(nanoseconds).expect("a histogram that grows takes any number");
            }
            Err(error) => {
                self.refused += 1;
                self.refusal.get_or_insert_with(|| error.to_string());
            }
        }
        self.compare(stage, &before);
        self.read_limits(stage, &target);
    }

    /// Compares what groups show that were there before.
    fn compare(&mut self, stage: &Stage, before: &Shown) {
        for (group, now) in shown(stage) {
            let Some(then) = before.get(&group) else { continue };
            self.css_compared += 4;
            self.css_changed += match (then, now) {
                (Some(then), Some(now)) => {
                    then.iter().zip(now).filter(|(then, now)| *then != now).count() as u64
                }
                _ => 4,
            };
        }
    }

    /// Reads the limits of the tenants, where they must be now and where they must not.
    fn read_limits(&mut self, stage: &Stage, target: &Hierarchy) {
        for who in Who::ALL {
            let Some(Pair { tenant, plan }) = stage.trees.of(who) else { continue };
            let is_plan = target.id() == stage.trees.plans.id();
            let (here, there) = if is_plan { (&plan, &tenant) } else { (&tenant, &plan) };
            let found = match here.read(LIMIT) {
                Ok(text) => {
                    text.trim_end() == tree::limit(who).to_string() && is_weighed(here, who)
                }
                // An agent was first.
                Err(ReadFileError::Removed { .. }) => continue,
                Err(_) => false,
            };
            let is_gone = match there.read(LIMIT) {
                Err(ReadFileError::Removed { .. }) => continue,
                read => matches!(read, Err(ReadFileError::Unknown(_))),
            };
            // Memory is where it was, whatever is moved.
            let stays = match (tenant.read(STAYING), plan.read(STAYING)) {
                (Err(ReadFileError::Removed { .. }), _)
                | (_, Err(ReadFileError::Removed { .. })) => {
                    continue;
                }
                (in_tenants, in_plans) => {
                    in_tenants.is_ok() && matches!(in_plans, Err(ReadFileError::Unknown(_)))
                }
            };
            self.limits_read += 1;
            self.limits_lost += u64::from(!(found && is_gone && stays));
        }
    }

    /// Makes the first rebind, and returns what to say of it: usage and limits, before and after.
    fn first(&mut self, stage: &Stage) -> String {
        let tops = stage.tops.lock();
        let before = usages(stage);
        self.rebind_locked(stage);
        let after = usages(stage);
        drop(tops);
        let mut text = "by-tenant to by-plan, at work; control files before and after:".to_owned();
        for line in before.iter().zip(&after).flat_map(|(before, after)| [before, after]) {
            text += &format!("\n{:9}{line}", "");
        }
        text
    }
}

/// Whether `group` has the weights of `who`; that of `backup` on the disk changes all the time.
fn is_weighed(group: &Cgroup, who: Who) -> bool {
    let shows = |file, is_right: &dyn Fn(&str) -> bool| match group.read(file) {
        Ok(text) => is_right(&text),
        // An agent was first.
        Err(ReadFileError::Removed { .. }) => true,
        Err(_) => false,
    };
    let of_disk = format!("{} {}", io::NAME, io::weight(who));
    shows("cpu.weight", &|text| text.trim_end() == cpu::weight(who).to_string())
        && shows("io.weight", &|text| {
            who == Who::Backup || text.lines().any(|line| line == of_disk)
        })
}

/// The tree where the controllers are not; `None` if they are bound nowhere.
fn other_tree(stage: &Stage) -> Option<Hierarchy> {
    let trees = &stage.trees;
    let current = stage.queries.hierarchy()?;
    Some(if current.id() == trees.plans.id() { trees.tenants.clone() } else { trees.plans.clone() })
}

/// Returns what every pair shows: the four controllers' css, as of one guard.
fn shown(stage: &Stage) -> Shown {
    let pairs: Vec<Pair> = Who::ALL
        .iter()
        .filter_map(|who| stage.trees.of(*who))
        .flat_map(|top| top.descendants_post(&stage.trees))
        .collect();
    let guard = stage.trees.registry.read();
    let of = |group: &Cgroup| {
        let queries = guard.css(&stage.queries, group)?.id();
        let inflight = guard.css(&stage.inflight, group)?.id();
        let cpu = guard.css(&stage.cpu, group)?.id();
        Some([queries, inflight, cpu, guard.css(&stage.io, group)?.id()])
    };
    let css = |pair: &Pair| {
        let css = match (of(&pair.tenant), of(&pair.plan)) {
            (Some(css), None) | (None, Some(css)) => Some(css),
            // Half moved, lost, or gone.
            _ => None,
        };
        // A group that is removed goes offline before its css do.
        let is_there = css.is_some() || pair.tenant.state() == State::Online;
        is_there.then(|| (pair.tenant.id(), css))
    };
    pairs.iter().filter_map(css).collect()
}

/// Says what each tenant holds and may hold, as the control files of whichever group has them tell.
fn usages(stage: &Stage) -> Vec<String> {
    let usage = |Pair { tenant, plan }: Pair| {
        [tenant, plan].into_iter().find_map(|group| {
            let read = |file: &str| Some(group.read(file).ok()?.trim_end().to_owned());
            let (current, max) = (read("inflight.current")?, read(LIMIT)?);
            let path = format!("{}{}", group.hierarchy().name(), group.path());
            Some(format!("{path:19} inflight.current {current:10} inflight.max {max}"))
        })
    };
    let pairs = Who::ALL.into_iter().filter_map(|who| stage.trees.of(who));
    pairs.filter_map(usage).collect()
}

/// Moves the controllers to and fro during `act`, until it is over or `ending` is disconnected.
///
/// # Errors
///
/// None: refusals are counted.
pub(crate) fn run(
    stage: &Stage,
    act: Act,
    (ending, events): (&Receiver<()>, &Sender<Event>),
) -> Result<Moves> {
    let mut moves = Moves::new();
    let pause = |until: Instant| ending.recv_deadline(until) == Err(RecvTimeoutError::Timeout);
    if !pause(act.from) {
        return Ok(moves);
    }
    let text = moves.first(stage);
    // An error means that the soak is over.
    events.send(Event::Told(text)).ok();
    let mut kinds = [Kind::Rebind, Kind::Quiet].into_iter().cycle();
    while Instant::now() < act.to {
        let kind = kinds.next().unwrap_or(Kind::Quiet);
        let goes_on = stage.windows.within(kind, || {
            let start = Instant::now();
            let middle = start + act.window / 2;
            if kind == Kind::Rebind {
                if !pause(middle) {
                    return false;
                }
                moves.rebind(stage);
            }
            pause(start + act.window)
        });
        if !goes_on {
            break;
        }
    }
    let is_away = other_tree(stage).is_some_and(|tree| tree.id() == stage.trees.tenants.id());
    if is_away {
        moves.rebind(stage);
    }
    Ok(moves)
}

/// The file that is read to see where a controller is.
const LIMIT: &str = "inflight.max";

/// And the file of the controller that stays in the tree by tenant.
const STAYING: &str = "memory.max";

#[cfg(test)]
mod tests {
    use super::*;

    use std::time::Duration;

    use crate::{
        soak::{inflight, pair::Trees, schedule, stage::tests::small_stage},
        sync::thread,
    };

    fn stage() -> Stage {
        let stage = small_stage(([127, 0, 0, 1], 0).into());
        Who::ALL.into_iter().for_each(|who| tree::open(&stage, who).unwrap());
        stage
    }

    #[test]
    fn a_rebind_of_what_is_bound_nowhere_is_none() {
        let mut moves = Moves::new();
        moves.rebind(&stage());
        assert_eq!((moves.done, moves.refused), (0, 0));
    }

    #[test]
    fn control_files_show_the_same_under_the_new_paths() {
        let stage = stage();
        tree::bind(&stage).unwrap();
        let api = stage.trees.of(Who::Api).unwrap();
        let held = inflight::hold(&stage.trees.css(&stage.inflight, &api).unwrap(), 77);
        let text = Moves::new().first(&stage);
        for line in [
            "by-tenant/api       inflight.current 77         inflight.max 67108864",
            "by-plan/gold        inflight.current 77         inflight.max 67108864",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        drop(held);
    }

    #[test]
    fn trees_of_two_shapes_are_a_refusal() {
        let stage = stage();
        tree::bind(&stage).unwrap();
        stage.trees.plans.lookup("/silver").unwrap().create_child("extra").unwrap();
        let mut moves = Moves::new();
        moves.rebind(&stage);
        assert_eq!((moves.done, moves.refused), (0, 1));
        let refusal = moves.refusal.unwrap();
        assert!(refusal.contains("/silver/extra"), "{refusal}");
        // Nothing moved, so the limits are not where they would have to be.
        assert_eq!((moves.css_changed, moves.limits_lost), (0, 3));
    }

    #[test]
    fn a_css_that_is_another_one_is_found() {
        let stage = stage();
        tree::bind(&stage).unwrap();
        let mut before = shown(&stage);
        assert_eq!(before.len(), 13);
        let mut moves = Moves::new();
        moves.compare(&stage, &before);
        assert_eq!((moves.css_compared, moves.css_changed), (52, 0));

        // One group with a neighbour's css, and one that showed none.
        let ids: Vec<CgroupId> = before.keys().copied().collect();
        let neighbours = before[&ids[1]];
        before.insert(ids[0], neighbours);
        before.insert(ids[2], None);
        moves.compare(&stage, &before);
        assert_eq!(moves.css_changed, 8);
    }

    #[test]
    fn controllers_are_back_when_the_act_ends_or_is_ended() {
        for early in [false, true] {
            let stage = stage();
            tree::bind(&stage).unwrap();
            let act = schedule::act(Instant::now() - Duration::from_millis(600), 1);
            let (moving, ending) = crossbeam_channel::bounded(0);
            let (events, told) = crossbeam_channel::unbounded();
            let moves = thread::scope(|scope| {
                let moves = scope.spawn(|| run(&stage, act, (&ending, &events)).unwrap());
                told.recv().unwrap();
                if !early {
                    thread::sleep(act.to.saturating_duration_since(Instant::now()));
                }
                drop(moving);
                moves.join().unwrap()
            });
            assert_eq!(moves.refusal, None);
            assert!(moves.done.is_multiple_of(2) && moves.done > 0, "{}", moves.done);
            let Trees { tenants, .. } = &stage.trees;
            assert_eq!(stage.inflight.hierarchy().unwrap().id(), tenants.id());
        }
    }
}
