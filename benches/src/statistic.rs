//! Medians, how well they are known, and verdicts.

/// Figures of several rounds, in ascending order.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample(Vec<f64>);

/// What a figure's rounds say about its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The median meets the target.
    Ok,
    /// The median misses the target, but so little that the rounds' own spread could explain it.
    NoDifference,
    /// The target is missed.
    Missed,
    /// There is no target: the figure stands for comparison.
    None,
}

impl Sample {
    /// Returns the sample of `figures`.
    #[must_use]
    pub fn new(mut figures: Vec<f64>) -> Self {
        assert!(!figures.is_empty(), "a sample has figures");
        figures.sort_by(f64::total_cmp);
        Self(figures)
    }

    /// Returns the sample of what `each` makes of its figures.
    #[must_use]
    pub fn map(&self, each: impl FnMut(f64) -> f64) -> Self {
        Self::new(self.0.iter().copied().map(each).collect())
    }

    /// Returns the middle figure; the lower one of two.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.0[(self.0.len() - 1) / 2]
    }

    /// Returns the least figure that `percent` of all do not exceed.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0[rank.max(1) - 1]
    }

    /// Returns the least figure.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.0[0]
    }

    /// Returns the greatest figure.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.0[self.0.len() - 1]
    }

    /// Returns bounds that hold the true median with 95 % confidence, or the extremes if there are
    /// too few figures for that.
    ///
    /// By order statistics, which assume nothing about the distribution: of `n` figures `k` or fewer
    /// lie below the true median with the probability of `k` or fewer heads in `n` throws of a coin.
    #[must_use]
    pub fn bounds(&self) -> (f64, f64) {
        let n = self.0.len();
        let mut chance = 0.5_f64.powi(i32::try_from(n).expect("few rounds"));
        let (mut sum, mut outside) = (chance, 0);
        loop {
            chance *= (n - outside) as f64 / (outside + 1) as f64;
            sum += chance;
            if sum > 0.025 {
                break;
            }
            outside += 1;
        }
        (self.0[outside], self.0[n - 1 - outside])
    }

    /// Holds the figures against `target`, where less is better.
    ///
    /// `noise` is what cannot be told from it: an upper bound of the same ratio for things that are
    /// known to be equal, or the target itself.
    #[must_use]
    pub fn verdict(&self, target: f64, noise: f64) -> Verdict {
        if self.median() <= target {
            Verdict::Ok
        } else if self.bounds().0 <= target.max(noise) {
            Verdict::NoDifference
        } else {
            Verdict::Missed
        }
    }
}

impl Verdict {
    /// Returns how the table says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NoDifference => "no difference",
            Self::Missed => "missed",
            Self::None => "",
        }
    }
}

/// Returns the median of `figures`; the lower one of two.
#[must_use]
pub fn median(figures: &[f64]) -> f64 {
    Sample::new(figures.to_vec()).median()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(figures: impl IntoIterator<Item = u32>) -> Sample {
        Sample::new(figures.into_iter().map(f64::from).collect())
    }

    #[track_caller]
    fn check_bounds(rounds: u32, expected: (f64, f64)) {
        assert_eq!(sample((1..=rounds).rev()).bounds(), expected, "{rounds} rounds");
    }

    #[test]
    fn bounds_are_those_of_the_tables() {
        check_bounds(1, (1.0, 1.0));
        check_bounds(5, (1.0, 5.0));
        check_bounds(6, (1.0, 6.0));
        check_bounds(9, (2.0, 8.0));
        check_bounds(15, (4.0, 12.0));
        check_bounds(25, (8.0, 18.0));
    }

    #[test]
    fn a_percentile_is_one_of_the_figures() {
        let hundred = sample(1..=100);
        assert_eq!([0, 50, 99, 100].map(|each| hundred.percentile(each)), [1.0, 50.0, 99.0, 100.0]);
        assert_eq!([1, 67].map(|each| sample([7, 8, 9]).percentile(each)), [7.0, 9.0]);
    }

    #[test]
    fn a_median_at_the_target_is_ok() {
        assert_eq!(sample([1, 2, 3, 9, 9]).verdict(3.0, 3.0), Verdict::Ok);
    }

    #[test]
    fn a_miss_within_the_spread_is_no_difference() {
        assert_eq!(sample([1, 2, 3, 9, 9]).verdict(2.0, 2.0), Verdict::NoDifference);
    }

    #[test]
    fn a_miss_beyond_the_spread_is_a_miss() {
        assert_eq!(sample([2, 3, 3, 4, 4]).verdict(1.0, 1.0), Verdict::Missed);
    }

    #[test]
    fn a_miss_that_equal_things_show_too_is_no_difference() {
        assert_eq!(sample([2, 3, 3, 4, 4]).verdict(1.0, 2.0), Verdict::NoDifference);
    }
}
