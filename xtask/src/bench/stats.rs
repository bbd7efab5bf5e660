//! Medians, their spread, and ratios within rounds.

/// A median and the spread of the values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Middle {
    /// The median.
    pub median: f64,
    /// The median of the absolute distances from the median.
    pub deviation: f64,
}

impl Middle {
    /// The median of at least one value; `None` without a value.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        let median = median(values)?;
        let distances: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
        Some(Self {
            median,
            deviation: self::median(&distances)?,
        })
    }

    /// The median of the rounds' ratios, so that a slow round has no effect.
    pub(super) fn of_ratios(values: &[f64], bases: &[f64]) -> Option<Self> {
        let ratios: Vec<f64> = values
            .iter()
            .zip(bases)
            .filter(|(_, base)| **base > 0.0)
            .map(|(value, base)| value / base)
            .collect();
        Self::of(&ratios)
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    sorted
        .get(middle.checked_sub(1)?)
        .map(|lower| f64::midpoint(*lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_value_or_between_the_two() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn one_wild_value_moves_neither_median_nor_spread() {
        let calm = Middle::of(&[10.0, 11.0, 12.0, 11.0, 10.0]);
        let wild = Middle::of(&[10.0, 11.0, 12.0, 11.0, 9_000.0]);
        assert_eq!(
            calm,
            Some(Middle {
                median: 11.0,
                deviation: 1.0
            })
        );
        assert_eq!(wild.map(|middle| middle.median), Some(11.0));
        assert_eq!(wild.map(|middle| middle.deviation), Some(1.0));
    }

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        // The second round was twice as slow in both columns.
        let ratio = Middle::of_ratios(&[1.5, 3.0, 1.5], &[1.0, 2.0, 1.0]);
        assert_eq!(
            ratio,
            Some(Middle {
                median: 1.5,
                deviation: 0.0
            })
        );
        assert_eq!(Middle::of_ratios(&[1.0], &[0.0]), None);
    }
}
