//! Count, sum, mean and standard deviation, good to the last digits whatever the order and size of the values.

use super::pair::Pair;
use bincode::{Decode, Encode};

/// Values are scaled by a power of two to at most about 1 before they are summed, so that no square over- or underflows.
/// Beyond these exponents that power itself would.
const EXPONENTS: std::ops::RangeInclusive<i16> = -1000..=1000;

/// The first two moments of a series.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub(super) struct Moments {
    count: u64,
    /// All sums are of `value * 2^-exponent`.
    exponent: i16,
    sum: Pair,
    squares: Pair,
}

impl Default for Moments {
    fn default() -> Self {
        Self { count: 0, exponent: *EXPONENTS.start(), sum: Pair::default(), squares: Pair::default() }
    }
}

/// 2 to the `exponent`, which lies within [`EXPONENTS`]: `exp2`, as fast as it is done once an event.
fn power_of_two(exponent: i16) -> f64 {
    const BIAS: i16 = 1023;
    f64::from_bits(u64::from((BIAS + exponent).unsigned_abs()) << 52)
}

/// The least exponent within [`EXPONENTS`] with `|value| <= 2^exponent`, or one more.
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
        self.squares = self.squares.plus(Pair::square(scaled));
    }

    /// Rare: only when a value exceeds all before it by its exponent.
    #[cold]
    fn rescale(&mut self, exponent: i16) {
        let apart = f64::from(self.exponent) - f64::from(exponent);
        self.sum = self.sum.scaled(apart.exp2());
        self.squares = self.squares.scaled((2.0 * apart).exp2());
        self.exponent = exponent;
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Infinite when the sum is beyond what an `f64` can say.
    pub(super) fn sum(&self) -> f64 {
        self.sum.value() * power_of_two(self.exponent)
    }

    /// NaN when there is no value.
    pub(super) fn mean(&self) -> f64 {
        self.sum.divided_by(self.divisor()).value() * power_of_two(self.exponent)
    }

    /// The population's standard deviation; NaN when there is no value.
    pub(super) fn stddev(&self) -> f64 {
        let spread = self.squares.minus(self.sum.times(self.sum).divided_by(self.divisor()));
        (spread.value().max(0.0) / self.divisor()).sqrt() * power_of_two(self.exponent)
    }

    /// Exact up to 2^53 values, which are beyond any series.
    fn divisor(&self) -> f64 {
        self.count as f64
    }

    /// Whether this can have come from adding values.
    pub(super) fn is_sound(&self) -> bool {
        EXPONENTS.contains(&self.exponent) && self.sum.is_finite() && self.squares.is_finite()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = f64>) -> Moments {
        let mut moments = Moments::default();
        values.into_iter().for_each(|value| moments.add(value));
        moments
    }

    #[test]
    fn sums_of_whole_numbers_are_exact_where_an_f64_alone_would_round() {
        let moments = of([9_007_199_254_740_992.0, 1.0, 1.0, -9_007_199_254_740_992.0]);
        assert_eq!(moments.sum(), 2.0);
    }

    #[test]
    fn a_small_spread_around_a_large_mean_keeps_its_digits() {
        let moments = of((0..999_999).map(|i| 1e9 + f64::from(i % 3)));
        let exact = (2.0_f64 / 3.0).sqrt();
        assert!((moments.stddev() / exact - 1.0).abs() < 1e-11, "{}", moments.stddev());
    }

    #[test]
    fn neither_huge_nor_tiny_values_over_or_underflow() {
        for unit in [1e307, 1e-300, 5e-324, f64::MAX / 4.0] {
            let moments = of([unit, -unit, unit, -unit]);
            assert_eq!((moments.sum(), moments.mean(), moments.stddev()), (0.0, 0.0, unit), "{unit}");
        }
        assert_eq!(of([f64::MAX, f64::MAX]).mean(), f64::MAX);
        assert_eq!(of([f64::MAX, f64::MAX, -f64::MAX]).sum(), f64::MAX, "no overflow on the way");
    }

    #[test]
    fn a_value_that_dwarfs_the_others_does_not_lose_them() {
        assert_eq!(of([1.0, 1e30, 1.0, -1e30]).sum(), 2.0);
    }
}
