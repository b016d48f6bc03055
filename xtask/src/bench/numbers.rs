//! The middle and the ends of a few numbers. Pure.

/// The one in the middle, or between the two there; 0 of none.
pub(crate) fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[half],
        _ => f64::midpoint(sorted[half - 1], sorted[half]),
    }
}

/// The least and the most; 0 of none.
pub(crate) fn spread(numbers: &[f64]) -> (f64, f64) {
    let least = numbers.iter().copied().reduce(f64::min);
    let most = numbers.iter().copied().reduce(f64::max);
    (least.unwrap_or(0.0), most.unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::{median, spread};

    #[test]
    fn the_middle_is_between_the_ends() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
        assert_eq!(spread(&[3.0, 1.0, 2.0]), (1.0, 3.0));
    }
}
