//! Count, sum, mean and standard deviation, accurate to the last digits for any order and size of the values.

use super::double_double::DoubleDouble;
use serde::{Deserialize, Serialize};

/// Before they are summed, values are scaled by a power of two to at most about 1, so that no square over- or
/// underflows. Outside of this range of exponents, the power of two itself would over- or underflow.
const EXPONENTS: std::ops::RangeInclusive<i16> = -1000..=1000;

/// The first two moments of the values of a series.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Moments {
    count: u64,
    /// Both sums are over `value * 2^-exponent`.
    exponent: i16,
    sum: DoubleDouble,
    squares: DoubleDouble,
}

impl Default for Moments {
    fn default() -> Self {
        Self {
            count: 0,
            exponent: *EXPONENTS.start(),
            sum: DoubleDouble::default(),
            squares: DoubleDouble::default(),
        }
    }
}

/// `2^exponent`, for an exponent within [`EXPONENTS`]. Faster than `exp2`; called for every event.
fn power_of_two(exponent: i16) -> f64 {
    const BIAS: i16 = 1023;
    f64::from_bits(u64::from((BIAS + exponent).unsigned_abs()) << 52)
}

/// The smallest exponent within [`EXPONENTS`] with `|value| <= 2^exponent`, or that exponent plus one.
fn exponent_of(value: f64) -> i16 {
    let biased = (value.to_bits() >> 52) & 0x7ff;
    let exponent = i16::try_from(biased).unwrap_or(i16::MAX).saturating_sub(1022);
    exponent.clamp(*EXPONENTS.start(), *EXPONENTS.end())
}

impl Moments {
    pub(super) fn add(&mut self, value: f64) {
        self.count += 1;
        let exponent = exponent_of(value);
        if exponent > self.exponent {
            self.rescale(exponent);
        }
        let scaled = value * power_of_two(-self.exponent);
        self.sum = self.sum.plus_f64(scaled);
        self.squares = self.squares.plus(DoubleDouble::square(scaled));
    }

    /// Needed only when a value has a greater exponent than all values before it.
    #[cold]
    fn rescale(&mut self, exponent: i16) {
        let shift = f64::from(self.exponent) - f64::from(exponent);
        self.sum = self.sum.scaled(shift.exp2());
        self.squares = self.squares.scaled((2.0 * shift).exp2());
        self.exponent = exponent;
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Infinite if the sum exceeds the range of an `f64`.
    pub(super) fn sum(&self) -> f64 {
        self.sum.value() * power_of_two(self.exponent)
    }

    /// NaN without values.
    pub(super) fn mean(&self) -> f64 {
        self.sum.divided_by(self.divisor()).value() * power_of_two(self.exponent)
    }

    /// The standard deviation of the population; NaN without values.
    pub(super) fn stddev(&self) -> f64 {
        let spread = self.squares.minus(self.sum.times(self.sum).divided_by(self.divisor()));
        (spread.value().max(0.0) / self.divisor()).sqrt() * power_of_two(self.exponent)
    }

    /// Exact up to 2^53 values, more than any series has.
    fn divisor(&self) -> f64 {
        self.count as f64
    }

    /// Whether this state can result from adding values.
    pub(super) fn is_valid(&self) -> bool {
        EXPONENTS.contains(&self.exponent) && self.sum.is_finite() && self.squares.is_finite()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments_of(values: impl IntoIterator<Item = f64>) -> Moments {
        let mut moments = Moments::default();
        values.into_iter().for_each(|value| moments.add(value));
        moments
    }

    #[test]
    fn sums_of_integers_are_exact_where_a_single_f64_would_round() {
        let moments = moments_of([9_007_199_254_740_992.0, 1.0, 1.0, -9_007_199_254_740_992.0]);
        assert_eq!(moments.sum(), 2.0);
    }

    #[test]
    fn a_small_spread_around_a_large_mean_keeps_its_digits() {
        let moments = moments_of((0..999_999).map(|i| 1e9 + f64::from(i % 3)));
        let exact = (2.0_f64 / 3.0).sqrt();
        assert!((moments.stddev() / exact - 1.0).abs() < 1e-11, "{}", moments.stddev());
    }

    #[test]
    fn huge_and_tiny_values_neither_overflow_nor_underflow() {
        for unit in [1e307, 1e-300, 5e-324, f64::MAX / 4.0] {
            let moments = moments_of([unit, -unit, unit, -unit]);
            assert_eq!((moments.sum(), moments.mean(), moments.stddev()), (0.0, 0.0, unit), "{unit}");
        }
        assert_eq!(moments_of([f64::MAX, f64::MAX]).mean(), f64::MAX);
        assert_eq!(
            moments_of([f64::MAX, f64::MAX, -f64::MAX]).sum(),
            f64::MAX,
            "the partial sum must not overflow"
        );
    }

    #[test]
    fn small_values_are_not_lost_beside_a_huge_one() {
        assert_eq!(moments_of([1.0, 1e30, 1.0, -1e30]).sum(), 2.0);
    }
}
