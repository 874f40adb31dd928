//! How everybody does, ten times a second.

use std::time::Duration;

use fief_core::Limit;

use super::{
    checks::Checks,
    machine::{Busy, load},
    member::process_time,
    tenant::Tenant,
    world::World,
};

/// One look at everybody.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Duration,
    /// CPU time of the process.
    pub(crate) process: Duration,
    /// CPU time that others had, on the whole machine, if that can be told.
    pub(crate) others: Option<Duration>,
    /// CPU time that the machine itself was not given.
    pub(crate) stolen: Option<Duration>,
    /// How many threads ran or wanted to, on the whole machine, in the last minute.
    pub(crate) load: Option<f64>,
    pub(crate) tenants: Vec<Figures>,
}

/// One look at a tenant.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) operations: u64,
    pub(crate) cpu: Duration,
    /// To and from the file.
    pub(crate) bytes: u64,
    /// Charged; `None` while the controller is not bound.
    pub(crate) memory: Option<u64>,
    pub(crate) max: Option<u64>,
}

impl Sample {
    /// Looks, and compares with the limits.
    pub(crate) fn take(world: &World, checks: &Checks) -> Self {
        let process = process_time();
        let tenants = world.tenants.iter().map(|tenant| {
            checks.compare(world, tenant);
            checks.peak(world, tenant);
            Figures::of(world, tenant)
        });
        let tenants = tenants.collect();
        let busy = Busy::now();
        Self {
            at: world.now(),
            process,
            others: busy.map(|busy| busy.all.saturating_sub(process)),
            stolen: busy.map(|busy| busy.stolen),
            load: load(),
            tenants,
        }
    }
}

impl Figures {
    fn of(world: &World, tenant: &Tenant) -> Self {
        let tally = &tenant.tally;
        let css = world.group_of(tenant, "memory").and_then(|group| world.memory.css(&group));
        let max = css.as_ref().and_then(|css| match css.max() {
            Limit::At(bytes) => Some(bytes),
            Limit::Max => None,
        });
        Self {
            operations: tally.operations.get(),
            cpu: Duration::from_nanos(tally.cpu.get()),
            bytes: tally.read.get() + tally.written.get() + tally.unasked.get(),
            memory: css.map(|css| css.current()),
            max,
        }
    }
}
