//! What has to hold in every scenario, whatever else it shows.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use fief_core::{Cgroup, CgroupId, Limit};
use fief_io::Dimension;

use super::{outcome::MIB, tenant::Tenant, world::World};
use crate::{soak::lookup::Windows, sync::Mutex};

/// Everything that is looked at while a scenario runs.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// Lookups, in windows with a rebind and in those without.
    pub(crate) windows: Windows,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    rebinds: Vec<Duration>,
    /// Why a rebind was refused.
    refused: Vec<String>,
    /// Groups that were looked at before controllers moved and after, and what was not the same.
    carried: u64,
    changed: Vec<String>,
    /// Groups of which a notice must come.
    awaited: Vec<CgroupId>,
    noticed: Vec<CgroupId>,
    /// When a limit was last written.
    written: Option<Instant>,
    /// How often usage was compared with a limit, and what was wrong.
    compared: u64,
    over: Vec<String>,
    last: HashMap<String, u64>,
    peaks: HashMap<String, u64>,
    /// CPU time that each tenant's group was charged when it was last looked at.
    usages: HashMap<String, Duration>,
    flows: HashMap<String, Flow>,
}

/// What went through since a limit was set.
#[derive(Clone, Copy, Debug)]
struct Flow {
    rate: u64,
    from: Instant,
    bytes: u64,
}

/// Whether something held.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Invariant {
    pub(crate) name: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Held,
    Broken,
    /// Nothing happened that it is about.
    NotTested,
}

/// After a write it takes so long until samples are of what was written.
const AFTER_A_WRITE: Duration = Duration::from_millis(300);

impl Invariant {
    pub(crate) fn new(name: &'static str, holds: Option<bool>, detail: String) -> Self {
        let verdict = match holds {
            Some(true) => Verdict::Held,
            Some(false) => Verdict::Broken,
            None => Verdict::NotTested,
        };
        Self { name, verdict, detail }
    }
}

impl Checks {
    /// A control file was written.
    pub(crate) fn written(&self) {
        let mut seen = self.seen.lock();
        seen.written = Some(Instant::now());
        seen.flows.clear();
    }

    /// Controllers were moved, so many times.
    pub(crate) fn rebound(&self, took: &[Duration]) {
        self.seen.lock().rebinds.extend_from_slice(took);
    }

    /// A rebind was refused.
    pub(crate) fn refused(&self, why: String) {
        self.seen.lock().refused.push(why);
    }

    /// So many groups were looked at before controllers moved and after; these were not the same.
    pub(crate) fn carried(&self, groups: usize, changed: Vec<String>) {
        let mut seen = self.seen.lock();
        seen.carried += groups as u64;
        seen.changed.extend(changed);
    }

    /// A notice of each of these has to come.
    pub(crate) fn awaits(&self, groups: &[Cgroup]) {
        self.seen.lock().awaited.extend(groups.iter().map(Cgroup::id));
    }

    /// A notice was accepted.
    pub(crate) fn noticed(&self, group: &Cgroup) {
        self.seen.lock().noticed.push(group.id());
    }

    /// A tenant's groups are about to be removed.
    pub(crate) fn leaves(&self, world: &World, tenant: &Tenant) {
        self.peak(world, tenant);
        self.seen.lock().written = Some(Instant::now());
    }

    /// Takes note of the most memory a tenant ever had, and of its CPU time.
    pub(crate) fn peak(&self, world: &World, tenant: &Tenant) {
        let group = world.group_of(tenant, "cpu");
        if let Some(css) = group.and_then(|group| world.cpu.css(&group)) {
            self.seen.lock().usages.insert(tenant.name.clone(), css.usage());
        }
        let group = world.group_of(tenant, "memory");
        if let Some(css) = group.and_then(|group| world.memory.css(&group)) {
            self.seen.lock().peaks.insert(tenant.name.clone(), css.peak());
        }
    }

    /// The most memory a tenant ever had; `None` if nobody looked.
    pub(crate) fn peak_of(&self, tenant: &str) -> Option<u64> {
        self.seen.lock().peaks.get(tenant).copied()
    }

    /// How long the rebinds took, in order.
    pub(crate) fn rebinds(&self) -> Vec<Duration> {
        self.seen.lock().rebinds.clone()
    }

    /// Compares what a tenant has and does with its limits.
    pub(crate) fn compare(&self, world: &World, tenant: &Tenant) {
        let mut seen = self.seen.lock();
        let seen = &mut *seen;
        let is_settled = seen.written.is_none_or(|at| at.elapsed() > AFTER_A_WRITE);
        if let Some(css) = world.group_of(tenant, "memory").and_then(|at| world.memory.css(&at)) {
            let current = css.current();
            let before = seen.last.insert(tenant.name.clone(), current).unwrap_or(0);
            if let (Limit::At(max), true) = (css.max(), is_settled) {
                seen.compared += 1;
                if current > max.max(before) {
                    seen.over.push(format!("{} has {current} of {max} bytes", tenant.name));
                }
            }
        }
        if let Some(css) = world.group_of(tenant, "io").and_then(|at| world.io.css(&at)) {
            let (rate, now) = (css.limits(&world.disk).rate(Dimension::Rbps), Instant::now());
            let Limit::At(rate) = rate else { return };
            let bytes = css.stats(&world.disk).rbytes;
            let flow =
                seen.flows.entry(tenant.name.clone()).or_insert(Flow { rate, from: now, bytes });
            if flow.rate != rate {
                *flow = Flow { rate, from: now, bytes };
                return;
            }
            // What was saved up, and what is in flight, come on top.
            let time = (now - flow.from).as_secs_f64() + 0.2;
            let most = time * rate as f64 + 4.0 * MIB;
            seen.compared += 1;
            let read = bytes.saturating_sub(flow.bytes);
            if read as f64 > most {
                seen.over.push(format!("{} has read {read} bytes in {time:.2} s", tenant.name));
            }
        }
    }

