//! `sanitize`: the tests of the crates with unsafe code or protocols under `AddressSanitizer`.
//!
//! The stable compiler takes the flag when told to bootstrap. With `--target` it stays off build
//! scripts and procedural macros. Leaks are not looked for: some tests leak on purpose. A request that
//! is too large is answered by null: some tests ask for one.

use anyhow::Result;

use crate::command::{command, run as go};
use crate::report::Outcome;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The packages, without their prefix.
const PACKAGES: [&str; 6] = ["core", "memory", "alloc", "cpu", "io", "testing"];

/// What is skipped: the sanitizer holds freed memory back, so resident memory says nothing.
const RESIDENT: &str = "memory_is_flat";

/// Runs all tests, the stress tests with a tenth of their work.
///
/// # Errors
///
/// If a test fails or the sanitizer reports something.
pub(crate) fn run() -> Result<Outcome> {
    let is_here = cfg!(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"));
    if !is_here {
        return Ok(Outcome::Skipped(format!("runs on {TARGET} only")));
    }
    go(command("cargo test --locked --lib --tests")
        .args(PACKAGES.map(|name| format!("--package=fief-{name}")))
        .args(["--target", TARGET, "--target-dir", "target/asan"])
        .args(["--", "--include-ignored", "--skip", RESIDENT])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Zsanitizer=address")
        .env("ASAN_OPTIONS", "detect_leaks=0:allocator_may_return_null=1")
        .env("FIEF_STRESS", "short"))
}
