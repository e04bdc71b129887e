//! A board: one value that its writer replaces as a whole, atomically at any instruction.
//!
//! Two slots; the writer fills the one that is not current, then a single release store of the version's number makes it
//! current. Readers check a CRC on their own copy, bound their retries, and fall back to the last good copy.
//! The supervisor's ledger and the public status board are both boards.

use crate::{
    shm::{
        access::{ReadWords, WORD, WriteWords, index, words_for},
        sync::{Ordering, Site, at, crc, fence},
    },
    wire::codec::{self, CodecError},
};
use bincode::{Decode, Encode};

/// Word of the current version's number; its lowest bit names the slot.
const VERSION: usize = 0;
/// Where the first slot begins. A cache line of its own for the version.
const SLOTS: usize = 8;
/// Words of a slot's head: the version, then length and CRC.
const SLOT_HEAD: usize = 2;

/// How often a reader tries before it falls back: the writer publishes rarely, so a second failure is no coincidence.
const TRIES: usize = 8;

fn slot_words(words: usize) -> usize {
    (words - SLOTS) / 2
}

fn slot_start(words: usize, version: u64) -> usize {
    SLOTS + slot_words(words) * index(version & 1)
}

/// The bytes that a value may take on a board of that many words.
#[must_use]
pub fn capacity(words: usize) -> usize {
    slot_words(words).saturating_sub(SLOT_HEAD) * WORD
}

/// The one writer of a board.
#[derive(Debug)]
pub struct SeqlockWriter<M> {
    memory: M,
    buffer: Vec<u8>,
}

impl<M: WriteWords> SeqlockWriter<M> {
    /// Takes over a board, whatever it shows.
    #[must_use]
    pub fn new(memory: M) -> Self {
        let buffer = vec![0; capacity(memory.words())];
        Self { memory, buffer }
    }

    /// Shows `value` from now on.
    ///
    /// # Errors
    /// When it is too long for the board, which shows the former value then.
    pub fn publish<T: Encode>(&mut self, value: &T) -> Result<(), CodecError> {
        let length = codec::encode(value, &mut self.buffer)?;
        let bytes = &self.buffer[..length];
        let version = self.memory.load(VERSION, Ordering::Relaxed).wrapping_add(1);
        let slot = slot_start(self.memory.words(), version);
        self.memory.store(slot, version, Ordering::Relaxed);
        self.memory.store(slot + 1, seal(bytes), Ordering::Relaxed);
        // A reader that still copies this slot sees one of these stores, or none of them.
        fence(Site::SeqlockOverwrite, Ordering::Release);
        self.memory.write_bytes(slot + SLOT_HEAD, bytes);
        self.memory.store(VERSION, version, at(Site::SeqlockPublish, Ordering::Release));
        Ok(())
    }
}

/// Length and CRC of a value's bytes, in one word.
fn seal(bytes: &[u8]) -> u64 {
    ((bytes.len() as u64) << 32) | u64::from(crc(bytes))
}

/// A reader of a board.
#[derive(Debug)]
pub struct SeqlockReader<M, T> {
    memory: M,
    good: Option<(u64, T)>,
}

impl<M: ReadWords, T: Decode<()>> SeqlockReader<M, T> {
    /// Begins to read a board.
    #[must_use]
    pub fn new(memory: M) -> Self {
        Self { memory, good: None }
    }

    /// The value that the board shows, or the last one that could be read whole, or none if there never was one.
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
        let slot = slot_start(self.memory.words(), version);
        let sealed = self.memory.load(slot + 1, Ordering::Relaxed);
        let length = index(sealed >> 32);
        if length > capacity(self.memory.words()) {
            return None;
        }
        let mut bytes = vec![0; words_for(length) * WORD];
        self.memory.read_bytes(slot + SLOT_HEAD, &mut bytes);
        bytes.truncate(length);
        fence(Site::SeqlockRecheck, Ordering::Acquire);
        let unchanged = self.memory.load(slot, Ordering::Relaxed) == version;
        if unchanged && seal(&bytes) == sealed { codec::decode(&bytes).ok() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::segment::{Kind, Segment};

    fn board() -> (
        SeqlockWriter<crate::shm::segment::ReadWrite>,
        SeqlockReader<crate::shm::segment::ReadWrite, String>,
        Segment,
    ) {
        let segment = Segment::create(Kind::StatusPage, 4096, 1, true).unwrap();
        (SeqlockWriter::new(segment.map().unwrap()), SeqlockReader::new(segment.map().unwrap()), segment)
    }

    #[test]
    fn a_reader_sees_the_last_value_that_was_published() {
        let (mut writer, mut reader, _segment) = board();
        assert_eq!(reader.read(), None);
        for text in ["one", "two", "three, which is longer than the others"] {
            writer.publish(&text.to_owned()).unwrap();
            assert_eq!(reader.read().unwrap(), text);
        }
    }

    #[test]
    fn a_value_that_does_not_fit_leaves_the_former_one() {
        let (mut writer, mut reader, _segment) = board();
        writer.publish(&"fits".to_owned()).unwrap();
        assert!(writer.publish(&"x".repeat(5000)).is_err());
        assert_eq!(reader.read().unwrap(), "fits");
    }

    #[test]
    fn a_damaged_board_shows_the_last_good_copy() {
        let (mut writer, mut reader, segment) = board();
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
    fn a_successor_of_the_writer_goes_on_where_it_ended() {
        let (mut writer, mut reader, segment) = board();
        writer.publish(&"first".to_owned()).unwrap();
        let mut successor = SeqlockWriter::new(segment.map().unwrap());
        successor.publish(&"second".to_owned()).unwrap();
        assert_eq!(reader.read().unwrap(), "second");
    }
}
