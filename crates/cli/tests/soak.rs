//! Runs the binary, as people do.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
};

/// `fief soak --plain` with more arguments, on six thousand rows unless they say otherwise.
fn soak(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fief"));
    command.args(["soak", "--plain"]).args(args);
    if !args.contains(&"--scale") {
        command.args(["--scale", "0.001"]);
    }
    // Errors must stay one line even so.
    command.env("RUST_BACKTRACE", "1");
    command.env("TMPDIR", env!("CARGO_TARGET_TMPDIR"));
    command
}

/// A directory beside what is built: what soaks write is too much for a small `/tmp`.
fn temporary() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("there is room")
}

fn run(args: &[&str]) -> Output {
    soak(args).stdin(Stdio::null()).output().expect("the binary starts")
}

fn stdout(output: &Output) -> &str {
    str::from_utf8(&output.stdout).expect("the output is UTF-8")
}

fn stderr(output: &Output) -> &str {
    str::from_utf8(&output.stderr).expect("the errors are UTF-8")
}

/// Starts a soak and reads its output up to a line with `text`.
fn start_and_read_to(args: &[&str], text: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = soak(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut lines = BufReader::new(child.stdout.take().expect("the output is piped"));
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        let length = lines.read_line(&mut line).expect("the output is UTF-8");
        assert!(length > 0, "the output ended before {text:?}");
    }
    (child, lines)
}

/// Waits for `child` and returns its exit code and errors.
fn end(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().expect("the binary ends");
    (output.status.code(), stderr(&output).to_owned())
}

#[cfg(unix)]
fn interrupt(child: &Child) {
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.expect("there is a kill").success());
}

#[test]
fn a_soak_does_its_work_and_every_check_holds() {
    let output = run(&["--seconds", "2"]);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    assert_eq!(stderr(&output), "");

    let text = stdout(&output);
    for expected in [
        "rows of lineitem",
        "  ok      references taken = dropped",
        "  ok      groups made = removed + live",
        "  ok      notices = removed + in use",
        "  ok      refusals = kills + agents'     ",
        "  ok      groups the agents left         0\n",
        "  ok      css made = freed + live roots",
        "  ok      operations at root = done",
        "  ok      rows charged to the root       0\n",
        "  ok      wrong answers and files        0 of ",
        "  ok      bytes charged = given back ",
        "  ok      bytes at root = charged ",
        "  ok      bytes held at the root         0\n",
        "  ok      usages that differ, at rest    0 of ",
        "  ok      memory reserved = given back ",
        "  ok      memory in use at the root      0\n",
        "  ok      memory's peak at the root ",
        "  ok      jobs = ended + cancelled ",
        "  ok      CPU at root = groups' + own ",
        "  ok      the favoured report's CPU ",
        "  ok      disk bytes read = done ",
        "  ok      disk bytes written = done ",
        "  ok      disk operations waiting        0\n",
        "cpu         ",
        "  in one queue ",
        "  by weight ",
        "  without control ",
        "  with it ",
        "  ok      rebinds refused                0 of ",
        "  ok      css changed by a rebind        0 of ",
        "  ok      limits lost by a rebind        0 of ",
        "memory, cpu and io bound to by-tenant, with ",
        "memory.max of /analytics: ",
        "/api killed: ",
        "/analytics killed: ",
        "/backup killed: ",
        "The tenants, after 2.",
        " checks hold: nothing was lost.\n",
    ] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
    assert!(!text.contains("BROKEN"), "{text}");
    assert!(!text.contains("stopped early"), "{text}");
}

#[test]
fn plain_output_fits_eighty_columns_and_has_no_escapes() {
    let output = run(&["--seconds", "1", "--threads", "1"]);
    for line in stdout(&output).lines() {
        assert!(line.chars().count() <= 80, "{line}");
        assert!(!line.contains('\u{1b}'), "{line:?}");
        assert_eq!(line, line.trim_end());
    }
}

#[test]
fn many_workers_are_killed_too() {
    let output = run(&["--seconds", "1", "--threads", "8"]);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
}

