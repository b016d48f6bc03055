//! The statistics that rules use. Pure.

use statrs::function::beta::checked_beta_reg;

/// The share of connections left behind that is put down to chance: a dial that lost
/// a race, a worker that ended in the middle.
pub(crate) const CHANCE: f64 = 0.01;

/// How many of the sites called leaking by a test may be so by chance.
pub(crate) const FALSE_DISCOVERIES: f64 = 0.01;

/// The prior of a site's leaking share: one in twenty, as sure as twenty
/// connections make it.
const PRIOR: (f64, f64) = (1.0, 19.0);

/// From which leaking share on the posterior is told.
pub(crate) const NOTABLE_SHARE: f64 = 0.05;

/// How likely it is that of `n` connections `left` or more are left behind by
/// chance alone.
pub(crate) fn by_chance(left: u64, n: u64) -> f64 {
    if left == 0 || left > n {
        return 1.0;
    }
    // The upper tail of a binomial distribution.
    checked_beta_reg(real(left), real(n - left + 1), CHANCE).unwrap_or(1.0)
}

/// How likely it is that more than [`NOTABLE_SHARE`] of a site's connections are
/// left behind for good, after `left` of `n` were.
pub(crate) fn posterior(left: u64, n: u64) -> f64 {
    let a = PRIOR.0 + real(left);
    let b = PRIOR.1 + real(n.saturating_sub(left));
    1.0 - checked_beta_reg(a, b, NOTABLE_SHARE).unwrap_or(1.0)
}

/// The p-value up to which tests are significant when so many are made at once, so
/// that no more than [`FALSE_DISCOVERIES`] of those are false (Benjamini and
/// Hochberg); 0 where none is.
#[must_use]
pub fn significance(mut p_values: Vec<f64>) -> f64 {
    p_values.sort_by(f64::total_cmp);
    let tests = p_values.len() as f64;
    let ranked = (1_u32..).zip(p_values);
    let significant = ranked.filter(|(rank, p)| *p <= f64::from(*rank) / tests * FALSE_DISCOVERIES);
    significant.last().map_or(0.0, |(_, p)| p)
}

/// The slope through points (x, y) that half of all pairs exceed (Theil and Sen): a
/// burst does not move it. `None` with fewer than three points.
pub(crate) fn theil_sen(points: &[(f64, f64)]) -> Option<f64> {
    if points.len() < 3 {
        return None;
    }
    let mut slopes: Vec<f64> = Vec::new();
    for (i, a) in points.iter().enumerate() {
        let later = points[i + 1..].iter().filter(|b| b.0 != a.0);
        slopes.extend(later.map(|b| (b.1 - a.1) / (b.0 - a.0)));
    }
    if slopes.is_empty() {
        return None;
    }
    let middle = slopes.len() / 2;
    let (_, median, _) = slopes.select_nth_unstable_by(middle, f64::total_cmp);
    Some(*median)
}

/// Counts are far below 2^52, so that none loses a bit.
pub(crate) fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::{by_chance, posterior, significance, theil_sen};

    #[test]
    fn chance_leaves_few_behind() {
        assert_eq!(by_chance(0, 100), 1.0);
        assert!(by_chance(1, 100) > 0.5);
        assert!(by_chance(5, 100) < 0.005);
        assert!(by_chance(3, 3) < 2e-6);
        assert!(by_chance(11, 225) < 1e-4);
    }

    #[test]
    fn the_prior_asks_for_proof() {
        assert!(posterior(0, 0) < 0.4);
        assert!(posterior(0, 100) < 0.01);
        assert!(posterior(3, 3) > 0.95);
        assert!(posterior(50, 100) > 0.999_999);
    }

    #[test]
    fn many_tests_need_more_proof() {
        assert_eq!(significance(vec![]), 0.0);
        assert_eq!(significance(vec![0.009]), 0.009);
        assert_eq!(significance(vec![0.011]), 0.0);
        let mut many = vec![0.5; 99];
        many.push(0.009);
        assert_eq!(significance(many.clone()), 0.0);
        many.push(0.000_01);
        assert_eq!(significance(many), 0.000_01);
        assert_eq!(significance(vec![0.009; 5]), 0.009);
    }

    #[test]
    fn a_burst_does_not_move_the_slope() {
        let line = |x: f64| (x, 3.0 * x + 1.0);
        let mut points: Vec<_> = (0..20_u32).map(|x| line(x.into())).collect();
        points[7].1 = 500.0;
        let slope = theil_sen(&points).expect("enough");
        assert!((slope - 3.0).abs() < 1e-9, "{slope}");
        assert_eq!(theil_sen(&points[..2]), None);
        assert_eq!(theil_sen(&[(1.0, 1.0); 3]), None);
    }
}
