//! A seqlock cell: one value that its writer replaces as a whole, atomically at any instruction.
//!
//! The cell has two slots. The writer fills the slot that is not current; then one release store of the version makes it
//! current. Readers check a CRC on their own copy, bound their retries, and fall back to the last good copy. The
//! supervisor's ledger and the status page are seqlock cells.

use crate::{
    shm::{
        access::{ReadWords, WORD, WriteWords, index},
        sealed,
        sync::{Ordering, Site, at, fence},
    },
    wire::codec::{self, CodecError},
};
use bincode::{Decode, Encode};

/// The word of the current version. Its lowest bit selects the slot.
const VERSION: usize = 0;
/// The word of the first slot. The version has a cache line of its own.
const SLOTS: usize = 8;
/// The head of a slot, in words: the version, then length and CRC.
const SLOT_HEAD: usize = 2;

/// How often a reader tries before it falls back. The writer publishes rarely: if several tries fail, the memory is
/// damaged.
const TRIES: usize = 8;

fn slot_words(words: usize) -> usize {
    (words - SLOTS) / 2
}

fn slot_start(words: usize, version: u64) -> usize {
    SLOTS + slot_words(words) * index(version & 1)
}

/// The longest value in a cell of `words` words, in bytes.
#[must_use]
pub fn capacity(words: usize) -> usize {
    slot_words(words).saturating_sub(SLOT_HEAD) * WORD
}

/// The only writer of a cell.
#[derive(Debug)]
pub struct SeqlockWriter<M> {
    memory: M,
    buffer: Vec<u8>,
}

impl<M: WriteWords> SeqlockWriter<M> {
    /// Takes over a cell, whatever it holds.
    #[must_use]
    pub fn new(memory: M) -> Self {
        let buffer = vec![0; capacity(memory.words())];
        Self { memory, buffer }
    }

    /// Publishes `value`.
    ///
    /// # Errors
    /// If the value is too long for the cell. The cell keeps the previous value then.
    pub fn publish<T: Encode>(&mut self, value: &T) -> Result<(), CodecError> {
        let length = codec::encode(value, &mut self.buffer)?;
        let bytes = &self.buffer[..length];
        let version = self.memory.load(VERSION, Ordering::Relaxed).wrapping_add(1);
        let slot = slot_start(self.memory.words(), version);
        self.memory.store(slot, version, Ordering::Relaxed);
        self.memory.store(slot + 1, sealed::seal(bytes), Ordering::Relaxed);
        // A reader that still copies this slot either sees the version above or none of the stores below.
        fence(Site::SeqlockOverwrite, Ordering::Release);
        self.memory.write_bytes(slot + SLOT_HEAD, bytes);
        self.memory.store(VERSION, version, at(Site::SeqlockPublish, Ordering::Release));
        Ok(())
    }
}

/// A reader of a cell.
#[derive(Debug)]
pub struct SeqlockReader<M, T> {
    memory: M,
    good: Option<(u64, T)>,
}

impl<M: ReadWords, T: Decode<()>> SeqlockReader<M, T> {
    /// Attaches to a cell.
    #[must_use]
    pub fn new(memory: M) -> Self {
        Self { memory, good: None }
    }

    /// The current value; or the last one that could be read completely; or `None` if there never was one.
    pub fn read(&mut self) -> Option<&T> {
        for _ in 0..TRIES {
            let version = self.memory.load(VERSION, at(Site::SeqlockRead, Ordering::Acquire));
            if version == 0 || self.good.as_ref().is_some_and(|(known, _)| *known == version) {
                break;
            }
            if let Some(value) = self.copy(version) {
                self.good = Some((version, value));
                break;
            }
        }
        self.good.as_ref().map(|(_, value)| value)
    }

    fn copy(&self, version: u64) -> Option<T> {
        let words = self.memory.words();
        let slot = slot_start(words, version);
        let sealed = self.memory.load(slot + 1, Ordering::Relaxed);
        let bytes = sealed::read(&self.memory, slot + SLOT_HEAD, sealed, capacity(words));
        fence(Site::SeqlockRecheck, Ordering::Acquire);
        let unchanged = self.memory.load(slot, Ordering::Relaxed) == version;
        bytes.filter(|_| unchanged).and_then(|bytes| codec::decode(&bytes).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::segment::{Kind, Segment};

    fn cell() -> (
        SeqlockWriter<crate::shm::segment::ReadWrite>,
        SeqlockReader<crate::shm::segment::ReadWrite, String>,
        Segment,
    ) {
        let segment = Segment::create(Kind::StatusPage, 4096, 1, true).unwrap();
        (SeqlockWriter::new(segment.map().unwrap()), SeqlockReader::new(segment.map().unwrap()), segment)
    }

    #[test]
    fn a_reader_sees_the_last_published_value() {
        let (mut writer, mut reader, _segment) = cell();
        assert_eq!(reader.read(), None);
        for text in ["one", "two", "three, which is longer than the others"] {
            writer.publish(&text.to_owned()).unwrap();
            assert_eq!(reader.read().unwrap(), text);
        }
    }

    #[test]
    fn a_value_that_does_not_fit_leaves_the_previous_one() {
        let (mut writer, mut reader, _segment) = cell();
        writer.publish(&"fits".to_owned()).unwrap();
        assert!(writer.publish(&"x".repeat(5000)).is_err());
        assert_eq!(reader.read().unwrap(), "fits");
    }

    #[test]
    fn a_reader_of_a_damaged_cell_keeps_the_last_good_value() {
        let (mut writer, mut reader, segment) = cell();
        writer.publish(&"good".to_owned()).unwrap();
        reader.read();
        writer.publish(&"newer".to_owned()).unwrap();
        let memory = segment.map().unwrap();
        for word in SLOTS..memory.words() {
            memory.store(word, u64::MAX, Ordering::Relaxed);
        }
        assert_eq!(reader.read().unwrap(), "good");
    }

    #[test]
    fn a_new_writer_continues_with_the_next_version() {
        let (mut writer, mut reader, segment) = cell();
        writer.publish(&"first".to_owned()).unwrap();
        let mut successor = SeqlockWriter::new(segment.map().unwrap());
        successor.publish(&"second".to_owned()).unwrap();
        assert_eq!(reader.read().unwrap(), "second");
    }
}
