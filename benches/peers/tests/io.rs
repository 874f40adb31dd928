//! The rows of `io`, each for a moment with everybody who takes part: nothing has rotted.
//!
//! What their figures mean, only a quiet machine and a release build can tell.

use std::process::{Command, Output};

fn io(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_io")).args(arguments).output();
    output.expect("it was built for this test")
}

#[test]
fn every_row_runs() {
    let output = io(&["--once"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    for row in 1..=15 {
        let row = format!("W{row}");
        // A wrapper's cost is a row that there is not.
        assert_eq!(text.contains(&format!("{row}: ")), row != "W14", "{row}: {text}");
    }
}

#[test]
fn rows_that_do_not_exist_are_refused() {
    let output = io(&["W99", "--once"]);
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("no row is called W99"), "{errors}");
}

#[test]
fn only_those_who_are_named_are_asked() {
    let output = io(&["W1", "--once", "--system", "fief", "--case", "one thread"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    let systems: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.split('|').nth(1).map(str::trim))
        .collect();
    assert_eq!(systems, [Some("system"), Some("atomic addition"), Some("fief")]);
}

#[test]
fn a_directory_without_direct_io_skips_the_disk() {
    let output = io(&["W7", "--once", "--dir", "/proc"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("skipped: fief, depth 4: cannot make a file in /proc"), "{text}");
}