    /// What can be told before the trees are taken down.
    pub(crate) fn limits(&self) -> Invariant {
        let seen = self.seen.lock();
        let tested = (seen.compared > 0).then_some(seen.over.is_empty());
        let detail = match seen.over.first() {
            Some(first) => format!("{} times, at first: {first}", seen.over.len()),
            None => format!("memory.max and io.max, compared {} times", seen.compared),
        };
        Invariant::new("no limit is exceeded", tested, detail)
    }

    /// What groups were charged is still there when they are gone: at the root.
    pub(crate) fn usages(&self, root: Duration) -> Invariant {
        let seen = self.seen.lock();
        let sum: Duration = seen.usages.values().sum();
        let tested = (!seen.usages.is_empty()).then_some(root >= sum);
        let detail = format!(
            "{:.2} s at the root, {:.2} s were seen in groups",
            root.as_secs_f64(),
            sum.as_secs_f64()
        );
        Invariant::new("CPU time is kept when groups go", tested, detail)
    }

    /// Controllers go where they are told to go.
    pub(crate) fn moves(&self) -> Invariant {
        let seen = self.seen.lock();
        let (count, refused) = (seen.rebinds.len(), &seen.refused);
        let tested = (count + refused.len() > 0).then_some(refused.is_empty());
        let detail = match refused.first() {
            Some(first) => format!("{} of {}: {first}", refused.len(), count + refused.len()),
            None => format!("{count} rebinds"),
        };
        Invariant::new("no rebind is refused", tested, detail)
    }

    /// What belongs to a group goes along when its controller moves.
    pub(crate) fn carries(&self) -> Invariant {
        let seen = self.seen.lock();
        let tested = (seen.carried > 0).then_some(seen.changed.is_empty());
        let detail = match seen.changed.first() {
            Some(first) => format!("{} changed, at first: {first}", seen.changed.len()),
            None => format!("{} looked at under the old paths and the new ones", seen.carried),
        };
        Invariant::new("ids, limits and usage move along", tested, detail)
    }

    /// Every group that was to be noticed was, and none twice.
    pub(crate) fn notices(&self) -> Invariant {
        let seen = self.seen.lock();
        let mut ids = seen.noticed.clone();
        ids.sort_unstable();
        ids.dedup();
        let twice = seen.noticed.len() - ids.len();
        let missing = seen.awaited.iter().filter(|id| ids.binary_search(id).is_err()).count();
        let tested = (!seen.awaited.is_empty()).then_some(twice == 0 && missing == 0);
        let detail = format!("{} came, {missing} did not, {twice} came again", ids.len());
        Invariant::new("notices come once for each group", tested, detail)
    }
}

#[cfg(test)]
mod tests {
    use fief_core::Registry;

    use super::*;

    #[test]
    fn a_notice_that_does_not_come_and_one_that_comes_twice_are_seen() {
        let tree = Registry::new().create_hierarchy("tree").unwrap();
        let groups = ["one", "two"].map(|name| tree.root().create_child(name).unwrap());
        let checks = Checks::default();
        assert_eq!(checks.notices().verdict, Verdict::NotTested);
        checks.awaits(&groups);
        checks.noticed(&groups[0]);
        assert_eq!(checks.notices().verdict, Verdict::Broken);
        checks.noticed(&groups[1]);
        assert_eq!(checks.notices().verdict, Verdict::Held);
        checks.noticed(&groups[1]);
        let broken = checks.notices();
        assert_eq!(broken.verdict, Verdict::Broken);
        assert_eq!(broken.detail, "2 came, 0 did not, 1 came again");
    }

    #[test]
    fn what_was_refused_or_changed_by_a_rebind_is_told() {
        let checks = Checks::default();
        let verdicts = || [checks.moves().verdict, checks.carries().verdict];
        assert_eq!(verdicts(), [Verdict::NotTested; 2]);
        checks.rebound(&[Duration::from_micros(70)]);
        checks.carried(3, Vec::new());
        assert_eq!(verdicts(), [Verdict::Held; 2]);
        checks.refused("it is frozen".to_owned());
        checks.carried(3, vec!["/gold/cpu.weight".to_owned()]);
        assert_eq!(verdicts(), [Verdict::Broken; 2]);
        assert_eq!(checks.moves().detail, "1 of 2: it is frozen");
        assert!(checks.carries().detail.contains("/gold/cpu.weight"));
    }
}
