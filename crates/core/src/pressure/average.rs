//! Averages that forget: the share of time stalled, over the last 10, 60 and 300 seconds.
//!
//! After each period of 2 seconds an average over `T` seconds moves towards the share `p` of the period
//! that was stalled:
//!
//! ```text
//! a := d a + (1 - d) p        with d = e^(-2/T)
//! ```
//!
//! `n` periods of the same `p` are one step with `d^n`, found by squaring; so a group that was idle for
//! years is brought up to date in a few dozen multiplications.
//!
//! Shares are whole numbers of 2^-32, products rounded to the nearest, so an average is the same on
//! every machine, and off by less than 10^-6 after however many periods: each period adds half a unit
//! at most, and forgets errors as it forgets the rest.

use std::time::Duration;

use crate::pressure::window::Passed;

/// How often the averages move.
pub(super) const PERIOD: Duration = Duration::from_secs(2);

/// A share of time, 0 to [`ONE`].
pub(super) type Share = u64;

/// All the time.
pub(super) const ONE: Share = 1 << 32;

/// e^(-2/10), e^(-2/60) and e^(-2/300).
const DECAYS: [Share; 3] = [3_516_421_809, 4_154_161_520, 4_266_429_413];

/// The averages over 10, 60 and 300 seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Averages(pub(super) [Share; 3]);

impl Averages {
    pub(super) const NONE: Self = Self([0; 3]);

    /// Moves on by the periods that ended.
    pub(super) fn advance(&mut self, passed: Passed) {
        for (average, decay) in self.0.iter_mut().zip(DECAYS) {
            *average = step(*average, share(passed.first), decay);
            *average = step(*average, share(passed.each), power(decay, passed.more));
        }
    }
}

/// Returns which share of a period `stalled` is.
fn share(stalled: Duration) -> Share {
    let share = stalled.as_nanos() * u128::from(ONE) / PERIOD.as_nanos();
    u64::try_from(share).map_or(ONE, |share| share.min(ONE))
}

fn step(average: Share, share: Share, decay: Share) -> Share {
    rounded(product(average, decay) + product(share, ONE.saturating_sub(decay)))
}

/// Returns `base` to the power of `exponent`.
fn power(mut base: Share, mut exponent: u64) -> Share {
    let mut power = ONE;
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = rounded(product(power, base));
        }
        base = rounded(product(base, base));
        exponent >>= 1;
    }
    power
}

fn product(a: Share, b: Share) -> u128 {
    u128::from(a) * u128::from(b)
}

/// Brings a sum of products, at most ONE times ONE, back to a share.
fn rounded(products: u128) -> Share {
    u64::try_from((products + u128::from(ONE / 2)) >> 32).unwrap_or(ONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn periods(first: Duration, more: u64, each: Duration) -> Passed {
        Passed { first, more, each }
    }

    /// In parts of a million.
    fn ppm(averages: Averages) -> [u64; 3] {
        averages.0.map(|share| (share * 1_000_000 + ONE / 2) >> 32)
    }

    #[test]
    fn one_full_period_moves_an_average_by_what_it_forgets() {
        let mut averages = Averages::NONE;
        averages.advance(periods(PERIOD, 0, Duration::ZERO));
        // 1 - e^(-1/5), 1 - e^(-1/30), 1 - e^(-1/150)
        assert_eq!(ppm(averages), [181_269, 32_784, 6_644]);
    }

    #[test]
    fn an_average_reaches_63_percent_in_its_time() {
        let mut averages = Averages::NONE;
        averages.advance(periods(PERIOD, 4, PERIOD));
        // 1 - e^-1, 1 - e^(-1/6), 1 - e^(-1/30)
        assert_eq!(ppm(averages), [632_121, 153_518, 32_784]);
    }

    #[test]
    fn many_periods_in_one_step_are_as_many_steps() {
        for count in [1, 2, 3, 29, 150, 1_000, 10_000] {
            let (mut stepped, mut jumped) = (Averages([ONE / 3; 3]), Averages([ONE / 3; 3]));
            for _ in 0..count {
                stepped.advance(periods(PERIOD / 4, 0, Duration::ZERO));
            }
            jumped.advance(periods(PERIOD / 4, 0, Duration::ZERO));
            for (average, decay) in jumped.0.iter_mut().zip(DECAYS) {
                *average = step(*average, share(PERIOD / 4), power(decay, count - 1));
            }
            for (stepped, jumped) in stepped.0.into_iter().zip(jumped.0) {
                assert!(stepped.abs_diff(jumped) < 1_000, "{count}: {stepped} {jumped}");
            }
        }
    }

    #[test]
    fn eternity_is_reached_and_forgotten() {
        let mut averages = Averages::NONE;
        averages.advance(periods(PERIOD, u64::MAX, PERIOD));
        assert_eq!(averages.0, [ONE; 3]);
        averages.advance(periods(Duration::ZERO, u64::MAX, Duration::ZERO));
        assert_eq!(averages.0, [0; 3]);
    }
}
