//! The frequency of each label, and the number of distinct labels: exact while there are few labels,
//! estimated when there are many.
//!
//! [`TRACKED`] labels have a counter each, by the space-saving algorithm (Metwally, Agrawal, El Abbadi, ICDT
//! 2005): when all counters are in use, a new label replaces the one with the smallest count, inherits that
//! count, and records it as its possible error. From then on, a CPC sketch (Lang 2017) of Apache DataSketches
//! counts the distinct labels.
//!
//! The frequent-items sketch of DataSketches was considered and rejected. At a size that is exact for 100
//! labels, long labels could fill half a slot; at half that size, its error is three times as large.

use super::varint;
use bulkhead_proto::wire::event::MAX_LABEL;
use datasketches::{cpc::CpcSketch, hash::value::raw_bytes};
use hashbrown::{DefaultHashBuilder, HashTable};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error, ser::SerializeStruct};
use serde_bytes::{ByteBuf, Bytes};
use std::{cell::OnceCell, cmp::Reverse, fmt, hash::BuildHasher};

/// The number of counters. More than the 100 labels up to which `distinct_labels` must be exact, and than the
/// 64 for `top_labels`; with labels of 128 bytes, the longest possible, the counters take 17 KiB.
const TRACKED: usize = 128;

/// The size of the sketch: 2^14 rows give a standard error of 0.46 % (0.589 / 2^7). The promised 2 % are more
/// than four standard errors. The sketch takes at most 10 KiB.
const LG_K: u8 = 14;

/// The counter of one label.
#[derive(Clone, Debug)]
struct Counter {
    name: Box<str>,
    /// An upper bound of the label's occurrences.
    count: u64,
    /// The part of `count` that may belong to labels that this one replaced.
    error: u64,
}

impl Counter {
    /// The occurrences that certainly belong to this label.
    const fn guaranteed(&self) -> u64 {
        self.count - self.error
    }
}

/// The labels of a series.
#[derive(Clone, Default, Deserialize)]
#[serde(try_from = "StoredLabels")]
pub(super) struct Labels {
    counters: Vec<Counter>,
    /// Positions in `counters`, by the hash of the name.
    index: HashTable<usize>,
    hasher: DefaultHashBuilder,
    /// Present once more than [`TRACKED`] labels have occurred.
    sketch: Option<Box<Sketch>>,
}

/// Labels as they are stored, before they are checked.
#[derive(Deserialize)]
struct StoredLabels {
    /// For each counter: the length of the name, the name, `count` and `error`.
    counters: ByteBuf,
    sketch: Option<Box<Sketch>>,
}

/// The sketch, with its encoded form cached until the sketch changes. Compressing it takes longer than the
/// rest of a commit, and most labels are known already, so that they do not change it.
#[derive(Clone)]
struct Sketch {
    cpc: CpcSketch,
    image: OnceCell<Vec<u8>>,
}

impl Labels {
    pub(super) fn add(&mut self, label: &str) {
        let hash = self.hasher.hash_one(label);
        if let Some(position) = self.index.find(hash, |position| *self.counters[*position].name == *label) {
            self.counters[*position].count += 1;
        } else if self.counters.len() < TRACKED {
            self.insert(hash, self.counters.len());
            self.counters.push(Counter { name: label.into(), count: 1, error: 0 });
        } else {
            self.replace_smallest(label, hash);
        }
    }

    fn insert(&mut self, hash: u64, position: usize) {
        let (hasher, counters) = (&self.hasher, &self.counters);
        self.index.insert_unique(hash, position, |position| hasher.hash_one(&*counters[*position].name));
    }

    /// Replaces the label with the smallest count; among equal counts the first, so that the same events
    /// always give the same state.
    #[cold]
    fn replace_smallest(&mut self, label: &str, hash: u64) {
        let sketch = self.sketch.get_or_insert_with(|| {
            let mut sketch = Box::new(Sketch::new());
            self.counters.iter().for_each(|counter| sketch.add(&counter.name));
            sketch
        });
        sketch.add(label);
        let smallest = self.counters.iter().enumerate().min_by_key(|(_, counter)| counter.count);
        let Some((position, Counter { name, count, .. })) = smallest else { return };
        let (error, old_hash) = (*count, self.hasher.hash_one(&**name));
        if let Ok(entry) = self.index.find_entry(old_hash, |found| *found == position) {
            entry.remove();
        }
        self.counters[position] = Counter { name: label.into(), count: error + 1, error };
        self.insert(hash, position);
    }

    /// The number of distinct labels: exact up to [`TRACKED`], then within 2 %.
    pub(super) fn distinct(&self) -> f64 {
        let tracked = u32::try_from(self.counters.len()).unwrap_or(u32::MAX).into();
        self.sketch.as_ref().map_or(tracked, |sketch| sketch.cpc.estimate().round().max(tracked))
    }

