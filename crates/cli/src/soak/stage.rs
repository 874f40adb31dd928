//! What all threads of a soak share.

use std::{
    net::SocketAddr,
    num::NonZero,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use fief_core::Controller;
use fief_cpu::{Cpu, Pool};
use fief_io::Io;
use fief_memory::{Memory, ReclaimerGuard};

use crate::{
    options::SoakOptions,
    soak::{
        controller::Queries,
        cpu::{Accounts, Phases},
        gate::Gate,
        inflight::InFlight,
        io::Disk,
        lookup::Windows,
        memory::Budget,
        pair::Trees,
        sample::{self, Sampler},
        tally::Tally,
    },
    sync::{Arc, Count, Flag, Mutex, thread},
    workload::{
        archive::Archive,
        buffers::Buffers,
        data::Lineitem,
        query::{Answer, Query},
        reports::Reports,
    },
};

/// A tenant's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// Answers requests over TCP.
    Api,
    /// Runs queries.
    Analytics,
    /// Writes files.
    Backup,
}

/// Something of each tenant, in the order of [`Who::ALL`].
pub(crate) type ByTenant<T> = [T; Who::ALL.len()];

/// A tenant.
#[derive(Debug, Default)]
pub(crate) struct Tenant {
    pub(crate) gate: Gate,
    pub(crate) tally: Arc<Tally>,
}

/// The input of a soak, and what it cost to make.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) data: Arc<Lineitem>,
    /// Every query with the answer it must give, but for the sorts.
    pub(crate) queries: Vec<(Query, Answer)>,
    pub(crate) sorts: Vec<(Query, Answer)>,
    pub(crate) took: Duration,
}

/// The trees, the tenants, the data and the files, and where to reach the server.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) trees: Trees,
    pub(crate) queries: Controller<Queries>,
    pub(crate) inflight: Controller<InFlight>,
    pub(crate) memory: Controller<Memory>,
    pub(crate) cpu: Controller<Cpu>,
    pub(crate) io: Controller<Io>,
    pub(crate) disk: Disk,
    /// How many jobs run at a time.
    pub(crate) cpus: usize,
    /// What runs the jobs of all members.
    pub(crate) pool: Pool,
    pub(crate) accounts: Accounts,
    pub(crate) phases: Phases,
    /// While tenant `analytics` has groups.
    pub(crate) reports: Mutex<Option<Reports>>,
    pub(crate) budget: Budget,
    pub(crate) input: Input,
    pub(crate) archive: Archive,
    pub(crate) buffers: Arc<Buffers>,
    /// Has the buffers asked to give way, in the group that they are charged to.
    pub(crate) giving_way: Mutex<Option<ReclaimerGuard>>,
    pub(crate) address: SocketAddr,
    pub(crate) options: SoakOptions,
    /// Raised when the time is up: whoever asks for work stops asking.
    pub(crate) ending: Flag,
    /// Held by whoever makes or removes a tenant's own groups, and by whoever moves the controllers:
    /// who names counterparts wants them to stay.
    pub(crate) tops: Mutex<()>,
    /// Rebinds so far.
    pub(crate) rebinds: Count,
    /// Usages compared with the books while nobody charged, and those that differed.
    pub(crate) audited: Count,
    pub(crate) misread: Count,
    pub(crate) windows: Windows,
    tenants: ByTenant<Tenant>,
    clock: Duration,
    yardstick: Arc<()>,
}

impl Who {
    pub(crate) const ALL: [Self; 3] = [Self::Api, Self::Analytics, Self::Backup];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Analytics => "analytics",
            Self::Backup => "backup",
        }
    }

    /// The name of its counterpart in the tree by plan.
    pub(crate) const fn plan(self) -> &'static str {
        match self {
            Self::Api => "gold",
            Self::Analytics => "silver",
            Self::Backup => "bronze",
        }
    }

    /// What one operation is called, in the plural.
    pub(crate) const fn operations(self) -> &'static str {
        match self {
            Self::Api => "requests",
            Self::Analytics => "queries",
            Self::Backup => "files",
        }
    }
}

