//! The index: from the hash of a name to the slot. It is in shared memory, so that writer, standby and API use the same one,
//! and none of them builds it at its start.
//!
//! Open addressing with linear probing; a bucket is one word. An index only proposes slots: its reader compares the
//! whole hash in the line, and then the key. There are two halves, of which one is in use: a larger index is built in the other
//! half, and takes effect with the commit that names it.

use super::{
    layout::{Geometry, MIN_INDEX_BITS, TableMemory},
    line::BodySlot,
};
use crate::shm::{
    access::{ReadWords, index},
    sync::Ordering,
};

/// A bucket that was never used since the index was built.
const EMPTY: u64 = 0;
/// A bucket whose series was removed. No slot has this number.
const REMOVED: u64 = u32::MAX as u64;

/// Which part of the memory is the index, and how full it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexSpec {
    /// The exponent of the number of buckets.
    pub(super) bits: u32,
    /// The half of the memory that is in use.
    pub(super) half: u8,
    /// The number of buckets that are not [`EMPTY`].
    pub(super) used: u32,
}

impl Default for IndexSpec {
    fn default() -> Self {
        Self { bits: MIN_INDEX_BITS, half: 0, used: 0 }
    }
}

impl IndexSpec {
    /// The specification in one word.
    pub(super) const fn to_word(self) -> u64 {
        ((self.used as u64) << 32) | ((self.bits as u64) << 8) | self.half as u64
    }

    /// Reads a word. The result can be impossible: [`Self::is_possible`].
    pub(super) const fn from_word(word: u64) -> Self {
        let bytes = word.to_le_bytes();
        Self { bits: bytes[1] as u32, half: bytes[0], used: (word >> 32) as u32 }
    }

    /// Whether a table of this geometry can have such an index.
    pub(super) const fn is_possible(self, geometry: Geometry) -> bool {
        MIN_INDEX_BITS <= self.bits && self.bits <= geometry.max_index_bits() && self.half < 2
    }

    /// The smallest index for this number of series in the other half.
    pub(super) const fn rebuilt(self, geometry: Geometry, series: u32) -> Self {
        let mut bits = (series as usize * 2).next_power_of_two().ilog2();
        if bits < MIN_INDEX_BITS {
            bits = MIN_INDEX_BITS;
        }
        if bits > geometry.max_index_bits() {
            bits = geometry.max_index_bits();
        }
        Self { bits, half: 1 - self.half, used: 0 }
    }

    const fn buckets(self) -> usize {
        1 << self.bits
    }

    /// Whether the index must be built anew before another series is added: three quarters of the buckets are used.
    pub(super) const fn is_full(self) -> bool {
        self.used as usize >= self.buckets() / 4 * 3
    }

    /// The words of the index.
    pub(super) fn words(self, geometry: Geometry) -> std::ops::Range<usize> {
        let start = geometry.index(self.half.into());
        start..start + self.buckets()
    }

    /// The words of the buckets for a hash, in the order of probing.
    fn probe(self, geometry: Geometry, hash: u64) -> impl Iterator<Item = usize> {
        let (start, mask) = (geometry.index(self.half.into()), self.buckets() - 1);
        let first = index(hash);
        (0..self.buckets()).map(move |step| start + (first.wrapping_add(step) & mask))
    }

    /// The slots that the index proposes for a hash, among the first `slots`: those that a commit covers.
    pub(super) fn candidates(
        self,
        memory: &impl ReadWords,
        (geometry, slots): (Geometry, u32),
        hash: u64,
    ) -> impl Iterator<Item = BodySlot> {
        let buckets = self.probe(geometry, hash).map(|word| memory.load(word, Ordering::Relaxed));
        buckets
            .take_while(|bucket| *bucket != EMPTY)
            .filter(move |bucket| bucket >> 32 == hash >> 32)
            .filter_map(slot_of)
            .filter(move |slot| slot.0 < slots)
    }

    /// Adds a series, if it is not there.
    pub(super) fn insert(
        &mut self,
        memory: &impl TableMemory,
        geometry: Geometry,
        hash: u64,
        slot: BodySlot,
    ) {
        let mut place = None;
        for word in self.probe(geometry, hash) {
            let found = memory.load(word, Ordering::Relaxed);
            if found == bucket(hash, slot) {
                return;
            }
            if found == REMOVED {
                place = place.or(Some((word, 0)));
            }
            if found == EMPTY {
                place = place.or(Some((word, 1)));
                break;
            }
        }
        if let Some((word, added)) = place {
            self.used += added;
            memory.store(word, bucket(hash, slot), Ordering::Relaxed);
        }
    }

    /// Removes a series, if it is there.
    pub(super) fn remove(self, memory: &impl TableMemory, geometry: Geometry, hash: u64, slot: BodySlot) {
        for word in self.probe(geometry, hash) {
            let found = memory.load(word, Ordering::Relaxed);
            if found == bucket(hash, slot) {
                memory.store(word, REMOVED, Ordering::Relaxed);
            }
            if found == EMPTY || found == bucket(hash, slot) {
                return;
            }
        }
    }

    /// Empties all buckets.
    pub(super) fn clear(&mut self, memory: &impl TableMemory, geometry: Geometry) {
        self.used = 0;
        for word in self.words(geometry) {
            if memory.load(word, Ordering::Relaxed) != EMPTY {
                memory.store(word, EMPTY, Ordering::Relaxed);
            }
        }
    }
}

/// The upper half of the hash, and the number of the slot plus one.
const fn bucket(hash: u64, slot: BodySlot) -> u64 {
    (hash >> 32 << 32) | (slot.0 as u64 + 1)
}

fn slot_of(bucket: u64) -> Option<BodySlot> {
    let number = u32::try_from(bucket & u64::from(u32::MAX)).ok()?;
    number.checked_sub(1).filter(|_| bucket != REMOVED).map(BodySlot)
}
