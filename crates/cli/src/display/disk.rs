//! The line of the disk: what was done since the last line, and how long `api` waited for its blocks.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::{
    display::per_second,
    soak::io::{DEPTH, Pace},
};

/// What had been done when it was last shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gauge {
    at: Instant,
    before: Pace,
}

/// What was done meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disk {
    is_shared: bool,
    megabytes: u64,
    reads: u64,
    /// What a read took, waits included; nothing if there was none.
    each: Option<Duration>,
}

impl Gauge {
    pub(super) fn new(at: Instant) -> Self {
        Self { at, before: Pace::default() }
    }

    /// What was done since the last time.
    pub(super) fn read(&mut self, now: Instant, pace: Pace) -> Disk {
        let Self { at, before } = std::mem::replace(self, Self { at: now, before: pace });
        let seconds = now.duration_since(at).as_secs_f64();
        let reads = pace.reads.saturating_sub(before.reads);
        let took = pace.took.saturating_sub(before.took);
        Disk {
            is_shared: pace.is_shared,
            megabytes: per_second(pace.bytes.saturating_sub(before.bytes) / 1_000_000, seconds),
            reads: per_second(reads, seconds),
            each: (reads > 0).then(|| took.div_f64(reads as f64)),
        }
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_shared, megabytes, reads, each } = *self;
        write!(f, "{:10} {:>9}: {reads} reads/s of api", "disk", format!("{megabytes} MB/s"))?;
        if let Some(each) = each {
            write!(f, ", {:.1} ms each", each.as_secs_f64() * 1e3)?;
        }
        if is_shared { write!(f, "; {DEPTH} at a time") } else { f.write_str("; nobody asks") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_of_what_was_done_meanwhile() {
        let start = Instant::now();
        let mut gauge = Gauge::new(start);
        let second = Duration::from_secs(1);
        let pace = |is_shared, bytes, reads, took| Pace { is_shared, bytes, reads, took };
        let disk = gauge.read(start + second, pace(false, 700_000_000, 2, second)).to_string();
        assert_eq!(disk, "disk        700 MB/s: 2 reads/s of api, 500.0 ms each; nobody asks");
        let disk = gauge.read(start + second * 3, pace(true, 900_000_000, 6, second)).to_string();
        assert_eq!(disk, "disk        100 MB/s: 2 reads/s of api, 0.0 ms each; 4 at a time");
        let disk = gauge.read(start + second * 4, pace(true, 900_000_000, 6, second)).to_string();
        assert_eq!(disk, "disk          0 MB/s: 0 reads/s of api; 4 at a time");
        let each = Some(Duration::from_secs(60));
        let disk = Disk { is_shared: false, megabytes: 9_999, reads: 9_999, each };
        assert!(disk.to_string().len() <= 80 - 9, "{disk}");
    }
}
