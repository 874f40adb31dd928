//! A worker pool whose tenants may have so many workers each: `fief-core` and `fief-tasks` alone.
#![expect(clippy::print_stdout, reason = "it is an example")]

use std::error::Error;

use fief_core::{Registry, Task};
use fief_tasks::Tasks;

fn main() -> Result<(), Box<dyn Error>> {
    let registry = Registry::new();
    let tenants = registry.create_hierarchy("by-tenant")?;
    let tasks = registry.register(Tasks::new())?;
    tasks.bind(&tenants)?;
    for (name, max) in [("small", "2"), ("large", "5")] {
        tenants.root().create_child(name)?.write("tasks.max", max)?;
    }

    // Each tenant asks for four workers; what exceeds its limit is told, and can wait or be refused.
    let mut workers: Vec<Task> = Vec::new();
    for tenant in tenants.root().children() {
        for number in 1..=4 {
            match tenant.create_task(&format!("{} {number}", tenant.name())) {
                Ok(worker) => workers.push(worker),
                Err(refused) => println!("{refused}"),
            }
        }
    }
    for tenant in tenants.root().children() {
        print!("{} has {}", tenant.path(), tenant.read("tasks.current")?);
    }
    drop(workers);
    print!("all gone: {}", tenants.root().read("tasks.current")?);
    Ok(())
}
