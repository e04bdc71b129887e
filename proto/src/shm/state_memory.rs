//! The memory of the state table as the analysis holds it: all of it mapped for reading, only the front for writing.

use crate::shm::{
    access::{ReadWords, WORD, WriteWords},
    segment::{Kind, ReadOnly, ReadWrite, SegmentError, write_through},
    sync::Ordering,
    table::{Geometry, TableMemory},
};
use std::{
    fs::File,
    io,
    ops::Deref,
    os::fd::{AsFd, OwnedFd},
};

/// The memory of the state table. [`TableMemory`] says why bodies are written through the fd.
#[derive(Debug)]
pub struct StateMemory {
    all: ReadOnly,
    front: ReadWrite,
    file: File,
}

impl StateMemory {
    /// Maps the table. Keeps the fd, because commits write bodies through it.
    ///
    /// # Errors
    /// If the fd is not a state table, or the system refuses.
    pub fn map(fd: OwnedFd) -> Result<Self, SegmentError> {
        let all = ReadOnly::map(fd.as_fd(), Kind::State)?;
        let front = ReadWrite::map_first(fd.as_fd(), Kind::State, Geometry::of(all.words()).front_bytes())?;
        Ok(Self { all, front, file: fd.into() })
    }
}

impl Deref for StateMemory {
    type Target = ReadOnly;

    fn deref(&self) -> &ReadOnly {
        &self.all
    }
}

impl TableMemory for StateMemory {
    fn store(&self, word: usize, value: u64, order: Ordering) {
        self.front.store(word, value, order);
    }

    fn write_body(&self, word: usize, bytes: &[u8]) -> io::Result<()> {
        write_through(&self.file, word * WORD, bytes)
    }
}
