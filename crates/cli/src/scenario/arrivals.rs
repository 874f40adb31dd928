//! When requests are due: at random, so many a second, or as a trace has them.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};

/// A request to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// From the beginning.
    pub(crate) at: Duration,
    /// How many rows it is about, if that is known.
    pub(crate) rows: Option<u32>,
}

/// Requests to come, in order.
#[derive(Debug)]
pub(crate) enum Arrivals {
    /// Independent of each other: the times between them are exponential.
    Random { mean: f64, at: f64, rng: fastrand::Rng },
    /// As they were; over and over.
    Trace { arrivals: Vec<Arrival>, next: usize, rounds: u32 },
}

impl Arrivals {
    /// `rate` a second.
    pub(crate) fn random(rate: u32, seed: u64) -> Self {
        Self::Random { mean: f64::from(rate).recip(), at: 0.0, rng: fastrand::Rng::with_seed(seed) }
    }

    /// Reads a CSV file with a header; the first column is `TIMESTAMP`, and `ContextTokens` are rows.
    ///
    /// # Errors
    ///
    /// Names the file, and the line that makes no sense.
    pub(crate) fn read(path: &Path, speed: f64) -> Result<Self> {
        let name = path.display();
        let mut reader =
            csv::Reader::from_path(path).with_context(|| format!("cannot read {name}"))?;
        let headers = reader.headers().with_context(|| format!("cannot read {name}"))?.clone();
        let column = |wanted: &str| headers.iter().position(|header| header.trim() == wanted);
        let Some(time) = column("TIMESTAMP") else { bail!("{name}, line 1: no column TIMESTAMP") };
        let size = column("ContextTokens");
        let mut arrivals = Vec::<Arrival>::new();
        let mut first = None;
        for record in reader.records() {
            let record = record.with_context(|| format!("cannot read {name}"))?;
            let line = record.position().map_or(0, csv::Position::line);
            let text = record.get(time).unwrap_or_default();
            let Some(at) = seconds(text) else {
                bail!("{name}, line {line}: {text:?} is no time like 2023-11-16 18:17:03.97");
            };
            let since = (at - *first.get_or_insert(at)) / speed;
            let at = Duration::try_from_secs_f64(since).ok();
            let is_later = |at: &Duration| arrivals.last().is_none_or(|last| last.at <= *at);
            let Some(at) = at.filter(is_later) else {
                bail!("{name}, line {line}: {text:?} is before the line above it");
            };
            let rows = size.and_then(|size| record.get(size)?.trim().parse().ok());
            arrivals.push(Arrival { at, rows });
        }
        ensure!(arrivals.len() > 1, "{name} has fewer than two arrivals");
        Ok(Self::Trace { arrivals, next: 0, rounds: 0 })
    }
}

impl Iterator for Arrivals {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        match self {
            Self::Random { mean, at, rng } => {
                *at -= *mean * (1.0 - rng.f64()).ln();
                Some(Arrival { at: Duration::try_from_secs_f64(*at).ok()?, rows: None })
            }
            Self::Trace { arrivals, next, rounds } => {
                if *next == arrivals.len() {
                    (*next, *rounds) = (0, *rounds + 1);
                }
                let Arrival { at, rows } = *arrivals.get(*next)?;
                *next += 1;
                // The next round begins as long after the last arrival as arrivals are apart.
                let span = arrivals.last()?.at;
                let gap = span / u32::try_from(arrivals.len()).ok()?;
                Some(Arrival { at: at + (span + gap) * *rounds, rows })
            }
        }
    }
}

/// Seconds since some midnight, of a time as `2023-11-16 18:17:03.9799600`, or of a number of seconds.
fn seconds(text: &str) -> Option<f64> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return seconds.is_finite().then_some(seconds);
    }
    let time = humantime::parse_rfc3339_weak(text.get(..text.len().min(29))?).ok()?;
    time.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::{fs, io::Write as _};

    fn read(text: &str) -> Result<Vec<Arrival>> {
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(text.as_bytes())?;
        Ok(Arrivals::read(file.path(), 2.0)?.take(4).collect())
    }

    #[test]
    fn random_arrivals_have_their_rate() {
        let last = Arrivals::random(1000, 7).nth(99_999).unwrap().at.as_secs_f64();
        assert!((99.0..101.0).contains(&last), "{last}");
    }

    #[test]
    fn a_trace_is_replayed_at_its_speed_and_begins_again() {
        let arrivals = read(
            "TIMESTAMP,ContextTokens,GeneratedTokens\n\
             2023-11-16 18:17:03.9799600,4808,10\n\
             2023-11-16 18:17:04.0799600,3180,8\n\
             2023-11-16 18:17:05.9799600,110,27\n",
        );
        let arrivals = arrivals.unwrap();
        let times: Vec<u128> = arrivals.iter().map(|arrival| arrival.at.as_millis()).collect();
        assert_eq!(times[..2], [0, 50]);
        assert!((999..=1000).contains(&times[2]) && (1332..=1334).contains(&times[3]), "{times:?}");
        assert_eq!(arrivals[0].rows, Some(4808));
        assert_eq!(arrivals[3].rows, Some(4808), "from the beginning");
    }

    #[test]
    fn lines_that_make_no_sense_are_named() {
        let error = |text: &str| read(text).unwrap_err().to_string();
        assert!(error("WHEN\n1\n").ends_with("line 1: no column TIMESTAMP"));
        let text = error("TIMESTAMP\n1\nnoon\n");
        assert!(text.contains("line 3: \"noon\" is no time"), "{text}");
        let text = error("TIMESTAMP\n2\n1\n");
        assert!(text.contains("line 3: \"1\" is before"), "{text}");
        assert!(error("TIMESTAMP\n1\n").contains("fewer than two"));
        let gone = tempfile::tempdir().unwrap().path().join("none.csv");
        let error = Arrivals::read(&gone, 1.0).unwrap_err().to_string();
        assert_eq!(error, format!("cannot read {}", gone.display()));
        assert!(fs::metadata(gone).is_err());
    }
}
