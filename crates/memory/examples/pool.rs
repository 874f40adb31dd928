//! A query engine's memory pool, as a tree: `fief-core` and `fief-memory` alone.
//!
//! What a hand-written pool has is here: one budget, reservations that are given back by themselves, a
//! refusal that says who is full. What it mostly lacks is here as well: budgets of tenants within that of the
//! process, limits that change while queries run, and figures that add up.
#![expect(clippy::print_stdout, reason = "it is an example")]

use std::{error::Error, thread};

use fief_core::{Cgroup, Controller, Limit, Registry, Removal};
use fief_memory::{ChargeError, Memory, Reservation};

const M: u64 = 1 << 20;

/// The pool: what the service hands to every query.
struct Pool {
    memory: Controller<Memory>,
    root: Cgroup,
}

/// One query: a group of its own, and what its operators hold.
struct Query {
    group: Cgroup,
    hash_table: Reservation,
    sort_buffer: Reservation,
}

impl Pool {
    fn new(budget: u64) -> Result<Self, Box<dyn Error>> {
        let registry = Registry::new();
        let tenants = registry.create_hierarchy("by-tenant")?;
        let memory = registry.register(Memory::new())?;
        memory.bind(&tenants)?;
        let root = tenants.root();
        root.write("memory.max", &budget.to_string())?;
        Ok(Self { memory, root })
    }

    fn tenant(&self, name: &str, max: &str) -> Result<Cgroup, Box<dyn Error>> {
        let tenant = self.root.create_child(name)?;
        tenant.write("memory.max", max)?;
        Ok(tenant)
    }

    fn query(&self, tenant: &Cgroup, name: &str) -> Result<Query, Box<dyn Error>> {
        let group = tenant.create_child(name)?;
        let css = self.memory.css(&group).ok_or("the query is gone")?;
        Ok(Query { group, hash_table: css.reserve(), sort_buffer: css.reserve() })
    }
}

impl Query {
    /// Builds and sorts, in so many steps of a MiB each; returns how far it came.
    fn run(&mut self, steps: u64) -> (u64, Result<(), ChargeError>) {
        for step in 0..steps {
            let grown = self.hash_table.grow(M).and_then(|()| self.sort_buffer.grow(M / 2));
            if grown.is_err() {
                return (step, grown);
            }
        }
        (steps, Ok(()))
    }

    /// Ends the query: everything it holds goes back, and its group away.
    fn end(self) -> Result<(), Box<dyn Error>> {
        let Self { group, hash_table, sort_buffer } = self;
        drop((hash_table, sort_buffer));
        Ok(group.remove(Removal::Detach)?)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let pool = Pool::new(100 * M)?;
    let (reports, adhoc) = (pool.tenant("reports", "80M")?, pool.tenant("adhoc", "30M")?);

    // A tenant is refused by its own limit, and told by whom.
    let mut scan = pool.query(&adhoc, "scan")?;
    let (steps, ended) = scan.run(50);
    println!("scan came to step {steps}: {}", ended.err().map_or(String::new(), |e| e.to_string()));

    // Its limit is raised while it runs: no restart, no new pool.
    adhoc.write("memory.max", "45M")?;
    let (steps, ended) = scan.run(5);
    println!("scan went on for {steps} steps: {ended:?}");

    // Queries of another tenant fill the process, each on a thread of its own.
    let mut queries = Vec::new();
    for number in 0..4 {
        queries.push(pool.query(&reports, &format!("report-{number}"))?);
    }
    let refusals = thread::scope(|scope| {
        let run = |query| scope.spawn(move || Query::run(query, 20).1.err());
        let threads: Vec<_> = queries.iter_mut().map(run).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect::<Vec<_>>()
    });
    let by_process = refusals.iter().filter(|error| error.to_string().contains(" of / reached"));
    println!("{} of 4 reports are refused by the budget of the process", by_process.count());

    // A limit below what is held takes nothing from anybody: what is held stays good.
    let css = pool.memory.css(&reports).ok_or("the tenant is gone")?;
    let held = css.set_max(Limit::At(10 * M));
    println!("reports holds {held} bytes, 10485760 allowed from now on");

    for group in pool.root.descendants_pre() {
        let read = |file: &str| group.read(file).map(|text| text.trim_end().to_owned());
        let (current, max) = (read("memory.current")?, read("memory.max")?);
        println!("{:20} {current:>10} of {max:>10}", group.path());
    }

    queries.into_iter().try_for_each(Query::end)?;
    scan.end()?;
    print!("all ended: {}", pool.root.read("memory.current")?);
    Ok(())
}
