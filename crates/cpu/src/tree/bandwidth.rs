//! How much CPU time a group may use at most: quota, period and burst, as `cpu.max` says it.

use std::{fmt, str::FromStr, time::Duration};

use thiserror::Error as ThisError;

const PERIOD: Duration = Duration::from_millis(100);
const LEAST: Duration = Duration::from_millis(1);
const PERIOD_MAX: Duration = Duration::from_secs(1);
/// The kernel's own: 2^44 - 1 us.
const QUOTA_MAX: Duration = Duration::from_micros((1 << 44) - 1);

/// A bandwidth makes no sense; nothing is changed.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[non_exhaustive]
pub enum BandwidthError {
    /// The quota is out of range.
    #[error("a quota of {} us: it must be {} to {} us", .quota.as_micros(), LEAST.as_micros(), QUOTA_MAX.as_micros())]
    Quota {
        /// What was asked for.
        quota: Duration,
    },
    /// The period is out of range.
    #[error("a period of {} us: it must be {} to {} us", .period.as_micros(), LEAST.as_micros(), PERIOD_MAX.as_micros())]
    Period {
        /// What was asked for.
        period: Duration,
    },
    /// The burst is larger than the quota.
    #[error("a burst of {} us: it must be at most the quota of {} us", .burst.as_micros(), .quota.as_micros())]
    Burst {
        /// What was asked for.
        burst: Duration,
        /// The quota.
        quota: Duration,
    },
    /// The text is not a bandwidth.
    #[error(
        "`{text}` is no bandwidth: `max` or microseconds, and perhaps a period in microseconds"
    )]
    Text {
        /// What was read.
        text: String,
    },
}

/// At most `quota` of CPU time every `period`, with up to `burst` saved up.
///
/// The rate is what counts: 50 ms every 100 ms and 5 ms every 10 ms are the same half of a CPU, and
/// neither is used up at the start of a period. Quotas beyond the period are more than one CPU.
///
/// The kernel's rules: quota and period of 1 ms at least, a period of 1 s at most, no more burst than
/// quota. The default is no limit, with a period of 100 ms. Shown, and read by [`FromStr`], as
/// `cpu.max`: `max 100000`, `50000 100000` (microseconds; the burst is not in it).
///
/// ```
/// # fn main() -> Result<(), fief_cpu::tree::BandwidthError> {
/// use std::time::Duration;
/// use fief_cpu::tree::Bandwidth;
///
/// let half = Bandwidth::new(Duration::from_millis(50), Duration::from_millis(100))?;
/// assert_eq!(half.to_string(), "50000 100000");
/// assert_eq!("50000".parse::<Bandwidth>()?, half);
/// assert_eq!(Bandwidth::MAX.to_string(), "max 100000");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(try_from = "Plain", into = "Plain"))]
#[doc(alias = "cpu.max")]
pub struct Bandwidth {
    quota: Option<Duration>,
    period: Duration,
    burst: Duration,
}

impl Bandwidth {
    /// No limit.
    pub const MAX: Self = Self { quota: None, period: PERIOD, burst: Duration::ZERO };

    /// At most `quota` every `period`, nothing saved up.
    ///
    /// # Errors
    ///
    /// If one of them is out of range.
    pub fn new(quota: Duration, period: Duration) -> Result<Self, BandwidthError> {
        Self::MAX.with_period(period)?.with_quota(Some(quota))
    }

    /// With this quota, or none; whole microseconds count.
    ///
    /// # Errors
    ///
    /// If it is out of range, or less than the burst.
    pub fn with_quota(self, quota: Option<Duration>) -> Result<Self, BandwidthError> {
        let quota = quota.map(whole_micros);
        if let Some(quota) = quota.filter(|quota| !(LEAST..=QUOTA_MAX).contains(quota)) {
            return Err(BandwidthError::Quota { quota });
        }
        Self { quota, ..self }.checked()
    }

