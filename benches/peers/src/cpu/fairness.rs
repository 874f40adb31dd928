//! How far shares are from what they should be.

/// Work that each group has done by then, sampled again and again.
pub type Samples = [Vec<u64>];

/// Returns Jain's index of what each got in proportion to what it should: 1 where all are treated
/// alike, 1/n where one has everything.
///
/// Jain, Chiu, Hawe 1984, "A quantitative measure of fairness and discrimination".
#[must_use]
pub fn jain(figures: &[f64]) -> f64 {
    let sum: f64 = figures.iter().sum();
    let squares: f64 = figures.iter().map(|figure| figure * figure).sum();
    if squares == 0.0 { 0.0 } else { sum * sum / (figures.len() as f64 * squares) }
}

/// Returns by how much the share of the worst-off or best-off group differs from what it should be,
/// in per cent of that; 100 where nobody got anything.
///
/// `wants` are shares that add up to one.
#[must_use]
pub fn share_error(done: &[u64], wants: &[f64]) -> f64 {
    let total: u64 = done.iter().sum();
    if total == 0 {
        return 100.0;
    }
    let error = |(done, want): (&u64, &f64)| (*done as f64 / total as f64 - want).abs() / want;
    100.0 * done.iter().zip(wants).map(error).fold(0.0, f64::max)
}

/// Returns what each group did between the first sample and the last.
#[must_use]
pub fn whole(samples: &Samples) -> Vec<u64> {
    match samples {
        [first, .., last] => between(first, last),
        _ => Vec::new(),
    }
}

/// Returns the largest share error of all windows between two samples.
#[must_use]
pub fn worst_window(samples: &Samples, wants: &[f64]) -> f64 {
    let errors = samples.windows(2).map(|pair| share_error(&between(&pair[0], &pair[1]), wants));
    errors.fold(0.0, f64::max)
}

fn between(first: &[u64], last: &[u64]) -> Vec<u64> {
    first.iter().zip(last).map(|(first, last)| last - first).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn is(figure: f64, expected: f64) {
        assert!((figure - expected).abs() < 1e-9, "{figure}, not {expected}");
    }

    #[test]
    fn jains_index_is_one_for_equals_and_one_nth_for_a_winner() {
        is(jain(&[3.0; 7]), 1.0);
        is(jain(&[5.0, 0.0, 0.0, 0.0]), 0.25);
        is(jain(&[1.0, 2.0, 3.0]), 36.0 / 42.0);
        is(jain(&[0.0, 0.0]), 0.0);
    }

    #[test]
    fn a_share_error_is_relative_to_what_is_wanted() {
        is(share_error(&[50, 50], &[0.5, 0.5]), 0.0);
        is(share_error(&[30, 70], &[0.2, 0.8]), 50.0);
        is(share_error(&[0, 100], &[0.5, 0.5]), 100.0);
        is(share_error(&[0, 0], &[0.5, 0.5]), 100.0);
    }

    #[test]
    fn windows_lie_between_samples() {
        let samples = [vec![10, 10], vec![20, 20], vec![25, 35], vec![40, 40]];
        assert_eq!(whole(&samples), [30, 30]);
        is(share_error(&whole(&samples), &[0.5, 0.5]), 0.0);
        is(worst_window(&samples, &[0.5, 0.5]), 50.0);
        is(worst_window(&samples[..1], &[0.5, 0.5]), 0.0);
    }
}