    /// The most frequent labels with their guaranteed counts, ties sorted by name.
    pub(super) fn top(&self, limit: usize) -> Vec<(&str, u64)> {
        let mut all: Vec<_> =
            self.counters.iter().map(|counter| (&*counter.name, counter.guaranteed())).collect();
        all.sort_unstable_by(|a, b| (Reverse(a.1), a.0).cmp(&(Reverse(b.1), b.0)));
        all.truncate(limit);
        all
    }
}

impl Sketch {
    fn new() -> Self {
        // LG_K is in range, as a test shows, so the coarser default is never used.
        Self { cpc: CpcSketch::new(LG_K).unwrap_or_default(), image: OnceCell::new() }
    }

    fn add(&mut self, label: &str) {
        let before = self.cpc.estimate();
        self.cpc.update(raw_bytes::from_str(label));
        // The HIP estimate rises with every change of the sketch, by the inverse of the probability of that
        // change.
        if self.cpc.estimate() > before {
            self.image.take();
        }
    }

    fn image(&self) -> &Vec<u8> {
        self.image.get_or_init(|| self.cpc.serialize())
    }
}

impl Serialize for Sketch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.image())
    }
}

impl<'de> Deserialize<'de> for Sketch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let image = ByteBuf::deserialize(deserializer)?.into_vec();
        let cpc = CpcSketch::deserialize(&image).map_err(D::Error::custom)?;
        if cpc.lg_k() == LG_K && cpc.estimate().is_finite() {
            Ok(Self { cpc, image: image.into() })
        } else {
            Err(D::Error::custom("a sketch of another size"))
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

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut counters = Vec::with_capacity(16 * self.counters.len());
        for Counter { name, count, error } in &self.counters {
            varint::put(&mut counters, name.len() as u64);
            counters.extend_from_slice(name.as_bytes());
            varint::put(&mut counters, *count);
            varint::put(&mut counters, *error);
        }
        let mut stored = serializer.serialize_struct("Labels", 2)?;
        stored.serialize_field("counters", Bytes::new(&counters))?;
        stored.serialize_field("sketch", &self.sketch)?;
        stored.end()
    }
}

impl Counter {
    /// Takes a counter from the front of stored ones.
    fn take(stored: &mut &[u8]) -> Option<Self> {
        let length = varint::take(stored)?.try_into().ok().filter(|length| *length <= MAX_LABEL)?;
        let name = str::from_utf8(stored.split_off(..length)?).ok()?.into();
        let (count, error) = (varint::take(stored)?, varint::take(stored)?);
        (error < count).then_some(Self { name, count, error })
    }
}

impl TryFrom<StoredLabels> for Labels {
    type Error = &'static str;

    fn try_from(StoredLabels { counters, sketch }: StoredLabels) -> Result<Self, Self::Error> {
        let mut labels = Self { sketch, ..Self::default() };
        let mut rest = &counters[..];
        while !rest.is_empty() {
            let counter = Counter::take(&mut rest).ok_or("a label or its count is out of bounds")?;
            let is_known = |position: &usize| labels.counters[*position].name == counter.name;
            let hash = labels.hasher.hash_one(&*counter.name);
            if labels.counters.len() == TRACKED || labels.index.find(hash, is_known).is_some() {
                return Err("too many labels, or a label occurs twice");
            }
            labels.insert(hash, labels.counters.len());
            labels.counters.push(counter);
        }
        if labels.sketch.is_some() && labels.counters.len() < TRACKED {
            return Err("a sketch although few labels occurred");
        }
        Ok(labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distinct_labels(number: u32) -> Labels {
        let mut all = Labels::default();
        (0..number).for_each(|i| all.add(&format!("label-{i}")));
        all
    }

    #[test]
    fn counts_are_exact_up_to_the_tracked_labels() {
        let mut labels = distinct_labels(128);
        labels.add("label-7");
        assert_eq!(labels.distinct(), 128.0);
        assert_eq!(labels.top(2), [("label-7", 2), ("label-0", 1)]);
        assert!(labels.sketch.is_none());
    }

    #[test]
    fn beyond_the_tracked_labels_the_distinct_count_is_within_two_percent() {
        for labels in [129, 1_000, 20_000, 300_000] {
            let found = distinct_labels(labels).distinct();
            assert!((found / f64::from(labels) - 1.0).abs() <= 0.02, "{found} for {labels}");
        }
        assert_eq!(distinct_labels(129).sketch.map(|sketch| sketch.cpc.lg_k()), Some(LG_K));
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
