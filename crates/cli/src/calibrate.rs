//! `fief calibrate`: what operations cost where a directory is, and how many it takes at once.
//!
//! A file is read and written in six ways, each at depths from 1 to 64, by as many threads. Of each depth the rate counts
//! that nine in ten short runs reach: storage that is rented by credit is slower tomorrow. The *knee* of a way
//! is the last depth that brought a tenth more than all before; what the device can do, it does there.

mod target;
mod sweep;
mod model;
mod text;

use std::{fs, io::Write as _, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use fief_core::Registry;
use fief_io::{DeviceConfig, Io};
use tempfile::NamedTempFile;

use crate::{options::CalibrateOptions, output::Output};

use self::{
    sweep::{DEPTHS, Sweep, WAYS},
    target::Target,
};

/// Measures, and prints or writes what was found.
pub(crate) fn run(options: &CalibrateOptions) -> Result<()> {
    check_name(&options.name)?;
    if let Some(out) = &options.out {
        check_out(out)?;
    }
    let mut output = Output::stdout();
    let target = Target::make(&options.path, options.size << 20)?;
    output.line(text::intro(&target, options));
    let points = u32::try_from(WAYS.len() * DEPTHS.len())?;
    let time = Duration::from_secs(options.seconds) / points;
    let mut sweeps = Vec::new();
    for way in WAYS {
        let sweep = Sweep::run(&target, way, time)
            .with_context(|| format!("cannot measure {way} in {}", options.path.display()))?;
        output.line(text::row(&sweep));
        sweeps.push(sweep);
        if output.is_closed() {
            return output.finish();
        }
    }
    let found = model::Found::of(&sweeps);
    let config = found.config(&options.name);
    check(&config)?;
    let settings = text::settings(&config, &found, &target)?;
    match &options.out {
        None => output.line(format_args!("\n{settings}")),
        Some(out) => {
            write(out, &settings)?;
            output.line(format_args!("\n{}", text::kernel_line(&found, &target)));
            output.line(format_args!("written to {}", out.display()));
        }
    }
    output.finish()
}

fn check_name(name: &str) -> Result<()> {
    check(&DeviceConfig::new(name))
}

/// Has the settings make a device, which is who knows what they may be.
fn check(config: &DeviceConfig) -> Result<()> {
    let io = Registry::new().register(Io::new())?;
    config.builder().register(&io)?.remove();
    Ok(())
}

/// Looks whether the settings can be written, before it takes half a minute to find them.
fn check_out(out: &Path) -> Result<()> {
    let context = || format!("cannot write {}", out.display());
    if out.is_dir() {
        bail!("cannot write {}: it is a directory", out.display());
    }
    tempfile::tempfile_in(directory(out)).with_context(context)?;
    if out.exists() {
        fs::OpenOptions::new().append(true).open(out).with_context(context)?;
    }
    Ok(())
}

/// Writes a file, whole or not at all.
fn write(out: &Path, text: &str) -> Result<()> {
    let context = || format!("cannot write {}", out.display());
    let mut file = NamedTempFile::new_in(directory(out)).with_context(context)?;
    file.write_all(text.as_bytes()).with_context(context)?;
    file.persist(out).with_context(context)?;
    Ok(())
}

fn directory(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
