//! The memory of the state table as the analysis holds it: the front is mapped, the arena is read and written through the fd.
//!
//! The arena is not mapped, because the kernel unmaps what a process has mapped before it reports the death of the process.

use crate::shm::{
    access::{ReadWords, WORD, WriteWords},
    segment::{Kind, ReadWrite, SegmentError, data_bytes, read_through, release, write_through},
    sync::Ordering,
    table::{Geometry, TableMemory},
};
use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
};

/// The memory of the state table. [`TableMemory`] says why bodies are written through the fd.
#[derive(Debug)]
pub struct StateMemory {
    front: ReadWrite,
    words: usize,
    file: File,
}

impl StateMemory {
    /// Maps the front of a table with `slots` slots, and keeps the fd.
    ///
    /// # Errors
    /// If the fd is not a state table of this size, or the system refuses.
    pub fn map(fd: OwnedFd, slots: u32) -> Result<Self, SegmentError> {
        let words = data_bytes(fd.as_fd(), Kind::State)? / WORD;
        let front = Geometry::with_arena(slots, 0).front_bytes();
        let front = ReadWrite::map_first(fd.as_fd(), Kind::State, front)?;
        Ok(Self { front, words, file: fd.into() })
    }
}

impl ReadWords for StateMemory {
    fn words(&self) -> usize {
        self.words
    }

    fn load(&self, word: usize, order: Ordering) -> u64 {
        self.front.load(word, order)
    }

    fn read_bytes(&self, word: usize, into: &mut [u8]) {
        if word < self.front.words() {
            self.front.read_bytes(word, into);
        } else if read_through(&self.file, word * WORD, into).is_err() {
            // Zeroes do not verify as a body.
            into.fill(0);
        }
    }
}

impl TableMemory for StateMemory {
    fn store(&self, word: usize, value: u64, order: Ordering) {
        self.front.store(word, value, order);
    }

    fn write_body(&self, word: usize, bytes: &[u8]) -> io::Result<()> {
        write_through(&self.file, word * WORD, bytes)
    }

    fn release(&self, word: usize, words: usize) {
        release(&self.file, word * WORD, words * WORD);
    }
}
