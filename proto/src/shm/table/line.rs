//! The line of a slot: two versions, of which one is in use.

use super::layout::{FREE, Geometry, TableMemory};
use crate::{
    shm::{
        access::{ReadWords, WORD, index},
        sync::{Ordering, Site, fence},
    },
    splitmix64::finish,
};

/// The number of a slot for the state of one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodySlot(pub u32);

pub(super) const HASH: usize = 0;
pub(super) const PLACE: usize = 1;
pub(super) const CHECK: usize = 2;
pub(super) const TAG: usize = 3;

/// Where a body is in the arena, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place(pub(super) u64);

const LENGTH_BITS: u32 = 24;

impl Place {
    /// The place of a body at this byte, with this length in bytes; both are multiples of a word.
    pub(super) const fn new(byte: usize, length: usize) -> Self {
        Self((((byte / WORD) as u64) << LENGTH_BITS) | (length / WORD) as u64)
    }

    /// The first byte.
    pub(super) const fn byte(self) -> usize {
        index(self.0 >> LENGTH_BITS) * WORD
    }

    /// The length, in bytes.
    pub(super) const fn length(self) -> usize {
        index(self.0 & ((1 << LENGTH_BITS) - 1)) * WORD
    }

    /// Whether it is inside the arena.
    pub(super) const fn is_in(self, geometry: Geometry) -> bool {
        self.byte() + self.length() <= geometry.arena_bytes()
    }
}

/// One version of a slot: the four words of half a line. All words of a version that is not in use are zero, or its tag is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Version {
    /// The hash of the name of the series, or [`FREE`].
    pub(super) hash: u64,
    pub(super) place: Place,
    /// Relates the other three to each other: any word that is wrong shows, and each follows from the other ones.
    pub(super) check: u64,
    /// The number of the commit that wrote it.
    pub(super) tag: u64,
}

impl Version {
    pub(super) fn new(slot: BodySlot, hash: u64, place: Place, tag: u64) -> Self {
        Self { hash, place, check: mix(hash, slot, tag) ^ place.0, tag }
    }

    pub(super) fn load(memory: &impl ReadWords, slot: BodySlot, version: usize) -> Self {
        let word = Geometry::version(slot.0, version);
        let [hash, place, check, tag] =
            [HASH, PLACE, CHECK, TAG].map(|field| memory.load(word + field, Ordering::Relaxed));
        Self { hash, place: Place(place), check, tag }
    }

    /// Whether its words belong together.
    pub(super) fn is_intact(&self, slot: BodySlot) -> bool {
        *self == Self::new(slot, self.hash, self.place, self.tag)
    }

    /// Fills a version that is not in use. The tag comes last: if this process dies earlier, the version is not in use.
    pub(super) fn store(&self, memory: &impl TableMemory, slot: BodySlot, version: usize) {
        let word = Geometry::version(slot.0, version);
        let values = [(HASH, self.hash), (PLACE, self.place.0), (CHECK, self.check), (TAG, self.tag)];
        for (field, value) in values {
            memory.store(word + field, value, Ordering::Relaxed);
        }
    }

    /// Clears a version. The tag comes first, for the same reason.
    pub(super) fn clear(memory: &impl TableMemory, slot: BodySlot, version: usize) {
        let word = Geometry::version(slot.0, version);
        for field in [TAG, CHECK, PLACE, HASH] {
            memory.store(word + field, 0, Ordering::Relaxed);
        }
    }

    pub(super) const fn is_free(&self) -> bool {
        self.hash == FREE
    }
}

fn mix(hash: u64, slot: BodySlot, tag: u64) -> u64 {
    finish(finish(hash ^ u64::from(slot.0)).wrapping_add(tag))
}

/// The version of a slot that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Newest {
    pub(super) version: usize,
    pub(super) content: Version,
}

/// The version of a slot that is in use as of commit `n`. `None` if it does not verify, or is being replaced. A process that
/// has read commit `n` sees all tags up to `n`.
pub(super) fn newest(memory: &impl ReadWords, slot: BodySlot, n: u64) -> Option<Newest> {
    let versions = [0, 1].map(|version| Newest { version, content: Version::load(memory, slot, version) });
    let committed = versions.into_iter().filter(|newest| (1..=n).contains(&newest.content.tag));
    committed.max_by_key(|newest| newest.content.tag).filter(|newest| newest.content.is_intact(slot))
}

/// Whether what was read of a version, and of its body, is not of a later commit.
pub(super) fn is_unchanged(memory: &impl ReadWords, slot: BodySlot, newest: &Newest) -> bool {
    fence(Site::BodyRecheck, Ordering::Acquire);
    memory.load(Geometry::version(slot.0, newest.version) + TAG, Ordering::Relaxed) == newest.content.tag
}

/// A 64-bit hash of the name of a series: FNV-1a with a finisher. If two names of one table collide, the keys in their
/// bodies distinguish them. The empty key of a free slot has the hash [`FREE`], and no other key has it.
pub(super) fn hash_of(key: &str) -> u64 {
    if key.is_empty() {
        return FREE;
    }
    let fnv = key.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    finish(fnv).max(FREE + 1)
}