impl Input {
    /// Makes the data and finds the right answers; `None` if `stop` is raised meanwhile.
    ///
    /// # Errors
    ///
    /// When the table is too large to be addressed by the protocol.
    pub(crate) fn make(scale: f64, stop: &Flag) -> Result<Option<Self>> {
        let start = Instant::now();
        let Some(data) = Lineitem::generate(scale, stop) else { return Ok(None) };
        ensure!(u32::try_from(data.len()).is_ok(), "{} rows are too many", data.len());
        let Some(queries) = Query::with_answers(&data, stop) else { return Ok(None) };
        let (sorts, queries) =
            queries.into_iter().partition(|(query, _)| matches!(query, Query::Sort { .. }));
        let data = Arc::new(data);
        Ok(Some(Self { data, queries, sorts, took: start.elapsed() }))
    }
}

impl Stage {
    /// Sets up two empty trees, and controllers that are bound to neither.
    ///
    /// # Errors
    ///
    /// Those of the registry.
    pub(crate) fn new(
        options: SoakOptions,
        input: Input,
        archive: Archive,
        address: SocketAddr,
    ) -> Result<Self> {
        let trees = Trees::new()?;
        let queries = trees.registry.register(Queries::default())?;
        let inflight = InFlight::new(queries.subsystem().ledger());
        let inflight = trees.registry.register(inflight)?;
        let budget = Budget::of(input.data.len());
        let memory = Memory::builder().spill_floor(budget.piece).build();
        let memory = trees.registry.register(memory)?;
        let cpus = thread::available_parallelism().map_or(1, NonZero::get);
        let cpu = trees.registry.register(Cpu::new())?;
        let pool = Pool::builder(&cpu).workers(cpus).start()?;
        let io = trees.registry.register(Io::new())?;
        let disk = Disk::new(&io)?;
        let tenants = ByTenant::<Tenant>::default();
        let buffers = Buffers::new(&tenants[Who::Backup as usize].tally);
        Ok(Self {
            trees,
            queries,
            inflight,
            memory,
            cpu,
            io,
            disk,
            cpus,
            pool,
            accounts: Accounts::default(),
            phases: Phases::default(),
            reports: Mutex::default(),
            budget,
            input,
            archive,
            buffers,
            giving_way: Mutex::default(),
            address,
            options,
            ending: Flag::default(),
            tops: Mutex::default(),
            rebinds: Count::default(),
            audited: Count::default(),
            misread: Count::default(),
            windows: Windows::default(),
            tenants,
            clock: sample::clock_overhead(),
            yardstick: Arc::default(),
        })
    }

    pub(crate) fn tenant(&self, who: Who) -> &Tenant {
        &self.tenants[who as usize]
    }

    pub(crate) fn sampler(&self) -> Sampler {
        Sampler::new(self.clock, &self.yardstick)
    }

    /// What a sampler takes off each measurement.
    pub(crate) fn clock(&self) -> Duration {
        self.clock
    }

    /// A generator of random numbers of its own for worker `index` of `who`.
    pub(crate) fn rng(&self, who: Who, index: u32) -> fastrand::Rng {
        let stream = Who::ALL.len() as u64 * u64::from(index) + who as u64;
        fastrand::Rng::with_seed(self.options.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ stream)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    use clap::Parser as _;

    use crate::options::{Command, Options};

    /// A stage with six thousand rows whose clients ask at `address`.
    pub(crate) fn small_stage(address: SocketAddr) -> Stage {
        let arguments = ["fief", "soak", "--scale", "0.001"];
        let Command::Soak(options) = Options::try_parse_from(arguments).unwrap().command else {
            unreachable!("it is a soak")
        };
        let input = Input::make(options.scale, &Flag::default()).unwrap().unwrap();
        let archive = Archive::make(None).unwrap();
        Stage::new(options, input, archive, address).unwrap()
    }

    #[test]
    fn stopped_input_is_none() {
        let stop = Flag::default();
        stop.raise();
        assert!(Input::make(0.001, &stop).unwrap().is_none());
    }

    #[test]
    fn workers_do_not_share_their_random_numbers() {
        let stage = small_stage(SocketAddr::from(([127, 0, 0, 1], 0)));
        let draw = |who, index| stage.rng(who, index).u64(..);
        assert_eq!(draw(Who::Api, 0), draw(Who::Api, 0));
        assert_ne!(draw(Who::Api, 0), draw(Who::Api, 1));
        assert_ne!(draw(Who::Api, 0), draw(Who::Analytics, 0));
    }
}
