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
            if (bytes - flow.bytes) as f64 > most {
                let name = &tenant.name;
                seen.over
                    .push(format!("{name} has read {} bytes in {time:.2} s", bytes - flow.bytes));
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

    /// Every group that was to be noticed was, once.
    pub(crate) fn notices(&self) -> Invariant {
        let seen = self.seen.lock();
        let mut ids = seen.noticed.clone();
        ids.sort_unstable();
        ids.dedup();
        let count = seen.noticed.len();
        let tested = (count > 0).then_some(ids.len() == count);
        Invariant::new("notices come once for each group", tested, format!("{count} notices"))
    }
}
