//! `report.html`: one page that needs nothing else.

use std::fmt::Write as _;

use super::{
    checks::Verdict,
    outcome::{ActOutcome, MIB, Outcome},
    plot::Plot,
};

const STYLE: &str = "
body { font: 15px/1.45 system-ui, sans-serif; max-width: 900px; margin: 2em auto; padding: 0 1em; color: #1b1b1b }
h1 { margin-bottom: 0 } h2 { margin-top: 1.6em }
table { border-collapse: collapse; margin: .6em 0 } td, th { padding: .15em .7em; text-align: right }
td:first-child, th:first-child { text-align: left } th { border-bottom: 1px solid #999; font-weight: 600 }
.claim { color: #444 } .broken { color: #b00020; font-weight: 600 } .held { color: #00704a }
figure { margin: 1.2em 0 } figcaption { color: #444 } svg { max-width: 100%; height: auto }
code { background: #f2f2f2; padding: 0 .25em }
";

/// The page.
pub(crate) fn page(outcome: &Outcome, plots: &[Plot]) -> String {
    let title = escaped(&outcome.title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n<p>{}</p>\n",
        escaped(outcome.about.trim())
    );
    let machine = &outcome.machine;
    write(
        &mut page,
        format_args!(
            "<p class=\"claim\"><code>{}</code>: {:.0} seconds on {} CPUs ({}), {}; {}; the file is read and written {}; seed {}.{}</p>\n",
            escaped(&machine.command),
            outcome.seconds,
            machine.cpus,
            escaped(machine.processor.as_deref().unwrap_or("unknown")),
            escaped(&machine.kernel),
            machine.others().unwrap_or_else(|| "what others had is unknown".to_owned()),
            if machine.is_direct { "past the page cache" } else { "through the page cache" },
            outcome.seed,
            if machine.is_debug_build {
                " <b>A debug build: figures are of no use.</b>"
            } else {
                ""
            },
        ),
    );
    for plot in plots {
        write(
            &mut page,
            format_args!(
                "<figure>\n{}\n<figcaption>{} Numbers: where acts begin.</figcaption></figure>\n",
                plot.svg,
                escaped(&plot.caption)
            ),
        );
    }
    for (number, act) in (1..).zip(&outcome.acts) {
        write_act(&mut page, number, act);
    }
    if let Some(plain) = &outcome.plain {
        page += "<h2>The same with nothing bound, as plain tokio tasks</h2>\n";
        for (number, act) in (1..).zip(plain) {
            write_act(&mut page, number, act);
        }
    }
    write_rebinds(&mut page, outcome);
    write_invariants(&mut page, outcome);
    page += "<p class=\"claim\">All figures are in <code>report.json</code>.</p>\n</body></html>\n";
    page
}

fn write_rebinds(page: &mut String, outcome: &Outcome) {
    if let Some(rebinds) = &outcome.rebinds {
        write(
            page,
            format_args!(
                "<h2>Rebinds</h2>\n<p>{} rebinds, {:.0} µs each at the median and {:.0} µs at most. The p99 of a \
                 lookup, as the median over windows: {} ns with a rebind ({} windows), {} ns without ({}): {}.</p>\n",
                rebinds.count,
                rebinds.median_us,
                rebinds.max_us,
                rebinds.with.p99,
                rebinds.with.windows,
                rebinds.without.p99,
                rebinds.without.windows,
                rebinds.verdict
            ),
        );
    }
}

fn write_invariants(page: &mut String, outcome: &Outcome) {
    *page += "<h2>What has to hold</h2>\n<table>\n";
    for invariant in &outcome.invariants {
        let (class, verdict) = match invariant.verdict {
            Verdict::Held => ("held", "held"),
            Verdict::Broken => ("broken", "broken"),
            Verdict::NotTested => ("claim", "not tested"),
        };
        write(
            page,
            format_args!(
                "<tr><td>{}</td><td class=\"{class}\">{verdict}</td><td>{}</td></tr>\n",
                invariant.name,
                escaped(&invariant.detail)
            ),
        );
    }
    *page += "</table>\n";
}

fn write_act(page: &mut String, number: usize, act: &ActOutcome) {
    write(
        page,
        format_args!(
            "<h2>{number}. {}</h2>\n<p class=\"claim\">{}</p>\n",
            escaped(&act.title),
            escaped(&act.claim)
        ),
    );
    if !act.deeds.is_empty() {
        *page += "<ul>\n";
        for deed in &act.deeds {
            write(page, format_args!("<li>{:.1} s: {}</li>\n", deed.at, escaped(&deed.what)));
        }
        *page += "</ul>\n";
    }
    *page += "<table><tr><th>tenant</th><th>a second</th><th>CPUs</th><th>disk MB/s</th><th>memory MiB</th>\
              <th>p50 ms</th><th>p99 ms</th><th>isol% p01</th><th>mean</th><th>lat-imp% mean</th></tr>\n";
    for tenant in &act.tenants {
        let mib = |bytes: Option<u64>| figure(bytes.map(|bytes| bytes as f64 / MIB), 1);
        write(
            page,
            format_args!(
                "<tr><td>{}</td><td>{:.0} {}</td><td>{:.2}</td><td>{:.0}</td><td>{}{}{}</td><td>{}</td><td>{}</td>\
                 <td>{}</td><td>{}</td><td>{}</td></tr>\n",
                escaped(&tenant.name),
                tenant.operations,
                tenant.unit,
                tenant.cpu,
                tenant.bytes / 1e6,
                mib(tenant.memory),
                if tenant.memory_max.is_some() { " / " } else { "" },
                mib(tenant.memory_max),
                figure(tenant.latency.map(|latency| latency.p50), 2),
                figure(tenant.latency.map(|latency| latency.p99), 2),
                figure(tenant.isol.map(|isol| isol.p01), 1),
                figure(tenant.isol.map(|isol| isol.mean), 1),
                figure(tenant.lat_imp.map(|impact| impact.mean), 0),
            ),
        );
    }
    *page += "</table>\n";
    if let Some(kept) = act.work_csv {
        write(
            page,
            format_args!(
                "<p>Of the CPU time that requests left, the others had {kept:.0} % (work_csv).</p>\n"
            ),
        );
    }
}

fn figure(figure: Option<f64>, digits: usize) -> String {
    figure.map_or(String::new(), |figure| format!("{figure:.digits$}"))
}

fn write(page: &mut String, text: std::fmt::Arguments<'_>) {
    page.write_fmt(text).expect("writing to a string cannot fail");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_scenario_says_is_no_markup() {
        assert_eq!(escaped("<b> & \"c\""), "&lt;b&gt; &amp; &quot;c&quot;");
    }
}
