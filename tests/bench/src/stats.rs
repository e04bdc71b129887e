//! Medians, percentiles and ratios.

/// One candidate's figures, one a round.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rounds(Vec<f64>);

impl Rounds {
    pub(crate) fn add(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The median; none when there was no round.
    pub(crate) fn median(&self) -> Option<f64> {
        percentile(&self.0, 50)
    }

    /// The median of the rounds' ratios to `other`: what both suffered in a round cancels out.
    pub(crate) fn ratio_to(&self, other: &Self) -> Option<f64> {
        let ratios: Vec<f64> = self.0.iter().zip(&other.0).map(|(ours, theirs)| ours / theirs).collect();
        percentile(&ratios, 50)
    }

    pub(crate) fn all(&self) -> &[f64] {
        &self.0
    }
}

impl FromIterator<f64> for Rounds {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Self {
        Self(figures.into_iter().collect())
    }
}

/// The figure at the nearest rank; none of none.
pub(crate) fn percentile(figures: &[f64], percent: usize) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_figure_at_the_nearest_rank() {
        let figures = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!([0, 50, 99, 100].map(|p| percentile(&figures, p)), [1.0, 3.0, 5.0, 5.0].map(Some));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        // The second round was three times as slow for both.
        let (ours, theirs) = (Rounds(vec![90.0, 30.0, 88.0]), Rounds(vec![9.0, 3.0, 11.0]));
        assert_eq!(ours.ratio_to(&theirs), Some(10.0));
    }
}
