//! The layout of the table.

use crate::shm::{
    access::{ReadWords, WORD},
    sync::Ordering,
};
use std::{io, ops::Deref};

pub(super) const COMMIT: usize = 0;
pub(super) const RECORDS: usize = 8;
pub(super) const RECORD_WORDS: usize = 16;
/// The number of slots in the list of touched slots.
pub(super) const TOUCHED: usize = 40;
const LINES: usize = 64;
/// The words of a line: a cache line, with two versions of a slot.
const LINE_WORDS: usize = 8;
/// The words of one version of a slot.
const VERSION_WORDS: usize = LINE_WORDS / 2;
const PAGE: usize = 4096;

/// The reserved size of the arena: this, and [`ARENA_PER_SLOT`] for each slot. What is reserved takes no memory until it is
/// used.
const ARENA_BASE: usize = 64 << 20;
const ARENA_PER_SLOT: usize = 64 << 10;

/// The largest segment of the arena, in bytes: the unit in which its space is reused.
const MAX_SEGMENT: usize = 64 << 10;
/// The smallest segment, for small tables of tests.
const MIN_SEGMENT: usize = 256;
/// An arena has at least this many segments.
const MIN_SEGMENTS: usize = 64;

/// The hash of a version in which the slot has no series. No key has this hash.
pub(super) const FREE: u64 = 0;

/// The dimensions of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    slots: u32,
    arena_bytes: usize,
}

impl Geometry {
    /// A table with `slots` slots, and with the arena that belongs to this number.
    #[must_use]
    pub const fn new(slots: u32) -> Self {
        Self::with_arena(slots, ARENA_BASE + slots as usize * ARENA_PER_SLOT)
    }

    /// A table with `slots` slots and an arena of at most `arena_bytes` bytes.
    #[must_use]
    pub const fn with_arena(slots: u32, arena_bytes: usize) -> Self {
        let segment = segment_bytes(arena_bytes);
        Self { slots, arena_bytes: arena_bytes / segment * segment }
    }

    /// The table with `slots` slots that takes `words` words. `None` if they are too few.
    #[must_use]
    pub fn of(slots: u32, words: usize) -> Option<Self> {
        let arena = (words * WORD).checked_sub(Self::with_arena(slots, 0).front_bytes())?;
        Some(Self::with_arena(slots, arena))
    }

    /// The number of slots.
    #[must_use]
    pub const fn slots(self) -> u32 {
        self.slots
    }

    /// The size of the arena, in bytes.
    #[must_use]
    pub const fn arena_bytes(self) -> usize {
        self.arena_bytes
    }

    /// The size of a segment of the arena, in bytes.
    pub(super) const fn segment_bytes(self) -> usize {
        segment_bytes(self.arena_bytes)
    }

    /// The size of the front: everything before the arena, in bytes, a multiple of the page size. The analysis maps only
    /// this part.
    #[must_use]
    pub const fn front_bytes(self) -> usize {
        let index = self.index(0) + (2 << self.max_index_bits());
        (index * WORD).next_multiple_of(PAGE)
    }

    /// The size of the table, in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.front_bytes() + self.arena_bytes
    }

    /// The word at which a version of a slot begins.
    pub(super) const fn version(slot: u32, version: usize) -> usize {
        LINES + LINE_WORDS * slot as usize + VERSION_WORDS * version
    }

    /// The word of an item of the list of touched slots.
    pub(super) const fn touched(self, item: usize) -> usize {
        LINES + LINE_WORDS * self.slots as usize + item
    }

    /// The word at which a half of the index begins.
    pub(super) const fn index(self, half: usize) -> usize {
        self.touched(self.slots as usize).next_multiple_of(PAGE / WORD) + (half << self.max_index_bits())
    }

    /// The size of the largest index, as the exponent of its number of buckets: room for all slots when three quarters of
    /// the buckets are in use.
    pub(super) const fn max_index_bits(self) -> u32 {
        let buckets = self.slots as usize + self.slots as usize / 3 + 1;
        let bits = buckets.next_power_of_two().ilog2();
        if bits < MIN_INDEX_BITS { MIN_INDEX_BITS } else { bits }
    }

    /// The word at which a byte of the arena is.
    pub(super) const fn arena(self, byte: usize) -> usize {
        (self.front_bytes() + byte) / WORD
    }
}

/// The size of the smallest index: a page.
pub(super) const MIN_INDEX_BITS: u32 = 9;

const fn segment_bytes(arena_bytes: usize) -> usize {
    let most = arena_bytes / MIN_SEGMENTS;
    if most < MIN_SEGMENT {
        MIN_SEGMENT
    } else if most > MAX_SEGMENT {
        MAX_SEGMENT
    } else {
        1 << most.ilog2()
    }
}

/// The memory of a table as its writer holds it: stores write the front, an fd writes the arena.
///
/// The analysis does not map the arena for writing, so that no wild write reaches a body. A `pwrite` of many bodies costs less
/// than their encoding.
pub trait TableMemory: ReadWords {
    /// Stores a word of the front.
    fn store(&self, word: usize, value: u64, order: Ordering);

    /// Writes bytes of the arena, beginning at a word.
    ///
    /// # Errors
    /// If the system has no memory left.
    fn write_body(&self, word: usize, bytes: &[u8]) -> io::Result<()>;

    /// Gives memory back to the system. These words are zero afterwards, or unchanged.
    fn release(&self, word: usize, words: usize);
}

impl<T: Deref<Target: TableMemory>> TableMemory for T {
    fn store(&self, word: usize, value: u64, order: Ordering) {
        (**self).store(word, value, order);
    }

    fn write_body(&self, word: usize, bytes: &[u8]) -> io::Result<()> {
        (**self).write_body(word, bytes)
    }

    fn release(&self, word: usize, words: usize) {
        (**self).release(word, words);
    }
}
