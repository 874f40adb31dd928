//! When nobody can go on: finds the groups of which that is so, and has one of them give its memory back.
//!
//! A level A is *stuck* if somebody waits there, and nobody who holds memory at A or below could give some
//! back:
//!
//! 1. Nobody in the lines of A and those below is called, or tries.
//! 2. No victim at A or below is still giving back, and no reclaimer works there.
//! 3. In each group at A or below that holds something itself, and is no victim that did not give back, as many charges wait, in these lines, as there are
//!    participants: tasks (the hooks count them) and workers ([`MemoryCss::enter`]).
//! 4. Groups that hold something and have no participants, and waiters that were called and do not come, are
//!    not known to be stuck: then only after `patience` without anything given back below A.
//! 5. All of it within one moment: no line changed while the groups were looked at.
//!
//! Levels are looked at from the deepest up, so that a limit far down does not cost a group elsewhere.
//!
//! The policy chooses among the groups that hold something themselves and can be told. The highest group up to
//! A whose `oom.group` is set goes in its stead. It and all below it are marked as killed: their waits fail, their
//! other charges are taken by force, until their usage is zero or a task comes. Then members are cancelled
//! (`Cgroup::kill`) and callbacks run. Until its memory is back, or has not gone down for [`FUTILE`], there is no
//! other victim at any level that it is below.
//!
//! # Tests
//!
//! `tests/victims.rs`.
//!
//! [`MemoryCss::enter`]: crate::MemoryCss::enter

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use fief_core::WeakCss;

use self::policy::{Candidate, LargestVictim, VictimPolicy};
use crate::{
    caught::caught,
    events::{Events, Kind},
    line::Look,
    node::Node,
    pocket::FENCED,
    protect::{Member, Protection, protect},
    shared::Shared,
    sync::{Arc, Weak},
    wait::{seam::is_under_way, wake},
};

pub(crate) mod policy;
pub(crate) mod standing;

/// What is known of a level where somebody waits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Case {
    /// How much was given back when it was last looked at, and since when no more.
    calm: Option<(u64, Duration)>,
    /// The changes of the lines when it was last looked at, and how many passes it is left alone for that.
    rest: (u64, u32),
    /// What was given back, and how many waited, when there was no victim to be had.
    barren: Option<(u64, usize)>,
}

/// A victim whose memory is not back.
#[derive(Debug)]
pub(crate) struct Pending {
    victim: Weak<Node>,
    /// The lowest that its usage was.
    low: u64,
    /// Since when it is not lower.
    since: Duration,
    /// Whether its members are still to be cancelled.
    is_owed: bool,
}

/// The groups at a level and below, parents before their children, and what they hold.
struct Survey {
    nodes: Vec<Arc<Node>>,
    members: Vec<Member>,
    kept: Vec<Protection>,
}

/// The charges that wait at a level and below.
#[derive(Default, PartialEq, Eq)]
struct Waits {
    /// How many of each payer are asleep.
    asleep: HashMap<u64, u64>,
    /// How many of each payer were called and do not come.
    stale: HashMap<u64, u64>,
    is_awake: bool,
    /// All changes of the lines together.
    changes: u64,
}

/// A first look at a subtree, which ends as soon as it finds somebody at work.
struct Glance<'a> {
    waits: &'a Waits,
    /// Groups that were looked at.
    looks: u32,
}

/// Whether a level is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Stuck,
    /// As far as one can know.
    Perhaps,
    Running,
}

/// A victim that does not give back for so long does not count any more.
const FUTILE: Duration = Duration::from_secs(1);

/// How many groups a pass may look at for one level: with more, it looks the less often.
const LOOKS: u32 = 512;

/// Looks at the levels where somebody waits, the deepest first, and makes victims of those that are stuck.
pub(crate) fn judge(shared: &Arc<Shared>, places: &[Arc<Node>], now: Duration) {
    follow_up(shared, now);
    for at in places {
        if is_giving_back(shared, at) || is_under_way(at) {
            continue;
        }
        let waits = Waits::below(at, places);
        if waits.is_awake || is_resting(shared, at, &waits) {
            continue;
        }
        let mut glance = Glance { waits: &waits, looks: 0 };
        let is_running = glance.finds_somebody_at_work(at);
        rest(shared, at, &waits, glance.looks);
        if is_running {
            continue;
        }
        let survey = Survey::of(at);
        let verdict = survey.verdict(&waits);
        let is_calm = is_calm(shared, at, now);
        let is_stuck = match verdict {
            Verdict::Running => false,
            Verdict::Perhaps => is_calm,
            Verdict::Stuck => true,
        };
        if is_stuck && Waits::below(at, places) == waits {
            resolve(shared, at, &survey, &waits, places, now);
        }
    }
}

