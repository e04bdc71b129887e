//! How often each label came, and how many there are: exact while there are few, estimated beyond.
//!
//! Counters are kept for [`TRACKED`] labels by the space-saving rule (Metwally, Agrawal, El Abbadi, ICDT 2005): a label that
//! comes when all are taken takes over the least one's place and count, and remembers that count as its possible error. Distinct labels are
//! then counted by a CPC sketch (Lang 2017) of Apache DataSketches. Their frequent-items sketch was weighed and left: at a size
//! that is exact to 100 labels it could fill half a slot with long ones, and at half that size its error is three times as large.

use bincode::{
    Decode, Encode,
    de::Decoder,
    enc::Encoder,
    error::{DecodeError, EncodeError},
};
use bulkhead_proto::event::MAX_LABEL;
use datasketches::{cpc::CpcSketch, hash::value::raw_bytes};
use hashbrown::HashMap;
use std::{cmp::Reverse, fmt};

/// The labels counted one by one: above the 100 up to which `distinct_labels` is exact and the 64 of `top_labels`, and
/// still 17 KiB in the worst case of 128-byte labels.
const TRACKED: usize = 128;

/// The sketch's size: 2^14 rows give a standard error of 0.46 % (0.589 / 2^7), so that 2 % is more than four of them;
/// it takes at most 10 KiB.
const LG_K: u8 = 14;

#[derive(Clone, Copy, Debug, PartialEq, Encode, Decode)]
struct Counter {
    /// At least as often as it came.
    count: u64,
    /// At most so many of these belong to labels whose place it took.
    error: u64,
}

impl Counter {
    fn sure(self) -> u64 {
        self.count - self.error
    }
}

/// The labels of a series.
#[derive(Clone, Default)]
pub(super) struct Labels {
    counters: HashMap<Box<str>, Counter>,
    /// Present as soon as there were more labels than [`TRACKED`].
    sketch: Option<Box<CpcSketch>>,
}

impl Labels {
    pub(super) fn add(&mut self, label: &str) {
        if let Some(counter) = self.counters.get_mut(label) {
            counter.count += 1;
        } else if self.counters.len() < TRACKED {
            self.counters.insert(label.into(), Counter { count: 1, error: 0 });
        } else {
            self.take_over(label);
        }
    }

    /// A label that is in no counter takes the place of the least one: the earliest by name, so that the same events always
    /// give the same state.
    #[cold]
    fn take_over(&mut self, label: &str) {
        let sketch = self.sketch.get_or_insert_with(|| {
            // In range, as a test says: the default, which is coarser, is never used.
            let mut sketch = CpcSketch::new(LG_K).unwrap_or_default();
            self.counters.keys().for_each(|known| sketch.update(raw_bytes::from_str(known)));
            Box::new(sketch)
        });
        sketch.update(raw_bytes::from_str(label));
        let least = self.counters.iter().min_by(|a, b| (a.1.count, a.0).cmp(&(b.1.count, b.0)));
        let least = least.map(|(name, counter)| (name.clone(), counter.count));
        let Some((name, error)) = least else { return };
        self.counters.remove(&name);
        self.counters.insert(label.into(), Counter { count: error + 1, error });
    }

    /// How many different labels came: exact to [`TRACKED`], then within 2 %.
    pub(super) fn distinct(&self) -> f64 {
        let tracked = u32::try_from(self.counters.len()).unwrap_or(u32::MAX).into();
        self.sketch.as_ref().map_or(tracked, |sketch| sketch.estimate().round().max(tracked))
    }

    /// The most frequent labels with how often they surely came, ties by name.
    pub(super) fn top(&self, most: usize) -> Vec<(&str, u64)> {
        let mut all: Vec<_> = self.counters.iter().map(|(name, counter)| (&**name, counter.sure())).collect();
        all.sort_unstable_by(|a, b| (Reverse(a.1), a.0).cmp(&(Reverse(b.1), b.0)));
        all.truncate(most);
        all
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Labels")
            .field("counters", &self.counters)
            .field("distinct", &self.distinct())
            .finish()
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        let image = |labels: &Self| labels.sketch.as_ref().map(|sketch| sketch.serialize());
        self.counters == other.counters && image(self) == image(other)
    }
}

impl Encode for Labels {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.counters.len().encode(encoder)?;
        for (name, counter) in &self.counters {
            name.encode(encoder)?;
            counter.encode(encoder)?;
        }
        self.sketch.as_ref().map(|sketch| sketch.serialize()).encode(encoder)
    }
}

impl<Context> Decode<Context> for Labels {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let length = usize::decode(decoder)?;
        if length > TRACKED {
            return Err(DecodeError::Other("more labels than are tracked"));
        }
        let mut counters = HashMap::with_capacity(length);
        for _ in 0..length {
            let (name, counter) = (Box::<str>::decode(decoder)?, Counter::decode(decoder)?);
            if name.len() > MAX_LABEL || counter.count <= counter.error {
                return Err(DecodeError::Other("a label or its count is out of bounds"));
            }
            if counters.insert(name, counter).is_some() {
                return Err(DecodeError::Other("a label comes twice"));
            }
        }
        let sketch = match Option::<Vec<u8>>::decode(decoder)? {
            None => None,
            Some(_) if length < TRACKED => return Err(DecodeError::Other("a sketch of few labels")),
            Some(image) => Some(Box::new(sketch_of(&image)?)),
        };
        Ok(Self { counters, sketch })
    }
}

fn sketch_of(image: &[u8]) -> Result<CpcSketch, DecodeError> {
    let sketch =
        CpcSketch::deserialize(image).map_err(|error| DecodeError::OtherString(error.to_string()))?;
    if sketch.lg_k() == LG_K && sketch.estimate().is_finite() {
        Ok(sketch)
    } else {
        Err(DecodeError::Other("a sketch of another kind"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(labels: u32) -> Labels {
        let mut all = Labels::default();
        (0..labels).for_each(|i| all.add(&format!("label-{i}")));
        all
    }

    #[test]
    fn counts_are_exact_up_to_the_tracked_labels() {
        let mut labels = numbered(128);
        labels.add("label-7");
        assert_eq!(labels.distinct(), 128.0);
        assert_eq!(labels.top(2), [("label-7", 2), ("label-0", 1)]);
        assert!(labels.sketch.is_none());
    }

    #[test]
    fn beyond_them_distinct_labels_are_within_two_percent() {
        for labels in [129, 1_000, 20_000, 300_000] {
            let found = numbered(labels).distinct();
            assert!((found / f64::from(labels) - 1.0).abs() <= 0.02, "{found} for {labels}");
        }
        assert_eq!(numbered(129).sketch.map(|sketch| sketch.lg_k()), Some(LG_K));
    }

    #[test]
    fn frequent_labels_are_found_among_many_rare_ones() {
        let mut labels = Labels::default();
        for i in 0..100_000_u32 {
            labels.add(&format!("rare-{i}"));
            if i % 50 == 0 {
                labels.add(["b", "a"][(i / 50 % 2) as usize]);
            }
        }
        assert_eq!(labels.top(2).iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["b", "a"]);
        assert!(labels.top(2).iter().all(|(_, count)| (990..=1000).contains(count)));
    }
}
