//! Scripts under load: those that `cargo xtask integration` runs, shorter, and what is refused.

use fief_testing::load::{self, Summary};

/// Runs the script of that name with each `repeat` done twice and a tenth of the work.
fn run_shorter(script: &str) -> Summary {
    let shorter = |line: &str| match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["repeat", _] => "repeat 2".to_owned(),
        ["work", charges] => format!("work {}", charges.parse::<u64>().expect("a number") / 10),
        _ => line.to_owned(),
    };
    let script: Vec<String> = script.lines().map(shorter).collect();
    load::run(&script.join("\n"), 2).expect("all sums agree")
}

#[test]
fn controllers_go_there_and_back() {
    let summary = run_shorter(include_str!("../scripts/there-and-back.script"));
    assert_eq!((summary.threads, summary.rebinds, summary.refused), (2, 6, 0));
    assert!(summary.lookups > 0 && summary.charged > 0 && summary.rests > 0);
}

#[test]
fn limits_are_kept_under_other_names() {
    let summary = run_shorter(include_str!("../scripts/renamed-under-max.script"));
    assert_eq!(summary.rebinds, 9);
    assert!(summary.refused > 0);
}

#[test]
fn trees_change_between_rebinds() {
    assert_eq!(run_shorter(include_str!("../scripts/come-and-go.script")).rebinds, 6);
}

#[test]
fn tasks_are_counted_where_they_are() {
    let summary = run_shorter(include_str!("../scripts/tasks.script"));
    assert_eq!((summary.rebinds, summary.rests), (8, 12));
    assert!(summary.tasks_made > 0 && summary.tasks_refused > 0, "{summary}");
}

#[test]
fn bytes_are_counted_where_they_were_charged() {
    let summary = run_shorter(include_str!("../scripts/memory.script"));
    assert_eq!(summary.rebinds, 4);
    assert!(summary.bytes_charged > 0 && summary.bytes_refused > 0, "{summary}");
}

#[test]
fn jobs_run_where_their_tasks_are() {
    let summary = run_shorter(include_str!("../scripts/cpu.script"));
    assert_eq!(summary.rebinds, 4);
    assert!(summary.jobs > summary.jobs_cancelled, "{summary}");
}

#[test]
fn operations_are_counted_where_they_were_granted() {
    let summary = run_shorter(include_str!("../scripts/io.script"));
    assert_eq!(summary.rebinds, 4);
    assert!(summary.operations > summary.operations_refused, "{summary}");
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    let cases = [
        ("hierarchy h\nmkdr a", "line 2: at `mkdr`: no such command"),
        ("hierarchy h; mkdir a; mkdir a", "line 1: /a exists"),
        ("# nothing\nend", "line 2: `end` without `repeat`"),
        ("repeat 2\nrest", "line 1: `repeat` without `end`"),
        ("repeat 2\nrepeat 2\nend\nend", "line 2: `repeat` within `repeat`"),
        ("repeat x\nend", "line 1: `x` is not a number"),
        ("work 1", "line 1: there is no task, or no subsystem, to work for"),
        ("hierarchy h; show", "line 1: `show` is not for scripts under load"),
        ("rebind bytes h", "line 1: no subsystem bytes"),
        ("hierarchy h; rebind h", "line 1: at `rebind`: an argument is missing"),
        ("mkdir a", "line 1: no hierarchy is selected"),
        ("hierarchy h; charge memory / 1", "line 1: memory is not bound to /"),
        (
            "hierarchy h; charge bytes / 1",
            "line 1: `charge bytes / 1` is not for scripts under load",
        ),
        (
            "hierarchy h; register memory; bind memory h\necho 5 > memory.max\ncharge memory / 6",
            "line 3: memory.max of / reached: 0 of 5 bytes in use, 6 asked",
        ),
        (
            "hierarchy h; register memory; bind memory h\nuncharge memory / 6",
            "line 2: the script holds 0",
        ),
        ("uncharge memory / x", "line 1: `x` is not a number"),
        ("hierarchy h\nrefused mkdir a", "line 2: `mkdir a` was not refused"),
        ("refused mkdr a", "line 1: at `mkdr`: no such command"),
        ("register cpu; register cpu", "line 1: subsystem cpu"),
    ];
    for (script, expected) in cases {
        let error = load::run(script, 1).expect_err(script);
        assert!(error.to_string().starts_with(expected), "{script}: {error}");
    }
}

#[test]
fn a_refused_rebind_ends_the_script() {
    let script = "register bytes
        hierarchy from; mkdir a; mkdir a/b
        hierarchy to; mkdir a
        bind bytes from
        rebind bytes to";
    let error = load::run(script, 1).expect_err("the trees differ");
    assert_eq!(error.line, 5);
    assert!(error.text.contains("/a/b"), "{error}");
}
