//! Shared memory as the algorithms see it: an array of 8-byte words.
//!
//! The ring and the state table are written against these two traits alone. So the same code runs over a mapping
//! between processes, over loom's atomics, and over memories that record or stop at every single store.

use std::{ops::Deref, sync::atomic::Ordering};

/// The length of a word, in bytes.
pub const WORD: usize = 8;

/// Memory that can be read. Another process may be writing it meanwhile: every load is a single fetch.
pub trait ReadWords {
    /// How many words there are.
    fn words(&self) -> usize;

    /// Loads one word.
    fn load(&self, word: usize, order: Ordering) -> u64;

    /// Copies bytes out, beginning at a word's first byte, in no particular order. What another process writes
    /// meanwhile may arrive torn: the caller checks afterwards, on its own copy.
    fn read_bytes(&self, word: usize, into: &mut [u8]);
}

/// Memory that can be written; by one writer at a time.
pub trait WriteWords: ReadWords {
    /// Stores one word.
    fn store(&self, word: usize, value: u64, order: Ordering);

    /// Copies bytes in, beginning at a word's first byte, in no particular order. What stands behind the last byte in
    /// its word is unspecified afterwards.
    fn write_bytes(&self, word: usize, from: &[u8]);
}

impl<T: Deref<Target: ReadWords>> ReadWords for T {
    fn words(&self) -> usize {
        (**self).words()
    }

    fn load(&self, word: usize, order: Ordering) -> u64 {
        (**self).load(word, order)
    }

    fn read_bytes(&self, word: usize, into: &mut [u8]) {
        (**self).read_bytes(word, into);
    }
}

impl<T: Deref<Target: WriteWords>> WriteWords for T {
    fn store(&self, word: usize, value: u64, order: Ordering) {
        (**self).store(word, value, order);
    }

    fn write_bytes(&self, word: usize, from: &[u8]) {
        (**self).write_bytes(word, from);
    }
}

/// How many words hold that many bytes.
#[must_use]
pub const fn words_for(bytes: usize) -> usize {
    bytes.div_ceil(WORD)
}

/// A position or length in bytes as an index of this machine. 64-bit machines only, see `lib.rs`.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "usize is 64 bits wide: asserted in lib.rs")]
pub const fn index(bytes: u64) -> usize {
    bytes as usize
}
