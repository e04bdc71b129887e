//! Shared memory as the algorithms see it: an array of 8-byte words.
//!
//! The ring, the state table and the seqlock cell use only these two traits. So the same code runs over a mapping between
//! processes, over loom's atomics, and over test memories that record every store or stop at one.

use std::{ops::Deref, sync::atomic::Ordering};

/// The length of a word, in bytes.
pub const WORD: usize = 8;

/// Memory that can be read. Another process may write it at the same time: every load is a single fetch.
pub trait ReadWords {
    /// The size, in words.
    fn words(&self) -> usize;

    /// Loads one word.
    fn load(&self, word: usize, order: Ordering) -> u64;

    /// Copies bytes out, beginning at the first byte of a word, in no particular order. The copy can be torn if another
    /// process writes at the same time: the caller checks its own copy afterwards.
    fn read_bytes(&self, word: usize, into: &mut [u8]);
}

/// Memory that can be written, by one writer at a time.
pub trait WriteWords: ReadWords {
    /// Stores one word.
    fn store(&self, word: usize, value: u64, order: Ordering);

    /// Copies bytes in, beginning at the first byte of a word, in no particular order. The rest of the last word is
    /// unspecified afterwards.
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

/// The number of words that hold `bytes` bytes.
#[must_use]
pub const fn words_for(bytes: usize) -> usize {
    bytes.div_ceil(WORD)
}

/// A position or length in bytes as an index. `lib.rs` asserts that the machine is a 64-bit one.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "usize is 64 bits wide: asserted in lib.rs")]
pub const fn index(bytes: u64) -> usize {
    bytes as usize
}
