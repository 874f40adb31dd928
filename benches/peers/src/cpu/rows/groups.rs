//! B9: what many groups and deep ones cost, and whether all of them get their part.

use std::{sync::Arc, thread, time::Duration};

use anyhow::Result;

use super::{Case, Context, Gate};
use crate::cpu::{
    fairness::jain,
    figures::Figure,
    load::{Load, hog},
    machine::Meter,
    system::{Group, Plan, Running},
    work::Work,
};

const POLL: Duration = Duration::from_micros(5);
/// Tasks there are at least, so that no processor waits.
const TASKS: usize = 64;
const WARM_UP: Duration = Duration::from_millis(500);
const SPAN: Duration = Duration::from_secs(20);
/// Children of a group, where it has several.
const FAN_OUT: usize = 10;

pub(super) fn cases() -> Vec<Case> {
    let sizes = [(10, 1), (1_000, 3), (10_000, 4)];
    let depths = |(groups, levels)| [1, 4, 8].map(|depth| case(groups, levels, depth));
    sizes.into_iter().flat_map(depths).collect()
}

/// So many groups with tasks are `FAN_OUT` to the power of `levels`.
fn case(groups: usize, levels: usize, depth: usize) -> Case {
    let (plan, leaves) = tree(groups, levels, depth);
    Case {
        row: "B9",
        name: format!("{groups} groups, depth {depth}, polls of {POLL:?}"),
        plan,
        gate: Gate::Given,
        run: Box::new(move |context, running| run(context, running, &leaves)),
    }
}

/// Returns a tree whose leaves are `depth` below the root and worth the same, and the leaves.
///
/// Groups have one child or `FAN_OUT`: all shares are equal.
fn tree(groups: usize, levels: usize, depth: usize) -> (Plan, Vec<usize>) {
    let mut plan = Plan::default();
    let mut row: Vec<Option<usize>> = vec![None];
    for level in 0..depth {
        // Single children first: what is wide is at the bottom, as in real trees.
        let children = match (depth.saturating_sub(level) <= levels, depth) {
            (true, 1) => groups,
            (true, _) => FAN_OUT,
            (false, _) => 1,
        };
        row = row
            .into_iter()
            .flat_map(|parent| std::iter::repeat_n(parent, children))
            .map(|parent| Some(plan.add(Group { parent, ..Group::default() })))
            .collect();
    }
    let leaves = row.into_iter().flatten().collect();
    (plan, leaves)
}

fn run(context: &Context, running: &Arc<dyn Running>, leaves: &[usize]) -> Result<Vec<Figure>> {
    let load = Load::new(leaves.len());
    for _ in 0..TASKS.div_ceil(leaves.len()) {
        for (number, leaf) in leaves.iter().enumerate() {
            running.spawn(*leaf, hog(&load, number, POLL))?;
        }
    }
    thread::sleep(context.span(WARM_UP));
    let (meter, before) = (Meter::default(), load.sample());
    thread::sleep(context.span(SPAN));
    let (time, used, after) = (meter.time(), meter.percent(), load.sample());
    let work = Work::get().cost(POLL);
    load.finish(|| {})?;
    let done: Vec<f64> =
        after.iter().zip(&before).map(|(after, before)| (after - before) as f64).collect();
    let polls = done.iter().sum::<f64>() / POLL.as_nanos() as f64;
    let cost = time.as_secs_f64() * 1e9 / polls.max(1.0);
    Ok(vec![
        Figure::new("CPU per poll", "ns", cost),
        Figure::new("beside the work", "ns", cost - work),
        Figure::new("Jain", "", jain(&done)),
        Figure::new("start", "ms", context.start.as_secs_f64() * 1e3),
        Figure::new("CPU used", "%", used),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(groups: usize, levels: usize, depth: usize, all: usize) {
        let (plan, leaves) = tree(groups, levels, depth);
        assert_eq!((leaves.len(), plan.groups.len()), (groups, all));
        for leaf in leaves {
            let above = std::iter::successors(Some(leaf), |group| plan.groups[*group].parent);
            assert_eq!(above.count(), depth);
        }
    }

    #[test]
    fn leaves_are_as_many_and_as_deep_as_they_should() {
        check(10, 1, 1, 10);
        check(10, 1, 8, 17);
        check(1_000, 3, 4, 1 + 10 + 100 + 1_000);
        check(10_000, 4, 1, 10_000);
        check(10_000, 4, 8, 4 + 10 + 100 + 1_000 + 10_000);
    }
}
