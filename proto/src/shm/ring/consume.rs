//! Reading from the ring: single fetches, every field checked against values that the reader owns, then a private copy.

use super::{LARGEST_SHARE, PAD, RECORD_HEAD, record_bytes, record_word, tail::read_tail};
use crate::{
    shm::{
        access::{ReadWords, WORD, index},
        sync::Ordering,
    },
    wire::ids::{Position, Seq},
};

/// A record that cannot be one. The reader goes no further: what follows cannot be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ring is damaged at position {position}: {what} is {found:#x}")]
pub struct RingCorruption {
    /// Where the record begins.
    pub position: Position,
    /// Which of its fields is wrong.
    pub what: &'static str,
    /// What was found there.
    pub found: u64,
}

/// The reading side of the ring. Reads on from a committed position; frees nothing.
#[derive(Debug)]
pub struct Consumer<E, P> {
    events: E,
    page: P,
    capacity: u64,
    at: u64,
    seq: Seq,
    head: u64,
    next_seq: Seq,
}

impl<E: ReadWords, P: ReadWords> Consumer<E, P> {
    /// Begins at a position that was committed together with `seq`, the last event before it.
    ///
    /// # Errors
    /// When the position cannot be one of this ring's.
    pub fn attach(events: E, page: P, position: Position, seq: Seq) -> Result<Self, RingCorruption> {
        let capacity = (events.words() * WORD) as u64;
        assert!(capacity.is_power_of_two(), "the ring's capacity is {capacity}, which is no power of two");
        let at = position.0;
        let consumer = Self { events, page, capacity, at, seq, head: at, next_seq: seq.next() };
        // A tail that moves at every single try is looked at later, by `next`, with the same checks.
        let head = read_tail(&consumer.page).map_or(at, |tail| tail.head.0);
        if !at.is_multiple_of(WORD as u64) || head < at || head - at > capacity {
            return Err(consumer.fault("head, seen from the committed position,", head));
        }
        Ok(consumer)
    }

    /// Where the next record will be read.
    pub const fn position(&self) -> Position {
        Position(self.at)
    }

    /// The bytes that were accepted and not read, as of the last look.
    pub const fn unread(&self) -> u64 {
        self.head - self.at
    }

    /// The last event that was read.
    pub const fn seq(&self) -> Seq {
        self.seq
    }

    /// Copies the next event's payload into `into`. None when the ring is empty now.
    ///
    /// # Errors
    /// [`RingCorruption`] when the memory there is no record. The consumer stays where it is.
    pub fn next(&mut self, into: &mut Vec<u8>) -> Result<Option<Seq>, RingCorruption> {
        if self.at == self.head {
            self.look();
        }
        // Each turn advances to a place behind the last, and a pad ends at the ring's end: two turns at most.
        while self.at < self.head {
            let word = self.events.load(self.word(), Ordering::Relaxed);
            #[expect(clippy::cast_possible_truncation, reason = "the lower half is what is wanted")]
            let length = word as u32;
            if word != record_word(length, self.at) {
                return Err(self.fault("tag", word));
            }
            if length & PAD == 0 {
                return self.record(length, into).map(Some);
            }
            self.skip_pad(length & !PAD)?;
        }
        if self.at == self.head { Ok(None) } else { Err(self.fault("head behind a pad", self.head)) }
    }

    /// Whether there is something to read, looking at the producer's page if need be.
    pub fn is_empty(&mut self) -> bool {
        if self.at == self.head {
            self.look();
        }
        self.at == self.head
    }

    /// Reloads how far the producer has come. What it says is believed only if it can be true.
    fn look(&mut self) {
        if let Some(tail) = read_tail(&self.page) {
            let (head, next_seq) = (tail.head.0, tail.next_seq);
            if head >= self.head && head - self.at <= self.capacity && head.is_multiple_of(WORD as u64) {
                (self.head, self.next_seq) = (head, next_seq);
            }
        }
    }

    fn skip_pad(&mut self, length: u32) -> Result<(), RingCorruption> {
        let room = self.capacity - (self.at & (self.capacity - 1));
        if u64::from(length) != room || self.at + room > self.head {
            return Err(self.fault("pad's length", length.into()));
        }
        self.at += room;
        Ok(())
    }

    fn record(&mut self, length: u32, into: &mut Vec<u8>) -> Result<Seq, RingCorruption> {
        let size = record_bytes(length as usize) as u64;
        let room = (self.capacity - (self.at & (self.capacity - 1))).min(self.head - self.at);
        if size > room || size > self.capacity / LARGEST_SHARE {
            return Err(self.fault("length", length.into()));
        }
        let seq = Seq(self.events.load(self.word() + 1, Ordering::Relaxed));
        if seq <= self.seq || seq >= self.next_seq {
            return Err(self.fault("seq", seq.0));
        }
        into.resize(length as usize, 0);
        self.events.read_bytes(self.word() + RECORD_HEAD / WORD, into);
        self.at += size;
        self.seq = seq;
        Ok(seq)
    }

    fn word(&self) -> usize {
        index(self.at & (self.capacity - 1)) / WORD
    }

    const fn fault(&self, what: &'static str, found: u64) -> RingCorruption {
        RingCorruption { position: Position(self.at), what, found }
    }
}
