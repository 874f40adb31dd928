//! `fief run` and `fief tour`, as a user runs them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

/// Three short acts of everybody, bound, changed, rebound and removed.
const SMALL: &str = r#"
title = "Small"
about = "Everything that can be done, in little time."
trees = ["by-tenant", "by-plan"]
data = { scale = 0.001 }

[[tenant]]
name = "api"
groups = ["/api", "/gold"]
requests = { rate = 200, users = 2 }

[[tenant]]
name = "analytics"
groups = ["/analytics", "/silver"]
queries = { concurrent = 3, sorts = 2 }

[[tenant]]
name = "backup"
groups = ["/backup", "/bronze"]
backup = { streams = 4 }

[[act]]
title = "bound"
claim = "controllers are bound with everybody at work"
lasts = "1s"
start = ["api", "analytics", "backup"]
[[act.do]]
at = "300ms"
bind = ["memory", "cpu", "io"]
[[act.do]]
at = "500ms"
write = { "/api/cpu.weight" = "1000", "/backup/io.max" = "disk rbps=200M", "/analytics/memory.max" = "8M" }

[[act]]
title = "rebound"
claim = "to the other tree"
lasts = "1s"
[[act.do]]
rebind = { controllers = ["cpu", "io"], to = "by-plan", times = 5, every = "40ms" }
[[act.do]]
write = { "/silver/cpu.weight" = "50" }
[[act.do]]
show = ["/silver/cpu.weight", "/analytics/memory.max"]
[[act.do]]
move = { tenant = "analytics", tree = "by-plan", to = "/bronze" }

[[act]]
title = "removed"
claim = "one by notice, one at once"
lasts = "1s"
[[act.do]]
remove = { tenant = "analytics", policy = "notice" }
[[act.do]]
at = "200ms"
remove = { tenant = "backup", policy = "detach" }
"#;

fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory beside what is built")
}

fn fief(args: &[&str], directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fief"));
    command.args(args).current_dir(directory).env("TMPDIR", directory).stdin(Stdio::null());
    command
}

/// Runs a scenario of that text.
fn run(text: &str, args: &[&str], directory: &Path) -> Output {
    let path: PathBuf = directory.join("small.toml");
    fs::write(&path, text).expect("the directory can be written");
    let mut command = fief(&["run", "small.toml", "--plain"], directory);
    command.args(args).output().expect("the binary starts")
}