#[test]
fn a_bad_flag_is_exit_status_2() {
    for args in [&["--seconds", "0"][..], &["--scale", "2"], &["--threads", "65"], &["--no-such"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).starts_with("error: "), "{}", stderr(&output));
        assert!(stderr(&output).contains(args[0]), "{}", stderr(&output));
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn a_port_in_use_is_named_and_exit_status_1() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("there is a free port");
    let address = taken.local_addr().expect("it has an address");
    let output = run(&["--port", &address.port().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    let error = stderr(&output);
    assert!(error.starts_with(&format!("error: cannot listen on {address}")), "{error}");
    assert!(error.contains("in use"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
#[cfg(unix)]
fn an_interrupt_ends_the_run_early_and_in_order() {
    let (child, mut lines) = start_and_read_to(&["--seconds", "600"], "must add up");
    interrupt(&child);
    let mut text = String::new();
    lines.read_to_string(&mut text).expect("the output is UTF-8");
    let (code, errors) = end(child);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{text}");
    assert!(text.contains(", stopped early:"), "{text}");
    assert!(text.contains(" checks hold: nothing was lost."), "{text}");
}

/// Ends in the middle of the act in which controllers are moved.
#[test]
#[cfg(unix)]
fn an_interrupt_while_controllers_move_ends_the_run_in_order() {
    let (child, mut lines) =
        start_and_read_to(&["--seconds", "20"], "by-tenant to by-plan, at work");
    interrupt(&child);
    let mut text = String::new();
    lines.read_to_string(&mut text).expect("the output is UTF-8");
    let (code, errors) = end(child);
    assert_eq!((code, errors.as_str()), (Some(0), ""), "{text}");
    assert!(text.contains(", stopped early:"), "{text}");
    assert!(text.contains("  ok      rebinds refused                0 of "), "{text}");
    assert!(text.contains(" checks hold: nothing was lost."), "{text}");
}

/// The number of which a check says that `claim` is 0 of them.
fn of(text: &str, claim: &str) -> u64 {
    let (_, figures) = text.split_once(claim).expect("there is such a check");
    let (_, count) = figures.split_once("0 of ").expect("it is of a number");
    let count: String = count.chars().take_while(|c| c.is_ascii_digit() || *c == ',').collect();
    count.replace(',', "").parse().expect("a number")
}

#[test]
fn controllers_move_at_full_load_and_all_stays_as_it_was() {
    let output = run(&["--seconds", "2"]);
    let text = stdout(&output);
    assert!(output.status.success(), "{text}{}", stderr(&output));
    // There and back, and once more at the end, each time with three tenants and their users.
    let rebinds = of(text, "rebinds refused");
    assert!(rebinds >= 4 && rebinds.is_multiple_of(2), "{text}");
    assert!(of(text, "css changed by a rebind") >= 3 * rebinds, "{text}");
    assert!(of(text, "limits lost by a rebind") > 0, "{text}");
    // Each tenant once, when it is killed. Three times in the end the root and all groups, but for those of
    // tenant `backup`, which may be gone.
    assert!(of(text, "usages that differ, at rest") >= 13 + 3 * 13, "{text}");
    assert!(text.contains(&format!("from one tree to the other {rebinds} times")), "{text}");

    // Limits under the old and the new path.
    for (tenant, plan, limit) in [
        ("by-tenant/api ", "by-plan/gold ", "67108864"),
        ("by-tenant/analytics ", "by-plan/silver ", "8589934592"),
        ("by-tenant/backup ", "by-plan/bronze ", "1073741824"),
    ] {
        for path in [tenant, plan] {
            let line = text.lines().find(|line| line.trim_start().starts_with(path));
            let line = line.unwrap_or_else(|| panic!("no {path:?} in\n{text}"));
            assert!(line.ends_with(&format!("inflight.max {limit}")), "{line}");
        }
    }
    for figure in ["with a rebind ", "without "] {
        assert!(text.lines().any(|line| line.trim_start().starts_with(figure)), "{text}");
    }
}

#[test]
#[cfg(unix)]
fn an_interrupt_before_the_run_ends_it_at_once() {
    // Six million rows take far longer than a signal.
    let (child, mut lines) = start_and_read_to(&["--scale", "1"], "making TPC-H data");
    interrupt(&child);
    let mut text = String::new();
    lines.read_to_string(&mut text).expect("the output is UTF-8");
    assert_eq!(end(child), (Some(130), String::new()));
    assert_eq!(text, "");
}

#[test]
#[cfg(unix)]
fn a_reader_that_goes_away_ends_the_run_quietly() {
    let (child, lines) = start_and_read_to(&["--seconds", "20"], "fief soak");
    drop(lines);
    assert_eq!(end(child), (Some(0), String::new()));
}

#[test]
#[cfg(target_os = "linux")]
fn an_output_that_cannot_be_written_is_an_error() {
    let full = fs::File::create("/dev/full").expect("Linux has this device");
    let output = soak(&["--seconds", "1"]).stdout(full).output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).starts_with("error: cannot write to standard output: "),
        "{}",
        stderr(&output)
    );
}

/// The figures of the tenants in the row called `name`.
fn row(output: &Output, name: &str) -> [u64; 3] {
    let (_, table) = stdout(output).split_once("The tenants, after ").expect("there is a table");
    let row = table.lines().find_map(|line| line.trim().strip_prefix(name));
    let figures = row.expect("there is such a row").split_whitespace().take(3);
    let figures: Vec<u64> =
        figures.map(|figure| figure.replace(',', "").parse().expect("a number")).collect();
    figures.try_into().expect("one for each tenant")
}

#[test]
fn groups_go_both_ways_and_each_notice_is_accounted_for() {
    let output = run(&["--seconds", "2"]);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    let made = row(&output, "groups made");
    let (detached, on_notice) = (row(&output, "detached"), row(&output, "on notice"));
    for tenant in 0..3 {
        assert_eq!(made[tenant], detached[tenant] + on_notice[tenant], "{}", stdout(&output));
        // A kill detaches the tenant's own group, and the agent has what is left at the end.
        assert!(detached[tenant] > 0 && on_notice[tenant] > 0, "{}", stdout(&output));
    }
    let text = stdout(&output);
    let (_, notices) = text.split_once("The release agents had ").expect("it is told");
    let (notices, _) = notices.split_once(' ').expect("there is more text");
    let notices: u64 = notices.replace(',', "").parse().expect("a number");
    assert!(notices >= on_notice.iter().sum(), "{text}");
}

/// The first number of the sentence that begins with `text`.
fn figure(output: &str, text: &str) -> u64 {
    let (_, rest) = output.split_once(text).unwrap_or_else(|| panic!("no {text:?} in\n{output}"));
    let digits: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == ',').collect();
    digits.replace(',', "").parse().expect("a number")
}

#[test]
fn memory_is_short_and_every_query_comes_to_its_end() {
    let output = run(&["--seconds", "3", "--threads", "4"]);
    let text = stdout(&output);
    assert!(output.status.success(), "{text}{}", stderr(&output));
    assert!(figure(text, "queries waited ") > 0, "{text}");
    assert!(figure(text, "to files,\nin ") > 0, "{text}");
    assert!(!text.contains("and gave 0 B back"), "{text}");
    // Lowered and raised again, each time.
    assert!(figure(text, "limit of analytics was changed ") >= 4, "{text}");
    let lowered =
        text.lines().find(|line| line.contains("memory.max of /analytics: 94 KiB -> 38 KiB"));
    assert!(lowered.is_some(), "{text}");
}

#[test]
fn cpu_is_shared_by_weight_and_all_jobs_come_to_an_end() {
    let output = run(&["--seconds", "3"]);
    let text = stdout(&output);
    assert!(output.status.success(), "{text}{}", stderr(&output));
    for tenant in 0..3 {
        // A kill cancels what it meets, and at least who waits to hear of it.
        let (jobs, cancelled) = (row(&output, "jobs"), row(&output, "cancelled"));
        assert!(cancelled[tenant] > 0 && cancelled[tenant] < jobs[tenant], "{text}");
        assert!(row(&output, "CPU ms")[tenant] > 0, "{text}");
    }
    assert!(figure(text, "The reports sales and returns read the table ") > 0, "{text}");
    assert!(figure(text, "40 and 10, changed places ") > 0, "{text}");
}

#[test]
fn the_disk_is_asked_for_and_no_byte_is_lost() {
    let output = run(&["--seconds", "3"]);
    let text = stdout(&output);
    assert!(output.status.success(), "{text}{}", stderr(&output));
    for claim in ["disk bytes read = done ", "disk bytes written = done "] {
        let (_, figures) = text.split_once(claim).expect("there is such a check");
        assert!(!figures.trim_start().starts_with("0 "), "{text}");
    }
    assert!(text.contains(" operations were asked for, and waited "), "{text}");
    // Limits and weights, by control files.
    assert!(figure(text, "and its weight, changed ") >= 4, "{text}");
}

/// The names in `directory`.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("the directory is there");
    let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("names are ASCII");
    entries.map(|entry| name(entry.expect("the directory can be read"))).collect()
}

fn argument(path: &Path) -> &str {
    path.to_str().expect("temporary files have plain names")
}

#[test]
fn a_directory_that_cannot_be_written_is_named_before_anything_is_done() {
    let file = tempfile::NamedTempFile::new().expect("there is room");
    let missing = file.path().with_extension("missing");
    for (path, why) in [(file.path(), "Not a directory"), (&missing, "No such file or directory")] {
        let output = run(&["--dir", argument(path)]);
        assert_eq!(output.status.code(), Some(1));
        let expected = format!("error: cannot make a directory: {why}");
        let error = stderr(&output);
        assert!(error.starts_with(&expected), "{error}");
        assert!(error.contains(argument(path)) && error.contains("--dir"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn files_are_removed_at_the_end() {
    let directory = temporary();
    let output = run(&["--seconds", "1", "--dir", argument(directory.path())]);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("each was read back and compared."), "{}", stdout(&output));
    assert_eq!(names(directory.path()), [""; 0]);
}

#[test]
fn files_that_are_kept_hold_the_rows() {
    let directory = temporary();
    let output = run(&["--seconds", "1", "--keep", "--dir", argument(directory.path())]);
    assert!(output.status.success(), "{}{}", stdout(&output), stderr(&output));
    let (_, kept) = stdout(&output).split_once("\nKept: ").expect("the place is told");
    let kept = Path::new(kept.trim_end());
    assert_eq!(kept.parent(), Some(directory.path()));

    // All six thousand rows fit into one file, written again by each run.
    assert_eq!(names(kept), ["lineitem-0.tbl.gz"]);
    let file = fs::File::open(kept.join("lineitem-0.tbl.gz")).expect("it can be read");
    let mut rows = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut rows).expect("it is a gzip file");
    assert!(rows.ends_with("|\n"));
    let count = rows.lines().inspect(|row| assert_eq!(row.matches('|').count(), 16)).count();
    assert!(stdout(&output).contains(&format!("6,{:03} rows of lineitem", count - 6000)));
}

/// A limit on the size of files stands for a full disk.
#[test]
#[cfg(unix)]
fn a_full_disk_is_an_error_that_leaves_nothing_behind() {
    let directory = temporary();
    let line = "trap '' XFSZ; ulimit -f 8; exec \"$@\"";
    let soak = soak(&["--seconds", "600", "--dir", argument(directory.path())]);
    let mut limited = Command::new("sh");
    limited.args(["-c", line, "sh"]).arg(soak.get_program()).args(soak.get_args());
    let output = limited.env("RUST_BACKTRACE", "1").output().expect("there is a shell");
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    let error = stderr(&output);
    let expected = format!("error: cannot write to {}", directory.path().display());
    assert!(error.starts_with(&expected), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert_eq!(names(directory.path()), [""; 0]);
}

#[test]
#[cfg(unix)]
fn interrupts_leave_no_files_behind() {
    let directory = temporary();
    let arguments = ["--scale", "1", "--dir", argument(directory.path())];
    let (child, _lines) = start_and_read_to(&arguments, "making TPC-H data");
    assert_eq!(names(directory.path()).len(), 1);
    interrupt(&child);
    interrupt(&child);
    assert_eq!(end(child), (Some(130), String::new()));
    assert_eq!(names(directory.path()), [""; 0]);
}