/// Lets go of victims whose memory is back, or does not come; cancels those whose members could not be.
fn follow_up(shared: &Shared, now: Duration) {
    let mut owed = Vec::new();
    shared.book.pending(|pending| {
        pending.retain_mut(|pending| {
            let Some(victim) = pending.victim.upgrade().filter(|victim| victim.is_killed()) else {
                return false;
            };
            let usage = victim.counter.current();
            if usage < pending.low {
                (pending.low, pending.since) = (usage, now);
            }
            if std::mem::take(&mut pending.is_owed) {
                owed.push(victim);
            }
            now.saturating_sub(pending.since) < FUTILE
        });
    });
    for victim in owed {
        cancel(shared, &victim);
    }
}

/// Does what is owed though nobody waits any more: victims' own waits have failed. Returns whether more is.
pub(crate) fn make_up(shared: &Shared, now: Duration) -> bool {
    follow_up(shared, now);
    shared.book.pending(|pending| pending.iter().any(|pending| pending.is_owed))
}

/// Returns whether a large subtree is not to be looked at again yet, as no line has changed since the last time.
fn is_resting(shared: &Shared, at: &Node, waits: &Waits) -> bool {
    let is_resting = shared.book.case(at.key, |case| match &mut case.rest {
        (changes, passes) if *changes == waits.changes && *passes > 0 => {
            *passes -= 1;
            true
        }
        _ => false,
    });
    is_resting == Some(true)
}

/// Notes how large a subtree is that was looked at.
fn rest(shared: &Shared, at: &Node, waits: &Waits, looks: u32) {
    shared.book.case(at.key, |case| case.rest = (waits.changes, looks / LOOKS));
}

/// Returns whether a victim at `at` or below is giving its memory back.
fn is_giving_back(shared: &Shared, at: &Arc<Node>) -> bool {
    shared.book.pending(|pending| {
        let victims = pending.iter().filter_map(|pending| pending.victim.upgrade());
        victims.into_iter().any(|victim| victim.is_below(at))
    })
}

/// Returns whether nothing was given back below `at` for as long as patience lasts.
fn is_calm(shared: &Shared, at: &Node, now: Duration) -> bool {
    let Some(frees) = at.busy_line().map(|line| line.view().frees) else { return false };
    let since = shared.book.case(at.key, |case| match case.calm {
        Some((seen, since)) if seen == frees => since,
        _ => {
            case.calm = Some((frees, now));
            now
        }
    });
    since.is_some_and(|since| now.saturating_sub(since) >= shared.patience)
}

/// Chooses a victim, and has it give its memory back.
fn resolve(
    shared: &Arc<Shared>,
    at: &Arc<Node>,
    survey: &Survey,
    waits: &Waits,
    places: &[Arc<Node>],
    now: Duration,
) {
    let (indexes, candidates) = survey.candidates(waits);
    let chosen = choose(&*shared.policy, &candidates).map(|chosen| &survey.nodes[indexes[chosen]]);
    let Some(chosen) = chosen else {
        note_barren(shared, at);
        return;
    };
    Events::note(at, Kind::Oom);
    let groups = chosen.levels().take_while(|level| level.is_below(at) && level.parent.is_some());
    let group = groups.filter(|level| level.is_oom_group()).last();
    let victim = group.unwrap_or(chosen);
    Events::note(victim, Kind::OomKill);
    if group.is_some() {
        Events::note(victim, Kind::OomGroupKill);
    }
    let low = victim.counter.current();
    let pending = Pending { victim: Arc::downgrade(victim), low, since: now, is_owed: false };
    shared.book.pending(|all| all.push(pending));
    let killed = Survey::of(victim).nodes;
    killed.iter().for_each(|node| node.convict());
    let payers: HashSet<u64> = killed.iter().map(|node| node.key).collect();
    for line in places.iter().filter_map(|place| place.busy_line()) {
        wake(line.summon(|request| payers.contains(&request.payer)));
    }
    cancel(shared, victim);
    let rare = killed.iter().filter_map(|node| node.rare.get());
    rare.for_each(|rare| rare.callbacks.tell());
}

/// Counts once that there is no victim to be had, until something changes.
fn note_barren(shared: &Shared, at: &Arc<Node>) {
    let Some(Look { frees, asleep, stale, .. }) = at.busy_line().map(|line| line.view()) else {
        return;
    };
    let seen = Some((frees, asleep.len() + stale.len()));
    let is_new = shared.book.case(at.key, |case| std::mem::replace(&mut case.barren, seen) != seen);
    if is_new == Some(true) {
        Events::note(at, Kind::Oom);
    }
}

/// Asks the policy, and the default one where that fails.
fn choose(policy: &dyn VictimPolicy, candidates: &[Candidate]) -> Option<usize> {
    if candidates.is_empty() {
        return None;
    }
    match caught(|| policy.choose(candidates)) {
        Some(None) => None,
        Some(Some(chosen)) if chosen < candidates.len() => Some(chosen),
        _ => LargestVictim.choose(candidates),
    }
}

