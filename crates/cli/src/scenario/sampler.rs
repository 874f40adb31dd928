//! How everybody does, ten times a second.

use std::{fs, time::Duration};

use fief_core::Limit;

use super::{checks::Checks, member::process_time, tenant::Tenant, world::World};

/// One look at everybody.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) at: Duration,
    /// CPU time of the process.
    pub(crate) process: Duration,
    /// CPU time that others had, on the whole machine, if that can be told.
    pub(crate) others: Option<Duration>,
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
        let others = busy().map(|busy| busy.saturating_sub(process));
        Self { at: world.now(), process, others, tenants }
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

/// CPU time of all processes, and what the machine itself was not given, since it started.
fn busy() -> Option<Duration> {
    /// In a second: what the kernel shows is in these, on every machine.
    const TICKS: u64 = 100;
    let text = fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let mut numbers = line.split_whitespace().map_while(|word| word.parse::<u64>().ok());
    let [user, nice, system, _idle, _iowait, irq, softirq, steal] =
        [(); 8].map(|()| numbers.next());
    let sum = user? + nice? + system? + irq? + softirq? + steal?;
    Some(Duration::from_millis(sum * (1000 / TICKS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn the_machine_has_been_busy() {
        assert!(busy().unwrap() > Duration::ZERO);
    }
}
