//! What is printed, and the settings as text.

use std::{fmt::Write as _, time::Duration};

use anyhow::Result;
use fief_io::DeviceConfig;

use crate::options::CalibrateOptions;

use super::{
    model::{Found, Rates, round},
    sweep::{DEPTHS, Sweep, Way},
    target::{BLOCK, Target},
};

/// Says what is about to happen, and heads the table.
pub(super) fn intro(target: &Target, options: &CalibrateOptions) -> String {
    let path = options.path.display();
    let mut text = format!("fief calibrate: {path}, {} MiB, {} s\n", options.size, options.seconds);
    if !target.is_direct {
        text += NOT_DIRECT;
        text.push('\n');
    }
    text += "\nBy how many operations are in flight: thousands a second, or MB/s of large ones, that nine in ten\n\
             runs reach. Then the knee, and how long operations take there.\n\n";
    let mut line = format!("{:<30}", "");
    for depth in DEPTHS {
        line += &format!("{depth:>8}");
    }
    text + &line + &format!("{:>6}{:>10}{:>10}", "knee", "p50", "p99")
}

const NOT_DIRECT: &str =
    "The file system has no direct I/O (O_DIRECT): these are the figures of its page cache.";

/// Returns a row of the table.
pub(super) fn row(sweep: &Sweep) -> String {
    let mut line = format!("{:<30}", sweep.way.to_string());
    for point in &sweep.points {
        line += &format!("{:>8}", figure(sweep.way, point.rate));
    }
    let knee = sweep.knee();
    line + &format!("{:>6}{:>10}{:>10}", knee.depth, micros(knee.median), micros(knee.p99))
}

fn figure(way: Way, rate: f64) -> String {
    match way.bytes {
        BLOCK => format!("{:.1}", rate / 1e3),
        bytes => format!("{:.0}", rate * bytes as f64 / 1e6),
    }
}

fn micros(time: Duration) -> String {
    format!("{} µs", time.as_micros())
}

/// Returns the settings as TOML, and in the format of the kernel as a comment.
pub(super) fn settings(config: &DeviceConfig, found: &Found, target: &Target) -> Result<String> {
    let mut text = String::from("# Settings of a device of fief-io, by `fief calibrate`.\n");
    if !target.is_direct {
        writeln!(text, "# {NOT_DIRECT}")?;
    }
    text.push_str(
        "# Costs are nanoseconds of the device's time. For the kernel's io.cost.model:\n",
    );
    writeln!(text, "# {}", kernel_line(found, target))?;
    text.push_str(&toml::to_string(config)?);
    Ok(text)
}

/// Returns the line for the kernel's `io.cost.model`.
pub(super) fn kernel_line(found: &Found, target: &Target) -> String {
    let (major, minor) = target.device;
    let of = |letter: char, rates: Rates| {
        let Rates { bytes, sequential, random } = rates;
        let [bytes, sequential, random] = [bytes, sequential, random].map(round);
        format!("{letter}bps={bytes} {letter}seqiops={sequential} {letter}randiops={random}")
    };
    let (read, write) = (of('r', found.read), of('w', found.write));
    format!("{major}:{minor} ctrl=user model=linear {read} {write}")
}
