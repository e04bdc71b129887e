//! Where everything stands in the table.

use super::BODY_BYTES;
use crate::shm::{
    access::{ReadWords, WORD},
    sync::Ordering,
};
use std::{io, ops::Deref};

pub(super) const COMMIT: usize = 0;
pub(super) const RECORDS: usize = 8;
pub(super) const RECORD_WORDS: usize = 16;
const HASHES: usize = 64;
const PAGE: usize = 4096;

/// A tag that is no commit's number: the body behind it is being written, or was given up.
pub(super) const BUSY: u64 = u64::MAX;

/// A slot's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BodySlot(pub u32);

/// The table's dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    slots: u32,
}

impl Geometry {
    /// A table for that many series.
    #[must_use]
    pub const fn new(slots: u32) -> Self {
        Self { slots }
    }

    /// The table that takes up that many words.
    #[must_use]
    pub fn of(words: usize) -> Self {
        // A slot takes up two bodies and less than a page in front of them: the quotient is exact, or one too large.
        let most = u32::try_from(words * WORD / (2 * BODY_BYTES)).unwrap_or(u32::MAX);
        let fits = |slots: &u32| Self::new(*slots).bytes() <= words * WORD;
        Self::new((0..=most).rev().find(fits).unwrap_or(0))
    }

    /// How many slots there are.
    #[must_use]
    pub const fn slots(self) -> u32 {
        self.slots
    }

    /// The words in front of the bodies, in bytes; whole pages. The analysis maps these alone for writing.
    #[must_use]
    pub const fn front_bytes(self) -> usize {
        ((HASHES + 3 * self.slots as usize) * WORD).next_multiple_of(PAGE)
    }

    /// The whole table, in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.front_bytes() + 2 * self.slots as usize * BODY_BYTES
    }

    pub(super) const fn hash(slot: BodySlot) -> usize {
        HASHES + slot.0 as usize
    }

    pub(super) const fn tag(self, slot: BodySlot, version: usize) -> usize {
        HASHES + self.slots as usize + 2 * slot.0 as usize + version
    }

    /// The word at which a body begins.
    pub(super) const fn body(self, slot: BodySlot, version: usize) -> usize {
        (self.front_bytes() + (2 * slot.0 as usize + version) * BODY_BYTES) / WORD
    }

    pub(super) fn all(slots: u32) -> impl Iterator<Item = BodySlot> {
        (0..slots).map(BodySlot)
    }
}

/// Memory of a table that its writer holds: the front is written by stores, the bodies through an fd.
///
/// The bodies are mapped read-only in the analysis, so that no wild write reaches them; mprotect around each commit would
/// cost milliseconds over a mapping of this size, a `pwrite` a body costs microseconds.
pub trait TableMemory: ReadWords {
    /// Stores a word of the front.
    fn store(&self, word: usize, value: u64, order: Ordering);

    /// Writes bytes of a body, beginning at a word.
    ///
    /// # Errors
    /// When the system has no memory left.
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

/// The newest version of a slot as of commit `n`: (version, tag). Who has read commit `n` sees all tags up to it.
pub(super) fn newest(
    memory: &impl ReadWords,
    geometry: Geometry,
    slot: BodySlot,
    n: u64,
) -> Option<(usize, u64)> {
    [0, 1]
        .map(|version| (version, memory.load(geometry.tag(slot, version), Ordering::Relaxed)))
        .into_iter()
        .filter(|&(_, tag)| tag != 0 && tag != BUSY && tag <= n)
        .max_by_key(|&(_, tag)| tag)
}
