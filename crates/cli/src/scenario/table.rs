//! The report on the terminal.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets::NOTHING};

use super::{
    checks::Verdict,
    outcome::{ActOutcome, MIB, Outcome, TenantAct},
};

/// Everything that a reader should see first.
pub(crate) fn text(outcome: &Outcome) -> String {
    let mut text = String::from("\n");
    let latencies = served(&outcome.acts);
    if latencies.row_count() > 0 {
        text += "How requests were served. In time: answered within the objective, of those due\n\
                 in a tenth of a second; the worst hundredth of these windows (p01), and the mean.\n\
                 Slower: than in the first act, on average.\n\n";
        writeln!(text, "{latencies}\n").expect("writing to a string cannot fail");
    }
    text += "What everybody had. Work kept: of the CPU time that requests left, how much\n\
             the others had; a limit like cpu.max leaves the rest idle, as it should.\n\n";
    writeln!(text, "{}", had(&outcome.acts)).expect("writing to a string cannot fail");
    let sorts = outcome.tenants.iter().filter(|one| one.spills + one.waits + one.victims > 0);
    for tenant in sorts {
        writeln!(
            text,
            "\n{} was short of memory: it spilled {} times, waited {} times, and\n\
             gave up {} of {} queries as victims, so that others could go on.",
            tenant.name,
            tenant.spills,
            tenant.waits,
            tenant.victims,
            tenant.operations + tenant.victims,
        )
        .expect("writing to a string cannot fail");
    }
    if let Some(plain) = &outcome.plain {
        text += "\nThe same with nothing bound, as plain tokio tasks.\n\n";
        writeln!(text, "{}\n\n{}", served(plain), had(plain))
            .expect("writing to a string cannot fail");
    }
    if let Some(rebinds) = &outcome.rebinds {
        let rebinds = format!(
            "\n{} rebinds, {:.0} us each at the median and {:.0} at most. The p99 of a lookup,\n\
             as the median of windows: {} ns in {} with a rebind, {} ns in {} without:\n{}.",
            rebinds.count,
            rebinds.median_us,
            rebinds.max_us,
            rebinds.with.p99,
            rebinds.with.windows,
            rebinds.without.p99,
            rebinds.without.windows,
            rebinds.verdict,
        );
        text += &rebinds;
        text += "\n";
    }
    if let Some(others) = outcome.machine.others() {
        let machine = &outcome.machine;
        writeln!(text, "\n{} CPUs, {}; {others}.", machine.cpus, machine.kernel)
            .expect("writing to a string cannot fail");
    }
    text += "\n";
    for invariant in &outcome.invariants {
        let verdict = match invariant.verdict {
            Verdict::Held => "held",
            Verdict::Broken => "BROKEN",
            Verdict::NotTested => "not tested",
        };
        writeln!(text, "{verdict:>10}  {}: {}", invariant.name, invariant.detail)
            .expect("writing to a string cannot fail");
    }
    text
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(header.to_vec());
    for index in 1..header.len() {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn served(acts: &[ActOutcome]) -> Table {
    let mut table = table(&["act", "tenant", "p50 ms", "p99 ms", "in time: p01", "mean", "slower"]);
    for (number, act) in (1..).zip(acts) {
        for tenant in &act.tenants {
            let (Some(latency), Some(isol)) = (tenant.latency, tenant.isol) else { continue };
            table.add_row([
                format!("{number} {}", act.title),
                tenant.name.clone(),
                format!("{:.2}", latency.p50),
                format!("{:.2}", latency.p99),
                format!("{:.0} %", isol.p01),
                format!("{:.1} %", isol.mean),
                tenant.lat_imp.map_or(String::new(), |impact| format!("{:.0} %", impact.mean)),
            ]);
        }
    }
    table
}

fn had(acts: &[ActOutcome]) -> Table {
    let mut table =
        table(&["act", "tenant", "a second", "CPUs", "disk MB/s", "memory MiB", "work kept"]);
    for (number, act) in (1..).zip(acts) {
        for (place, tenant) in act.tenants.iter().enumerate() {
            let kept = act.work_csv.filter(|_| place == 0);
            table.add_row([
                if place == 0 { format!("{number}") } else { String::new() },
                tenant.name.clone(),
                format!("{:.0} {}", tenant.operations, tenant.unit),
                format!("{:.2}", tenant.cpu),
                format!("{:.0}", tenant.bytes / 1e6),
                memory(tenant),
                kept.map_or(String::new(), |kept| format!("{kept:.0} %")),
            ]);
        }
    }
    table
}

fn memory(tenant: &TenantAct) -> String {
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / MIB);
    match (tenant.memory, tenant.memory_max) {
        (None, _) => String::new(),
        (Some(now), None) => mib(now),
        (Some(now), Some(max)) => format!("{} / {}", mib(now), mib(max)),
    }
}
