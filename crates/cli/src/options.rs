//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};

/// Control groups inside one process.
#[derive(Debug, Parser)]
#[command(name = "fief", version, arg_required_else_help = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A minute with three tenants: without control, then bound, changed, rebound and removed while all run
    Tour(StageOptions),
    /// Runs a scenario: tenants with real work, and what is done with their groups meanwhile
    Run(RunOptions),
    /// Kills three tenants at full load, over and over, rebinds their controllers, and checks the books
    Soak(SoakOptions),
    /// Measures what operations cost where a directory is, for the settings of an I/O device
    Calibrate(CalibrateOptions),
}

/// What a scenario can be told.
#[derive(Args, Clone, Debug)]
pub(crate) struct RunOptions {
    /// A TOML file, or a shipped one: tour, noisy-neighbour, memory-squeeze, live-rebind, azure-replay
    #[arg(value_name = "SCENARIO")]
    pub(crate) scenario: String,

    #[command(flatten)]
    pub(crate) stage: StageOptions,
}

/// What the soak, and any scenario, can be told.
#[derive(Args, Clone, Debug)]
pub(crate) struct StageOptions {
    /// Plain lines instead of a live display, as when the output is no terminal
    #[arg(long)]
    pub(crate) plain: bool,

    /// TCP port of whoever answers requests, on 127.0.0.1; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) port: u16,

    /// Where files are made while it runs, instead of where temporary files go
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// Where to write report.json, report.html and its plots
    #[arg(long, value_name = "DIR", default_value = "fief-report")]
    pub(crate) out: PathBuf,

    /// Seed of all that is random, instead of the scenario's
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,

    /// A CSV file of arrivals, in place of the scenario's
    #[arg(long, value_name = "FILE")]
    pub(crate) arrivals: Option<PathBuf>,

    /// Runs the first three acts again with nothing bound, as plain tokio tasks, and shows both
    #[arg(long, value_name = "WITH")]
    pub(crate) compare: Option<Compare>,

    /// How many times as short acts are (1 to 100)
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = parse_hurry)]
    pub(crate) hurry: f64,
}

/// What a calibration can be told.
#[derive(Args, Clone, Debug)]
pub(crate) struct CalibrateOptions {
    /// A directory of the file system to measure; its file there has no name, and is gone at the end
    #[arg(value_name = "PATH")]
    pub(crate) path: PathBuf,

    /// Where to write the settings, as TOML, instead of to standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    /// What the device is to be called
    #[arg(long, value_name = "NAME", default_value = "disk")]
    pub(crate) name: String,

    /// How long to measure, in seconds (1 to 3600), besides making the file
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = value_parser!(u64).range(1..=3600))]
    pub(crate) seconds: u64,

    /// How large the file is to be, in MiB (8 to 1048576)
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = value_parser!(u64).range(8..=1_048_576))]
    pub(crate) size: u64,
}

/// What a soak can be told.
#[derive(Args, Clone, Debug)]
pub(crate) struct SoakOptions {
    /// How long to run, in seconds (1 to 3600)
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u64).range(1..=3600))]
    pub(crate) seconds: u64,

    /// Plain lines instead of a live display, as when the output is no terminal
    #[arg(long)]
    pub(crate) plain: bool,

    /// TCP port of tenant `api` on 127.0.0.1; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) port: u16,

    /// Where tenant `backup` makes its directory, instead of where temporary files go
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// Keep that directory and its files, instead of removing them
    #[arg(long)]
    pub(crate) keep: bool,

    /// Seed of the random requests and queries
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// TPC-H scale factor of the data (0.001 to 1, which takes about 1.2 GB of memory)
    #[arg(long, value_name = "FACTOR", default_value_t = 0.02, value_parser = parse_scale)]
    pub(crate) scale: f64,

    /// Worker threads of each tenant (1 to 64); as many client threads send requests
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = value_parser!(u32).range(1..=64))]
    pub(crate) threads: u32,
}

/// What a scenario is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compare {
    /// No control at all.
    None,
}

fn parse_hurry(text: &str) -> Result<f64, String> {
    let factor: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (1.0..=100.0).contains(&factor) {
        Ok(factor)
    } else {
        Err(format!("{factor} is not in 1..=100"))
    }
}

fn parse_scale(text: &str) -> Result<f64, String> {
    let scale: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.001..=1.0).contains(&scale) {
        Ok(scale)
    } else {
        Err(format!("{scale} is not in 0.001..=1"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use clap::CommandFactory as _;

    fn parse(args: &str) -> Result<SoakOptions, clap::Error> {
        match Options::try_parse_from(format!("fief soak {args}").split_whitespace())?.command {
            Command::Soak(options) => Ok(options),
            _ => unreachable!("it is a soak"),
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Options::command().debug_assert();
    }

    #[test]
    fn every_default_is_within_its_bounds() {
        let options = parse("").unwrap();
        assert_eq!((options.seconds, options.threads, options.port), (10, 2, 0));
        assert!(!options.plain && !options.keep);
        assert_eq!(options.dir, None);
        assert_eq!(parse_scale("0.02"), Ok(options.scale));
    }

    #[test]
    fn bounds_are_inclusive() {
        for good in ["--seconds 1", "--seconds 3600", "--threads 1", "--threads 64"] {
            parse(good).unwrap();
        }
        for good in ["--scale 0.001", "--scale 1", "--scale 1.0", "--port 65535"] {
            parse(good).unwrap();
        }
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        for bad in ["--seconds=0", "--seconds=3601", "--seconds=x", "--threads=0", "--threads=65"] {
            assert_refused(bad);
        }
        for bad in ["--scale=0", "--scale=1.1", "--scale=NaN", "--scale=inf", "--scale=-1"] {
            assert_refused(bad);
        }
        assert_refused("--port=65536");
        assert_refused("--seed=-1");
    }

    fn assert_refused(args: &str) {
        let error = parse(args).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{args}");
        let (flag, _) = args.split_once('=').unwrap();
        assert!(error.to_string().contains(flag), "{args}: {error}");
    }
}