    /// With this period; whole microseconds count.
    ///
    /// # Errors
    ///
    /// If it is out of range.
    pub fn with_period(self, period: Duration) -> Result<Self, BandwidthError> {
        let period = whole_micros(period);
        if !(LEAST..=PERIOD_MAX).contains(&period) {
            return Err(BandwidthError::Period { period });
        }
        Ok(Self { period, ..self })
    }

    /// With this much saved up in quiet times; whole microseconds count. Without a quota it means nothing.
    ///
    /// # Errors
    ///
    /// If it is more than the quota.
    #[doc(alias = "cpu.max.burst")]
    pub fn with_burst(self, burst: Duration) -> Result<Self, BandwidthError> {
        Self { burst: whole_micros(burst), ..self }.checked()
    }

    /// This one with what a text changes: `max` or a quota in microseconds, and perhaps a period in
    /// microseconds. What is not in the text stays, as when `cpu.max` is written.
    ///
    /// # Errors
    ///
    /// If the text is something else, or the outcome makes no sense.
    pub fn updated(self, text: &str) -> Result<Self, BandwidthError> {
        let error = || BandwidthError::Text { text: text.to_owned() };
        let micros = |word: &str| match word.bytes().all(|byte| byte.is_ascii_digit()) {
            true => word.parse().map(Duration::from_micros).map_err(|_| error()),
            false => Err(error()),
        };
        let mut words = text.split_ascii_whitespace();
        let quota = match words.next().ok_or_else(error)? {
            "max" => None,
            word => Some(micros(word)?),
        };
        let period = words.next().map_or(Ok(self.period), micros)?;
        match words.next() {
            Some(_) => Err(error()),
            None => self.with_period(period)?.with_quota(quota),
        }
    }

    /// How much every period, or `None` without a limit.
    pub const fn quota(&self) -> Option<Duration> {
        self.quota
    }

    /// The period.
    pub const fn period(&self) -> Duration {
        self.period
    }

    /// How much can be saved up.
    pub const fn burst(&self) -> Duration {
        self.burst
    }

    fn checked(self) -> Result<Self, BandwidthError> {
        let most = self.quota.unwrap_or(QUOTA_MAX);
        match self.burst > most {
            true => Err(BandwidthError::Burst { burst: self.burst, quota: most }),
            false => Ok(self),
        }
    }
}

impl Default for Bandwidth {
    fn default() -> Self {
        Self::MAX
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.quota {
            None => f.write_str("max")?,
            Some(quota) => write!(f, "{}", quota.as_micros())?,
        }
        write!(f, " {}", self.period.as_micros())
    }
}

impl FromStr for Bandwidth {
    type Err = BandwidthError;

    fn from_str(text: &str) -> Result<Self, BandwidthError> {
        Self::MAX.updated(text)
    }
}

/// Microseconds are what the files show, so nothing finer is kept.
fn whole_micros(duration: Duration) -> Duration {
    duration - Duration::from_nanos(u64::from(duration.subsec_nanos() % 1_000))
}

/// A bandwidth as data that nobody has looked at.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
struct Plain {
    quota_us: Option<u64>,
    period_us: u64,
    #[serde(default)]
    burst_us: u64,
}

#[cfg(feature = "serde")]
impl From<Bandwidth> for Plain {
    fn from(bandwidth: Bandwidth) -> Self {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self {
            quota_us: bandwidth.quota.map(micros),
            period_us: micros(bandwidth.period),
            burst_us: micros(bandwidth.burst),
        }
    }
}

#[cfg(feature = "serde")]
impl TryFrom<Plain> for Bandwidth {
    type Error = BandwidthError;

    fn try_from(plain: Plain) -> Result<Self, BandwidthError> {
        Self::MAX
            .with_period(Duration::from_micros(plain.period_us))?
            .with_quota(plain.quota_us.map(Duration::from_micros))?
            .with_burst(Duration::from_micros(plain.burst_us))
    }
}
