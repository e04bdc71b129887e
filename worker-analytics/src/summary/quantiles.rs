//! A DDSketch (Masson, Rim, Lee, VLDB 2019): counts in buckets of geometric width. One sequence of bucket
//! indexes runs from the most negative value through zero to the most positive one.
//!
//! The mapping from values to buckets is that of `sketches-ddsketch`. Its stores are not used: they are dense
//! (a series with both signs and small values would not fit a slot), lose precision near zero first, treat
//! everything below 1e-9 as zero, and do not validate the bytes that they decode.

use super::varint;
use serde::{Deserialize, Serialize, Serializer};
use serde_bytes::ByteBuf;
use sketches_ddsketch::Config;
use std::sync::LazyLock;

/// Half the relative width of a bucket. Less than the promised 1 %, as a margin for rounding in `ln` and
/// `exp`.
const ACCURACY: f64 = 0.0095;

/// The most buckets in use. They take two to six bytes each, which leaves room in the slot for the rest;
/// 2,048 buckets span 17 decades. Beyond that, the lowest buckets are merged: the upper half of the values
/// stays within 1 % as long as it fits.
const MAX_BUCKETS: usize = 2048;

/// A lower bound of the mapping's keys: the key of the smallest positive `f64` is below -39,000. Subtracting
/// it makes every distance from zero positive.
const MIN_KEY: i32 = -40_000;

/// A bound of all bucket indexes: more than the index of the greatest `f64`.
const MAX_INDEX: i32 = 80_000;

/// The index from which the distance of the first bucket is stored.
const BEFORE_FIRST: i32 = -MAX_INDEX - 1;

static MAPPING: LazyLock<Config> = LazyLock::new(|| Config::new(ACCURACY, 0, f64::MIN_POSITIVE));

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Negative for negative values, 0 for zero; rises with the values.
    index: i32,
    count: u64,
}

/// The distribution of the values of a series.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "ByteBuf")]
pub(super) struct Quantiles {
    /// Sorted by index; each index occurs once, and no count is 0.
    buckets: Vec<Bucket>,
}

fn bucket_index(value: f64) -> i32 {
    if value == 0.0 {
        return 0;
    }
    let distance = MAPPING.key(value.abs()) - MIN_KEY;
    if value < 0.0 { -distance } else { distance }
}

fn bucket_value(index: i32) -> f64 {
    match index.signum() {
        0 => 0.0,
        sign => f64::from(sign) * MAPPING.value(index.abs() + MIN_KEY),
    }
}

impl Quantiles {
    pub(super) fn add(&mut self, value: f64) {
        let index = bucket_index(value);
        match self.buckets.binary_search_by_key(&index, |bucket| bucket.index) {
            Ok(at) => self.buckets[at].count += 1,
            Err(at) => self.insert(at, Bucket { index, count: 1 }),
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

    /// The value at the nearest rank of this percentile, within 1 %; 0 without values.
    pub(super) fn percentile(&self, percent: u8) -> f64 {
        let rank = (u128::from(self.count()) * u128::from(percent)).div_ceil(100);
        let mut cumulative = 0_u128;
        let bucket = self.buckets.iter().find(|bucket| {
            cumulative += u128::from(bucket.count);
            cumulative >= rank
        });
        bucket.map_or(0.0, |bucket| bucket_value(bucket.index))
    }
}

/// As bytes: for each bucket, the distance of its index from the one before it, and the count.
impl Serialize for Quantiles {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(4 * self.buckets.len());
        let mut previous = BEFORE_FIRST;
        for bucket in &self.buckets {
            varint::put(&mut bytes, bucket.index.abs_diff(previous).into());
            varint::put(&mut bytes, bucket.count);
            previous = bucket.index;
        }
        serializer.serialize_bytes(&bytes)
    }
}

impl TryFrom<ByteBuf> for Quantiles {
    type Error = &'static str;

    fn try_from(bytes: ByteBuf) -> Result<Self, Self::Error> {
        let mut rest = &bytes[..];
        let (mut buckets, mut previous) = (Vec::new(), BEFORE_FIRST);
        while !rest.is_empty() {
            if buckets.len() == MAX_BUCKETS {
                return Err("too many buckets");
            }
            let step = varint::take(&mut rest).filter(|step| *step > 0).and_then(|step| step.try_into().ok());
            let index = step.and_then(|step| previous.checked_add_unsigned(step));
            let index = index.filter(|index| *index <= MAX_INDEX).ok_or("a bucket index is out of order")?;
            let count = varint::take(&mut rest).filter(|count| *count > 0).ok_or("a bucket is empty")?;
            buckets.push(Bucket { index, count });
            previous = index;
        }
        Ok(Self { buckets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn quantiles_of(values: &[f64]) -> Quantiles {
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
    fn bucket_indexes_rise_with_the_values_and_a_bucket_is_within_one_percent_of_its_values() {
        let magnitudes = [5e-324, 1e-310, 1e-9, 0.3, 1.0, 66.0, 1e9, 1e300, f64::MAX / 1.01];
        let rising = magnitudes.iter().rev().map(|m| -m).chain([0.0]).chain(magnitudes);
        let mut before = i32::MIN;
        for value in rising {
            let index = bucket_index(value);
            assert!(index > before && index.abs() < MAX_INDEX, "{value}");
            let error = (bucket_value(index) - value).abs();
            assert!(error <= value.abs() * 0.01 || error < 1e-307, "{value} became {}", bucket_value(index));
            before = index;
        }
        assert!(bucket_index(f64::MAX) < MAX_INDEX && bucket_index(-0.0) == 0);
    }

    #[test]
    fn when_buckets_are_merged_the_upper_half_stays_within_one_percent() {
        let values: Vec<f64> =
            (-1500_i32..2000).map(|i| f64::from(i).signum() * 1.02_f64.powi(i.abs())).collect();
        let quantiles = quantiles_of(&values);
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
            let quantiles = quantiles_of(&values);
            for percent in [1, 50, 90, 99, 100] {
                let exact = nearest_rank(&values, usize::from(percent));
                let found = quantiles.percentile(percent);
                prop_assert!((found - exact).abs() <= exact.abs() * 0.01, "p{percent}: {found} for {exact}");
            }
        }
    }
}