/// What is in a directory, in order.
fn left(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).expect("the directory can be read");
    let names = names.map(|file| file.expect("it can be read").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_scenario_runs_to_its_end_and_its_report_says_so() {
    let directory = directory();
    let output = run(SMALL, &["--out", "report", "--compare", "none"], directory.path());
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", text(&output.stderr));
    for part in [
        "Act 3 of 3: removed",
        "cpu io rebound to by-plan",
        "/silver/cpu.weight is 50; /analytics/memory.max is 8388608",
        "members of analytics moved",
        "The same with nothing bound",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("BROKEN") && !said.contains('\u{1b}'), "{said}");
    let report = directory.path().join("report");
    let json = fs::read(report.join("report.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let verdicts = json["invariants"].as_array().unwrap();
    assert!(
        verdicts.len() >= 9 && verdicts.iter().all(|one| one["verdict"] == "held"),
        "{verdicts:?}"
    );
    assert!(json["acts"][0]["tenants"][0]["isol"]["p01"].is_number(), "{}", json["acts"][0]);
    assert_eq!(json["rebinds"]["count"], 5);
    assert_eq!(json["plain"].as_array().map(Vec::len), Some(3));
    let page = fs::read_to_string(report.join("report.html")).unwrap();
    assert!(page.contains("<svg") && !page.contains("http://www.example"), "plots are in the page");
    assert!(!page.contains("<script") && !page.contains("<link"), "it needs nothing else");
    assert_eq!(left(directory.path()), ["report", "small.toml"]);
}

#[test]
fn what_is_wrong_in_a_scenario_is_told_with_its_line_and_key() {
    let directory = directory();
    let refused = |from: &str, to: &str, expected: &[&str]| {
        assert!(SMALL.contains(from), "{from}");
        let output = run(&SMALL.replacen(from, to, 1), &[], directory.path());
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{to}: {error}");
        for part in expected {
            assert!(error.contains(part), "{to}: {part} is not in {error}");
        }
        assert!(!directory.path().join("fief-report").exists(), "{to}: a directory was made");
    };
    refused("rate = 200", "rat = 200", &["line 10", "rat", "rate"]);
    refused("rate = 200", "rate = 0", &["line 10", "`rate` is 0, not in 1..=20000"]);
    refused("rate = 200, ", "", &["line 8", "either a rate or arrivals"]);
    refused("lasts = \"1s\"", "lasts = \"soon\"", &["line 25", "lasts", "\"soon\""]);
    refused("lasts = \"1s\"", "lasts = \"1ms\"", &["line 25", "`lasts` is 1ms, not in 500ms..=1h"]);
    refused(
        "\"backup\"]",
        "\"backups\"]",
        &["line 26", "`start` names \"backups\"", "api, analytics, backup"],
    );
    refused("bind = [\"memory\"", "bind = [\"mem\"", &["line 29", "\"mem\"", "memory, cpu, io"]);
    refused("at = \"500ms\"", "at = \"5s\"", &["line 30", "`at` is 5s; the act lasts 1s"]);
    refused("\"/api/cpu.weight\"", "\"api\"", &["line 32", "\"/group/cpu.weight\""]);
    refused("times = 5", "times = 4", &["line 39", "`times` is 4", "odd"]);
    refused("to = \"by-plan\"", "to = \"by-moon\"", &["line 39", "by-tenant, by-plan"]);
    refused("\"/gold\"]", "\"gold\"]", &["line 9", "\"gold\"", "\"/name\""]);
    refused("policy = \"notice\"", "policy = \"now\"", &["line 52", "now", "notice"]);
    refused("title = \"Small\"", "title = ", &["line 2"]);
}

#[test]
fn what_is_refused_while_it_runs_is_told_and_no_report_is_written() {
    let directory = directory();
    let text_of = SMALL.replace("disk rbps=200M", "disk rbps=fast");
    let output = run(&text_of, &["--out", "report"], directory.path());
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("io.max") && error.contains("fast"), "{error}");
    assert_eq!(fs::read_dir(directory.path().join("report")).unwrap().count(), 0);
    assert_eq!(left(directory.path()), ["report", "small.toml"]);
}

#[test]
fn a_rebind_that_is_refused_is_a_broken_invariant_and_the_report_says_why() {
    let directory = directory();
    // Of the two, one is there already.
    let alone = "rebind = { controllers = [\"cpu\"], to = \"by-plan\" }\n[[act.do]]\nrebind = { controllers = [\"io\", \"cpu\"]";
    let text_of = SMALL.replace("rebind = { controllers = [\"cpu\", \"io\"]", alone);
    let output = run(&text_of, &["--out", "report"], directory.path());
    let (said, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}\n{error}");
    assert!(said.contains("BROKEN  no rebind is refused: 1 of 2"), "{said}");
    assert!(error.contains("1 invariant is broken"), "{error}");
    let json = fs::read(directory.path().join("report/report.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let verdicts = json["invariants"].as_array().unwrap();
    assert!(verdicts.iter().any(|one| one["verdict"] == "broken"), "{verdicts:?}");
}

#[test]
fn a_scenario_that_is_not_there_is_told_with_those_that_are() {
    let directory = directory();
    let error = |name: &str| {
        let output = fief(&["run", name], directory.path()).output().expect("the binary starts");
        assert_eq!(output.status.code(), Some(1), "{name}");
        text(&output.stderr)
    };
    let told = error("noisy");
    assert!(
        told.contains("\"noisy\"") && told.contains("noisy-neighbour, memory-squeeze"),
        "{told}"
    );
    let told = error("none.toml");
    assert!(told.contains("cannot read none.toml"), "{told}");
    let told = error("azure-replay");
    assert!(told.contains("azure-llm-2023-conv.csv") && told.contains("--arrivals"), "{told}");
}

#[test]
fn a_place_that_cannot_be_used_is_told_before_anything_runs() {
    let directory = directory();
    fs::write(directory.path().join("taken"), "").unwrap();
    let error = |args: &[&str]| {
        let output = run(SMALL, args, directory.path());
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(!text(&output.stdout).contains("Act 1"), "{args:?}");
        text(&output.stderr)
    };
    let told = error(&["--out", "taken/report"]);
    assert!(told.contains("taken/report") && told.contains("--out"), "{told}");
    let told = error(&["--dir", "none"]);
    assert!(told.contains("none") && told.contains("--dir"), "{told}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let output = run(SMALL, &["--port", &port], directory.path());
    let told = text(&output.stderr);
    assert!(told.contains("in use") && told.contains("--port"), "{told}");
}
