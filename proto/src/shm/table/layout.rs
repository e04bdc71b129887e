//! The layout of the table.

use crate::shm::{
    access::{ReadWords, WORD},
    sync::Ordering,
};
use std::{io, ops::Deref};

/// The largest body, in bytes.
pub const BODY_BYTES: usize = 64 << 10;

pub(super) const COMMIT: usize = 0;
pub(super) const RECORDS: usize = 8;
pub(super) const RECORD_WORDS: usize = 16;
const VERSIONS: usize = 64;
/// For each of the two versions of a slot: the hash of its key, and its tag.
const SLOT_WORDS: usize = 4;
const PAGE: usize = 4096;

/// The hash of a version in which the slot has no series. No key has this hash.
pub(super) const FREE: u64 = 0;

/// A tag that is greater than every commit number: the body is being written, or was given up.
pub(super) const BUSY: u64 = u64::MAX;

/// The number of a slot for the two bodies of one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodySlot(pub u32);

/// The dimensions of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    slots: u32,
}

impl Geometry {
    /// A table with `slots` slots.
    #[must_use]
    pub const fn new(slots: u32) -> Self {
        Self { slots }
    }

    /// The table that takes `words` words.
    #[must_use]
    pub fn of(words: usize) -> Self {
        // A slot takes two bodies and less than a page in the front: the quotient is exact, or one too large.
        let most = u32::try_from(words * WORD / (2 * BODY_BYTES)).unwrap_or(u32::MAX);
        let fits = |slots: &u32| Self::new(*slots).bytes() <= words * WORD;
        Self::new((0..=most).rev().find(fits).unwrap_or(0))
    }

    /// The number of slots.
    #[must_use]
    pub const fn slots(self) -> u32 {
        self.slots
    }

    /// The size of the front: everything before the bodies, in bytes, a multiple of the page size. The analysis maps only
    /// this part for writing.
    #[must_use]
    pub const fn front_bytes(self) -> usize {
        ((VERSIONS + SLOT_WORDS * self.slots as usize) * WORD).next_multiple_of(PAGE)
    }

    /// The size of the table, in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.front_bytes() + 2 * self.slots as usize * BODY_BYTES
    }

    pub(super) const fn hash(slot: BodySlot, version: usize) -> usize {
        VERSIONS + SLOT_WORDS * slot.0 as usize + 2 * version
    }

    pub(super) const fn tag(slot: BodySlot, version: usize) -> usize {
        Self::hash(slot, version) + 1
    }

    /// The word at which a body begins.
    pub(super) const fn body(self, slot: BodySlot, version: usize) -> usize {
        (self.front_bytes() + (2 * slot.0 as usize + version) * BODY_BYTES) / WORD
    }

    pub(super) fn all(slots: u32) -> impl DoubleEndedIterator<Item = BodySlot> {
        (0..slots).map(BodySlot)
    }
}

/// The memory of a table as its writer holds it: stores write the front, an fd writes the bodies.
///
/// The analysis maps the bodies read-only, so that no wild write reaches them. `mprotect` around each commit would cost
/// milliseconds for a mapping of this size; a `pwrite` per body costs microseconds.
pub trait TableMemory: ReadWords {
    /// Stores a word of the front.
    fn store(&self, word: usize, value: u64, order: Ordering);

    /// Writes the bytes of a body, beginning at a word.
    ///
    /// # Errors
    /// If the system has no memory left.
    fn write_body(&self, word: usize, bytes: &[u8]) -> io::Result<()>;
}

impl<T: Deref<Target: TableMemory>> TableMemory for T {
    fn store(&self, word: usize, value: u64, order: Ordering) {
        (**self).store(word, value, order);
    }

    fn write_body(&self, word: usize, bytes: &[u8]) -> io::Result<()> {
        (**self).write_body(word, bytes)
    }
}

/// The newest version of a slot as of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Newest {
    pub(super) version: usize,
    pub(super) tag: u64,
    /// The hash of its key, or [`FREE`].
    pub(super) hash: u64,
}

/// The newest version of a slot as of commit `n`. A process that has read commit `n` sees all tags up to `n`.
pub(super) fn newest(memory: &impl ReadWords, slot: BodySlot, n: u64) -> Option<Newest> {
    let load = |word| memory.load(word, Ordering::Relaxed);
    let tagged = [0, 1].map(|version| (version, load(Geometry::tag(slot, version))));
    let committed = tagged.into_iter().filter(|&(_, tag)| (1..=n).contains(&tag));
    let (version, tag) = committed.max_by_key(|&(_, tag)| tag)?;
    Some(Newest { version, tag, hash: load(Geometry::hash(slot, version)) })
}
