//! Runs `fief calibrate`, as people do.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

fn calibrate(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fief"));
    command.arg("calibrate").args(args).args(["--seconds", "1", "--size", "8"]);
    command.env("RUST_BACKTRACE", "1").output().expect("the binary starts")
}

/// Returns the one line of its errors.
fn refused(args: &[&str]) -> String {
    let output = calibrate(args);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stderr).expect("the errors are UTF-8");
    assert_eq!(text.lines().count(), 1, "{text}");
    text.trim_end().to_owned()
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("it can be listed");
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    entries.map(|entry| name(entry.expect("an entry"))).collect()
}

fn shown(path: &Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

#[test]
fn settings_are_written_and_nothing_else_is_left() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let out = directory.path().join("disk.toml");
    let path = shown(directory.path());
    let output = calibrate(&[path, "--name", "vda", "--out", shown(&out)]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(names(directory.path()), ["disk.toml"]);

    let text = fs::read_to_string(&out).unwrap();
    let config: fief_io::DeviceConfig = toml::from_str(&text).unwrap();
    assert_eq!(config.name, "vda");
    assert!((1..=64).contains(&config.depth.unwrap()), "{text}");
    assert!(config.cost.read.kib > 0 && config.cost.write.kib > 0, "{text}");
    let line = text.lines().find(|line| line.contains("ctrl=user model=linear")).unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains(line.trim_start_matches("# ")), "{printed}");
    for key in ["rbps", "rseqiops", "rrandiops", "wbps", "wseqiops", "wrandiops"] {
        assert!(line.contains(&format!(" {key}=")), "{line}");
    }
    for way in ["random reads of 4 KiB", "sequential writes of 256 KiB"] {
        let row = printed.lines().find(|line| line.starts_with(way)).unwrap();
        assert!(row.ends_with("µs") && !row.ends_with(" 0 µs"), "{row}");
    }
}

#[test]
fn a_file_that_was_there_is_replaced_or_stays_as_it_was() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let out = directory.path().join("disk.toml");
    fs::write(&out, "old").unwrap();
    let missing = shown(directory.path()).to_owned() + "/missing";
    let error = refused(&[&missing, "--out", shown(&out)]);
    assert_eq!(fs::read_to_string(&out).unwrap(), "old", "{error}");
    assert!(calibrate(&[shown(directory.path()), "--out", shown(&out)]).status.success());
    assert!(fs::read_to_string(&out).unwrap().contains("name = \"disk\""));
    assert_eq!(names(directory.path()), ["disk.toml"]);
}

#[test]
fn paths_that_cannot_be_measured_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let error = refused(&[shown(&missing)]);
    assert!(error.contains(shown(&missing)) && error.contains("No such file"), "{error}");

    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(refused(&[shown(&file)]).ends_with("is not a directory: a file is to be made there"));
    // No files can be made there, not even by root.
    let error = refused(&["/proc/self"]);
    assert!(error.contains("cannot make a file in /proc/self"), "{error}");

    let closed = directory.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(closed.join("probe"), "").is_err() {
        let error = refused(&[shown(&closed)]);
        assert!(error.contains(shown(&closed)) && error.contains("ermission denied"), "{error}");
        assert!(names(&closed).is_empty());
    } // else it is root who tests, whom no mode keeps out
}

#[test]
fn where_settings_cannot_be_written_nothing_is_measured() {
    let directory = tempfile::tempdir().unwrap();
    let path = shown(directory.path());
    let out = directory.path().join("missing/disk.toml");
    let error = refused(&[path, "--out", shown(&out)]);
    assert!(error.contains("cannot write") && error.contains("missing"), "{error}");
    assert!(refused(&[path, "--out", path]).ends_with("it is a directory"));
    assert!(refused(&[path, "--name", "a b"]).contains("\"a b\" is no name of a device"));
    assert!(names(directory.path()).is_empty());
}

/// A process may not write files beyond its limit, as a disk that is full: the file is gone after the error.
#[test]
fn a_file_that_does_not_fit_is_an_error_and_leaves_nothing() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let script = "trap '' XFSZ; ulimit -f 2048; exec \"$0\" calibrate \"$1\" --size 8 --seconds 1";
    let output = Command::new("bash")
        .args(["-c", script, env!("CARGO_BIN_EXE_fief"), shown(directory.path())])
        .output()
        .expect("bash is there");
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("cannot fill a file of 8 MiB in"), "{error}");
    assert!(names(directory.path()).is_empty());
}
