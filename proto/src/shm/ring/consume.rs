//! Reading from the ring: each field is fetched once and checked against values that the reader owns; then the payload is
//! copied to private memory.

use super::{Capacity, PAD, RECORD_HEAD, record_bytes, record_word, tail::read_tail};
use crate::{
    shm::{
        access::{ReadWords, WORD},
        sync::Ordering,
    },
    wire::ids::{Position, Seq},
};

/// The ring holds bytes that are not a record. The reader stops there: nothing after it can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ring is damaged at position {position}: {what} is {found:#x}")]
pub struct RingCorruption {
    /// Where the record begins.
    pub position: Position,
    /// The field that is wrong.
    pub what: &'static str,
    /// The value of that field.
    pub found: u64,
}

/// The reading side of the ring. It begins at a committed position and frees nothing.
#[derive(Debug)]
pub struct Consumer<E, P> {
    events: E,
    page: P,
    capacity: Capacity,
    at: u64,
    seq: Seq,
    head: u64,
    next_seq: Seq,
}

impl<E: ReadWords, P: ReadWords> Consumer<E, P> {
    /// Attaches at a position that was committed together with `seq`, the last event before it.
    ///
    /// # Errors
    /// If the position cannot belong to this ring.
    pub fn attach(events: E, page: P, position: Position, seq: Seq) -> Result<Self, RingCorruption> {
        let capacity = Capacity::of(&events);
        let at = position.0;
        let consumer = Self { events, page, capacity, at, seq, head: at, next_seq: seq.next() };
        // If the tail moved at every try, `next` reads it later, with the same checks.
        let head = read_tail(&consumer.page).map_or(at, |tail| tail.head.0);
        if !at.is_multiple_of(WORD as u64) || head < at || head - at > capacity.0 {
            return Err(consumer.corruption("head, relative to the committed position,", head));
        }
        Ok(consumer)
    }

    /// Where the next record will be read.
    pub const fn position(&self) -> Position {
        Position(self.at)
    }

    /// The bytes that were accepted and not read, as of the last reload.
    pub const fn unread(&self) -> u64 {
        self.head - self.at
    }

    /// The last event that was read.
    pub const fn seq(&self) -> Seq {
        self.seq
    }

    /// Copies the payload of the next event into `into`. `None` if the ring is empty now.
    ///
    /// # Errors
    /// [`RingCorruption`] if the memory there is not a record. The consumer stays where it is.
    pub fn next(&mut self, into: &mut Vec<u8>) -> Result<Option<Seq>, RingCorruption> {
        self.next_prefix(usize::MAX, into)
    }

    /// Like [`Self::next`], but copies at most the first `most` bytes of the payload.
    ///
    /// # Errors
    /// As for [`Self::next`].
    pub fn next_prefix(&mut self, most: usize, into: &mut Vec<u8>) -> Result<Option<Seq>, RingCorruption> {
        if self.at == self.head {
            self.reload();
        }
        // Each pass advances, and a pad ends at the end of the ring: two passes at most.
        while self.at < self.head {
            let word = self.events.load(self.word(), Ordering::Relaxed);
            #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
            let length = word as u32;
            if word != record_word(length, self.at) {
                return Err(self.corruption("tag", word));
            }
            if length & PAD == 0 {
                return self.record(length, most, into).map(Some);
            }
            self.skip_pad(length & !PAD)?;
        }
        if self.at == self.head { Ok(None) } else { Err(self.corruption("head after a pad", self.head)) }
    }

    /// Whether there is nothing to read. Reloads the producer's page if needed.
    pub fn is_empty(&mut self) -> bool {
        if self.at == self.head {
            self.reload();
        }
        self.at == self.head
    }

    /// Reloads how far the producer has come. Ignores a value that cannot be true.
    fn reload(&mut self) {
        if let Some(tail) = read_tail(&self.page) {
            let (head, next_seq) = (tail.head.0, tail.next_seq);
            if head >= self.head && head - self.at <= self.capacity.0 && head.is_multiple_of(WORD as u64) {
                (self.head, self.next_seq) = (head, next_seq);
            }
        }
    }

    fn skip_pad(&mut self, length: u32) -> Result<(), RingCorruption> {
        let room = self.capacity.room_to_end(self.at);
        if u64::from(length) != room || self.at + room > self.head {
            return Err(self.corruption("pad's length", length.into()));
        }
        self.at += room;
        Ok(())
    }

    fn record(&mut self, length: u32, most: usize, into: &mut Vec<u8>) -> Result<Seq, RingCorruption> {
        let size = record_bytes(length as usize) as u64;
        let room = self.capacity.room_to_end(self.at).min(self.head - self.at);
        if size > room || size > self.capacity.largest_record() {
            return Err(self.corruption("length", length.into()));
        }
        let seq = Seq(self.events.load(self.word() + 1, Ordering::Relaxed));
        if seq <= self.seq || seq >= self.next_seq {
            return Err(self.corruption("seq", seq.0));
        }
        into.resize((length as usize).min(most), 0);
        self.events.read_bytes(self.word() + RECORD_HEAD / WORD, into);
        self.at += size;
        self.seq = seq;
        Ok(seq)
    }

    fn word(&self) -> usize {
        self.capacity.word(self.at)
    }

    const fn corruption(&self, what: &'static str, found: u64) -> RingCorruption {
        RingCorruption { position: Position(self.at), what, found }
    }
}