/// Cancels the members of a group and of those below it; later, if that cannot be now.
fn cancel(shared: &Shared, victim: &Arc<Node>) {
    let cgroup = victim.css.get().and_then(WeakCss::upgrade).and_then(|css| css.cgroup());
    let Some(cgroup) = cgroup else { return };
    if cgroup.kill().is_ok() || victim.is_closed() {
        return;
    }
    shared.book.pending(|pending| {
        let is_it =
            |pending: &&mut Pending| std::ptr::eq(pending.victim.as_ptr(), &raw const **victim);
        if let Some(pending) = pending.iter_mut().find(is_it) {
            pending.is_owed = true;
        }
    });
}

impl Glance<'_> {
    fn finds_somebody_at_work(&mut self, node: &Arc<Node>) -> bool {
        self.looks += 1;
        let children = node.children();
        let below = children.iter().map(|child| child.counter.current());
        let own = node.counter.current().saturating_sub(below.fold(0, u64::saturating_add));
        let is_at_work = self.waits.verdict(node, own) == Verdict::Running;
        is_at_work || children.iter().any(|child| self.finds_somebody_at_work(child))
    }
}

impl Survey {
    /// Looks at `at` and all below it.
    fn of(at: &Arc<Node>) -> Self {
        let mut survey = Self { nodes: Vec::new(), members: Vec::new(), kept: Vec::new() };
        survey.visit(at, 0);
        survey.kept = protect(&survey.members);
        survey
    }

    fn visit(&mut self, node: &Arc<Node>, parent: usize) {
        let index = self.nodes.len();
        let usage = node.counter.current();
        self.members.push(Member { parent, usage, min: node.min(), low: node.low() });
        self.nodes.push(Arc::clone(node));
        for child in node.children() {
            self.visit(&child, index);
        }
    }

    /// Returns whether anybody who holds memory could give some back.
    fn verdict(&self, waits: &Waits) -> Verdict {
        let groups = self.nodes.iter().zip(&self.kept);
        let worst = groups.map(|(node, kept)| waits.verdict(node, kept.own)).max();
        let is_sure = waits.stale.is_empty();
        worst.unwrap_or(Verdict::Stuck).max(if is_sure { Verdict::Stuck } else { Verdict::Perhaps })
    }

    /// Returns who may be the victim, and where they are in the survey.
    fn candidates(&self, waits: &Waits) -> (Vec<usize>, Vec<Candidate>) {
        let mut indexes: Vec<usize> =
            (0..self.nodes.len()).filter(|index| self.is_eligible(*index, waits)).collect();
        // With the root everybody goes: only if there is nobody else.
        if indexes.iter().any(|index| self.nodes[*index].parent.is_some()) {
            indexes.retain(|index| self.nodes[*index].parent.is_some());
        }
        let candidates = indexes.iter().map(|index| self.candidate(*index)).collect();
        (indexes, candidates)
    }

    /// Returns whether a group holds something, and would hear of it.
    fn is_eligible(&self, index: usize, waits: &Waits) -> bool {
        let node = &self.nodes[index];
        let can_be_told = node.participants() > 0
            || node.rare.get().is_some_and(|rare| !rare.callbacks.is_empty())
            || waits.asleep.contains_key(&node.key)
            || waits.stale.contains_key(&node.key);
        self.kept[index].own > 0 && !node.is_killed() && can_be_told
    }

    fn candidate(&self, index: usize) -> Candidate {
        let (node, kept) = (&self.nodes[index], &self.kept[index]);
        Candidate {
            cgroup: node.path(),
            usage: kept.own,
            above_protection: kept.own.saturating_sub(kept.own_low),
            usage_with_descendants: self.members[index].usage,
            priority: node.priority(),
            participants: node.participants(),
            serial: node.key & !FENCED,
        }
    }
}

impl Waits {
    fn below(at: &Arc<Node>, places: &[Arc<Node>]) -> Self {
        let mut waits = Self::default();
        let lines = places.iter().filter(|place| place.is_below(at));
        for line in lines.filter_map(|place| place.busy_line()) {
            let look = line.view();
            waits.is_awake |= look.awake > 0;
            waits.changes += look.changes;
            for payer in look.asleep {
                *waits.asleep.entry(payer).or_default() += 1;
            }
            for payer in look.stale {
                *waits.stale.entry(payer).or_default() += 1;
            }
        }
        waits
    }

    /// Returns whether a group that holds `own` bytes itself could give some back.
    fn verdict(&self, node: &Node, own: u64) -> Verdict {
        let of = |waits: &HashMap<u64, u64>| waits.get(&node.key).copied().unwrap_or(0);
        let (participants, asleep, stale) =
            (node.participants(), of(&self.asleep), of(&self.stale));
        // A victim that is still one has had its time: it would not be looked at otherwise.
        if own == 0 || node.is_killed() {
            Verdict::Stuck
        } else if participants == 0 {
            Verdict::Perhaps
        } else if asleep >= participants {
            Verdict::Stuck
        } else if asleep + stale >= participants {
            Verdict::Perhaps
        } else {
            Verdict::Running
        }
    }
}
