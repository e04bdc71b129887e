//! Medians, percentiles and ratios.

/// The values of one candidate, one per round.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RoundValues(Vec<f64>);

impl RoundValues {
    pub(crate) fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// The median; `None` without rounds.
    pub(crate) fn median(&self) -> Option<f64> {
        percentile(&self.0, 50)
    }

    /// The median of the rounds' ratios to `other`. A disturbance of both in one round cancels out.
    pub(crate) fn ratio_to(&self, other: &Self) -> Option<f64> {
        let ratios: Vec<f64> = self.0.iter().zip(&other.0).map(|(ours, theirs)| ours / theirs).collect();
        percentile(&ratios, 50)
    }

    pub(crate) fn all(&self) -> &[f64] {
        &self.0
    }
}

impl FromIterator<f64> for RoundValues {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

/// The value at the nearest rank; `None` without values.
pub(crate) fn percentile(values: &[f64], percent: usize) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_value_at_the_nearest_rank() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!([0, 50, 99, 100].map(|p| percentile(&values, p)), [1.0, 3.0, 5.0, 5.0].map(Some));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        // The second round was three times as slow for both.
        let (ours, theirs) = (RoundValues(vec![90.0, 30.0, 88.0]), RoundValues(vec![9.0, 3.0, 11.0]));
        assert_eq!(ours.ratio_to(&theirs), Some(10.0));
    }
}
