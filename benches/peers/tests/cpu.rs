//! The rows of `cpu`, each for a moment with every system that takes part: nothing has rotted.
//!
//! What their figures mean, only a quiet machine and a release build can tell.

use std::process::{Command, Output};

fn cpu(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_cpu")).args(arguments).output();
    output.expect("it was built for this test")
}

#[test]
fn every_row_runs() {
    let output = cpu(&["--once"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    for row in ["B1", "B2", "B3", "B5", "B6", "B7", "B8", "B9", "B10", "B12", "B13", "B14"] {
        assert!(text.contains(&format!("\n{row}: ")) || text.starts_with(row), "no {row}: {text}");
    }
}

#[test]
fn rows_that_do_not_exist_are_refused() {
    let output = cpu(&["B99", "--once"]);
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("no row is called B99"), "{errors}");
}
