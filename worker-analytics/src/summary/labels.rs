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
use bulkhead_proto::wire::event::MAX_LABEL;
use datasketches::{cpc::CpcSketch, hash::value::raw_bytes};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::{cell::OnceCell, cmp::Reverse, fmt, hash::BuildHasher};

/// The labels counted one by one: above the 100 up to which `distinct_labels` is exact and the 64 of `top_labels`, and
/// still 17 KiB in the worst case of 128-byte labels.
const TRACKED: usize = 128;

/// The sketch's size: 2^14 rows give a standard error of 0.46 % (0.589 / 2^7), so that 2 % is more than four of them;
/// it takes at most 10 KiB.
const LG_K: u8 = 14;

/// One label that is counted by itself.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
struct Counter {
    name: Box<str>,
    /// At least as often as it came.
    count: u64,
    /// At most so many of these belong to labels whose place it took.
    error: u64,
}

impl Counter {
    const fn sure(&self) -> u64 {
        self.count - self.error
    }
}

/// The labels of a series.
#[derive(Clone, Default)]
pub(super) struct Labels {
    counters: Vec<Counter>,
    /// Places among the counters, by the hash of the name.
    index: HashTable<usize>,
    hasher: DefaultHashBuilder,
    /// Present as soon as there were more labels than [`TRACKED`].
    sketch: Option<Box<Sketch>>,
}

/// The sketch and its encoded form, as long as that is true: compressing it takes longer than all else in a commit, and
/// most labels that come were seen before.
#[derive(Clone)]
struct Sketch {
    cpc: CpcSketch,
    image: OnceCell<Vec<u8>>,
}

impl Labels {
    pub(super) fn add(&mut self, label: &str) {
        let hash = self.hasher.hash_one(label);
        if let Some(place) = self.index.find(hash, |place| *self.counters[*place].name == *label) {
            self.counters[*place].count += 1;
        } else if self.counters.len() < TRACKED {
            self.insert(hash, self.counters.len());
            self.counters.push(Counter { name: label.into(), count: 1, error: 0 });
        } else {
            self.take_over(label, hash);
        }
    }

    fn insert(&mut self, hash: u64, place: usize) {
        let (hasher, counters) = (&self.hasher, &self.counters);
        self.index.insert_unique(hash, place, |place| hasher.hash_one(&*counters[*place].name));
    }

    /// A label that is in no counter takes the place of the least one; among equals the first, so that the same events
    /// always give the same state.
    #[cold]
    fn take_over(&mut self, label: &str, hash: u64) {
        let sketch = self.sketch.get_or_insert_with(|| {
            let mut sketch = Box::new(Sketch::new());
            self.counters.iter().for_each(|counter| sketch.add(&counter.name));
            sketch
        });
        sketch.add(label);
        let least = self.counters.iter().enumerate().min_by_key(|(_, counter)| counter.count);
        let Some((place, Counter { name, count, .. })) = least else { return };
        let (error, old) = (*count, self.hasher.hash_one(&**name));
        if let Ok(entry) = self.index.find_entry(old, |found| *found == place) {
            entry.remove();
        }
        self.counters[place] = Counter { name: label.into(), count: error + 1, error };
        self.insert(hash, place);
    }

    /// How many different labels came: exact to [`TRACKED`], then within 2 %.
    pub(super) fn distinct(&self) -> f64 {
        let tracked = u32::try_from(self.counters.len()).unwrap_or(u32::MAX).into();
        self.sketch.as_ref().map_or(tracked, |sketch| sketch.cpc.estimate().round().max(tracked))
    }

    /// The most frequent labels with how often they surely came, ties by name.
    pub(super) fn top(&self, most: usize) -> Vec<(&str, u64)> {
        let mut all: Vec<_> = self.counters.iter().map(|counter| (&*counter.name, counter.sure())).collect();
        all.sort_unstable_by(|a, b| (Reverse(a.1), a.0).cmp(&(Reverse(b.1), b.0)));
        all.truncate(most);
        all
    }
}

impl Sketch {
    fn new() -> Self {
        // In range, as a test says: the default, which is coarser, is never used.
        Self { cpc: CpcSketch::new(LG_K).unwrap_or_default(), image: OnceCell::new() }
    }

    fn add(&mut self, label: &str) {
        let before = self.cpc.estimate();
        self.cpc.update(raw_bytes::from_str(label));
        // Its estimate rises with every change of it (HIP: by the inverse of the change's probability).
        if self.cpc.estimate() > before {
            self.image.take();
        }
    }

    fn image(&self) -> &Vec<u8> {
        self.image.get_or_init(|| self.cpc.serialize())
    }

    fn decode(image: Vec<u8>) -> Result<Self, DecodeError> {
        let cpc =
            CpcSketch::deserialize(&image).map_err(|error| DecodeError::OtherString(error.to_string()))?;
        if cpc.lg_k() == LG_K && cpc.estimate().is_finite() {
            Ok(Self { cpc, image: image.into() })
        } else {
            Err(DecodeError::Other("a sketch of another kind"))
        }
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
        let image = |labels: &Self| labels.sketch.as_ref().map(|sketch| sketch.image().clone());
        self.counters == other.counters && image(self) == image(other)
    }
}

impl Encode for Labels {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.counters.encode(encoder)?;
        self.sketch.as_ref().map(|sketch| sketch.image()).encode(encoder)
    }
}

impl<Context> Decode<Context> for Labels {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let mut labels = Self::default();
        for counter in Vec::<Counter>::decode(decoder)? {
            let known = |place: &usize| labels.counters[*place].name == counter.name;
            let hash = labels.hasher.hash_one(&*counter.name);
            if counter.name.len() > MAX_LABEL || counter.count <= counter.error {
                return Err(DecodeError::Other("a label or its count is out of bounds"));
            }
            if labels.counters.len() == TRACKED || labels.index.find(hash, known).is_some() {
                return Err(DecodeError::Other("labels that are too many or come twice"));
            }
            labels.insert(hash, labels.counters.len());
            labels.counters.push(counter);
        }
        if let Some(image) = Option::<Vec<u8>>::decode(decoder)? {
            if labels.counters.len() < TRACKED {
                return Err(DecodeError::Other("a sketch of few labels"));
            }
            labels.sketch = Some(Box::new(Sketch::decode(image)?));
        }
        Ok(labels)
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
        assert_eq!(numbered(129).sketch.map(|sketch| sketch.cpc.lg_k()), Some(LG_K));
    }

    #[test]
    fn frequent_labels_are_found_among_many_rare_ones() {
        let mut labels = Labels::default();
        for i in 0..100_000_u32 {
            labels.add(&format!("rare-{i}"));
            if i % 25 == 0 {
                labels.add(["b", "b", "a"][(i / 25 % 3) as usize]);
            }
        }
        let [("b", b), ("a", a)] = labels.top(2)[..] else { panic!("{labels:?}") };
        assert!((2600..=2667).contains(&b) && (1300..=1334).contains(&a), "{b} {a}");
    }
}
