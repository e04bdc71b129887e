//! A DDSketch (Masson, Rim, Lee, VLDB 2019): counts in buckets of geometric width, one order from the most negative value
//! through zero to the most positive.
//!
//! The mapping is that of `sketches-ddsketch`; its stores are not used, because they are dense (a series with both signs and
//! small values would not fit a slot), give up precision near zero first, call everything below 1e-9 zero, and take the bytes
//! they decode at their word.

use bincode::{
    Decode, Encode,
    de::Decoder,
    enc::Encoder,
    error::{DecodeError, EncodeError},
};
use sketches_ddsketch::Config;
use std::sync::LazyLock;

/// Half the relative width of a bucket: somewhat less than the promised 1 %, so that rounding in `ln` and `exp` cannot break it.
const ACCURACY: f64 = 0.0095;

/// The most buckets in use. At two to six bytes each they leave a slot room for the rest; 2,048 buckets hold 17 decades.
/// Beyond them the lowest are merged: the median and what is above it stay exact while their half of the data fits.
const MAX_BUCKETS: usize = 2048;

/// The order of the bucket next to zero is 1, not this: the least key, that of the least positive `f64`, is below -39,000.
const LEAST_KEY: i32 = -40_000;

/// No order is further from zero than this: that of the greatest `f64`, with room to spare.
const MAX_ORDER: i32 = 80_000;

static MAPPING: LazyLock<Config> = LazyLock::new(|| Config::new(ACCURACY, 0, f64::MIN_POSITIVE));

#[derive(Clone, Copy, Debug, PartialEq)]
struct Bucket {
    /// Negative for negative values, 0 for zero; rises with the values.
    order: i32,
    count: u64,
}

/// The distribution of a series' values.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Quantiles {
    /// By rising order, each order once, no count 0.
    buckets: Vec<Bucket>,
}

fn order_of(value: f64) -> i32 {
    if value == 0.0 {
        return 0;
    }
    let distance = MAPPING.key(value.abs()) - LEAST_KEY;
    if value < 0.0 { -distance } else { distance }
}

fn value_of(order: i32) -> f64 {
    match order.signum() {
        0 => 0.0,
        sign => f64::from(sign) * MAPPING.value(order.abs() + LEAST_KEY),
    }
}

impl Quantiles {
    pub(super) fn add(&mut self, value: f64) {
        let order = order_of(value);
        match self.buckets.binary_search_by_key(&order, |bucket| bucket.order) {
            Ok(at) => self.buckets[at].count += 1,
            Err(at) => self.insert(at, Bucket { order, count: 1 }),
        }
    }

    #[cold]
    fn insert(&mut self, at: usize, bucket: Bucket) {
        self.buckets.insert(at, bucket);
        if self.buckets.len() > MAX_BUCKETS {
            let lowest = self.buckets.remove(0);
            self.buckets[0].count += lowest.count;
        }
    }

    /// The number of values.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, bucket| sum.saturating_add(bucket.count))
    }

    /// The value at the nearest rank of this percentile, within 1 %; 0 when there is none.
    pub(super) fn percentile(&self, percent: u8) -> f64 {
        let rank = (u128::from(self.count()) * u128::from(percent)).div_ceil(100);
        let mut seen = 0_u128;
        let reached = self.buckets.iter().find(|bucket| {
            seen += u128::from(bucket.count);
            seen >= rank
        });
        reached.map_or(0.0, |bucket| value_of(bucket.order))
    }
}

impl Encode for Quantiles {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.buckets.len().encode(encoder)?;
        let mut before = -MAX_ORDER - 1;
        for bucket in &self.buckets {
            bucket.order.abs_diff(before).encode(encoder)?;
            bucket.count.encode(encoder)?;
            before = bucket.order;
        }
        Ok(())
    }
}

impl<Context> Decode<Context> for Quantiles {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let length = usize::decode(decoder)?;
        if length > MAX_BUCKETS {
            return Err(DecodeError::Other("more buckets than there can be"));
        }
        decoder.claim_container_read::<Bucket>(length)?;
        let mut buckets = Vec::with_capacity(length);
        let mut before = -MAX_ORDER - 1;
        for _ in 0..length {
            let (step, count) = (u32::decode(decoder)?, u64::decode(decoder)?);
            let order = before.checked_add_unsigned(step).filter(|order| step > 0 && *order <= MAX_ORDER);
            let order = order.ok_or(DecodeError::Other("a bucket is out of order"))?;
            if count == 0 {
                return Err(DecodeError::Other("a bucket is empty"));
            }
            buckets.push(Bucket { order, count });
            before = order;
        }
        Ok(Self { buckets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[f64]) -> Quantiles {
        let mut quantiles = Quantiles::default();
        values.iter().for_each(|value| quantiles.add(*value));
        quantiles
    }

    fn nearest_rank(values: &[f64], percent: usize) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[(sorted.len() * percent).div_ceil(100) - 1]
    }

    #[test]
    fn every_finite_value_has_a_bucket_within_one_percent_in_the_order_of_the_values() {
        let magnitudes = [5e-324, 1e-310, 1e-9, 0.3, 1.0, 66.0, 1e9, 1e300, f64::MAX / 1.01];
        let rising = magnitudes.iter().rev().map(|m| -m).chain([0.0]).chain(magnitudes);
        let mut before = i32::MIN;
        for value in rising {
            let order = order_of(value);
            assert!(order > before && order.abs() < MAX_ORDER, "{value}");
            let error = (value_of(order) - value).abs();
            assert!(error <= value.abs() * 0.01 || error < 1e-307, "{value} became {}", value_of(order));
            before = order;
        }
        assert!(order_of(f64::MAX) < MAX_ORDER && order_of(-0.0) == 0);
    }

    #[test]
    fn beyond_the_buckets_the_upper_half_stays_within_one_percent() {
        let values: Vec<f64> =
            (-1500_i32..2000).map(|i| f64::from(i).signum() * 1.02_f64.powi(i.abs())).collect();
        let quantiles = of(&values);
        assert_eq!(quantiles.buckets.len(), MAX_BUCKETS);
        assert_eq!(quantiles.count(), 3500);
        for percent in [50, 90, 99] {
            let exact = nearest_rank(&values, usize::from(percent));
            assert!((quantiles.percentile(percent) / exact - 1.0).abs() <= 0.01);
        }
    }

    proptest! {
        #[test]
        fn percentiles_are_within_one_percent_of_the_nearest_rank(
            values in prop::collection::vec(prop_oneof![-1e6..1e6, -1e-6..1e-6, Just(0.0), (-1e12..1e12)], 1..300)
        ) {
            let quantiles = of(&values);
            for percent in [1, 50, 90, 99, 100] {
                let exact = nearest_rank(&values, usize::from(percent));
                let found = quantiles.percentile(percent);
                prop_assert!((found - exact).abs() <= exact.abs() * 0.01, "p{percent}: {found} for {exact}");
            }
        }
    }
}
