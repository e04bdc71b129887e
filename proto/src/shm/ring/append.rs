//! Appending to the ring: write the records, then accept them by one release store.

use super::{
    Batch, Capacity, KeyLog, KeyReused, KeyedBatch, KeyedRequest, PAD, record_bytes, record_word,
    tail::{Appended, Tail, publish, tail_of, version_of},
};
use crate::{
    shm::{access::WriteWords, sync::Ordering},
    wire::ids::{Position, Seq},
};

/// Why a batch was refused. A refused batch is refused as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The batch does not fit now. It will fit when the analysis has committed more.
    #[error("the ring is full: {wanted} bytes wanted, {free} of {capacity} bytes free")]
    Full {
        /// The space that the batch needs at the present position, in bytes.
        wanted: u64,
        /// The free space, in bytes.
        free: u64,
        /// The capacity of the ring, in bytes.
        capacity: u64,
    },
    /// The batch, or one of its events, can never fit.
    #[error(
        "a batch of {wanted} bytes can never fit a ring of {capacity} bytes, of which an event may take an eighth; send it in parts"
    )]
    TooLarge {
        /// The space that the batch needs at the worst position, in bytes.
        wanted: u64,
        /// The capacity of the ring, in bytes.
        capacity: u64,
    },
    /// The batch holds no event.
    #[error("the batch is empty")]
    Empty,
    /// The idempotency key was used for another request.
    #[error("this key was used for another request; use a new key for a new request")]
    KeyReused,
    /// The lock of the producer's page failed. The value is the error number of the C library.
    #[error("the lock of the ring failed with error {0}; restart the API worker")]
    Lock(i32),
}

impl From<KeyReused> for AppendError {
    fn from(_: KeyReused) -> Self {
        Self::KeyReused
    }
}

/// The writing side of the ring. Its user must hold the lock of the producer's page.
#[derive(Debug)]
pub struct Appender<E, P> {
    events: E,
    page: P,
    capacity: Capacity,
    version: u64,
    tail: Tail,
    released: Position,
}

impl<E: WriteWords, P: WriteWords> Appender<E, P> {
    /// Attaches to the ring where the last owner left it.
    pub fn attach(events: E, page: P) -> Self {
        let capacity = Capacity::of(&events);
        let mut appender =
            Self { events, page, capacity, version: 0, tail: Tail::EMPTY, released: Position(0) };
        appender.reload();
        appender
    }

    /// Loads what another owner has changed. Call it each time the lock was taken.
    pub fn reload(&mut self) {
        // Relaxed is enough: the lock orders the changes of other owners before this load.
        let version = version_of(&self.page, Ordering::Relaxed);
        if version != self.version {
            self.version = version;
            self.tail = tail_of(&self.page, version);
        }
    }

    /// Where the ring ends.
    pub const fn tail(&self) -> Tail {
        self.tail
    }

    /// The capacity of the ring, in bytes.
    pub const fn capacity(&self) -> u64 {
        self.capacity.0
    }

    /// Appends all of a batch or nothing. `released` returns the position up to which the analysis has committed. It is
    /// called only when space is short, and a result that cannot be true is ignored.
    ///
    /// # Errors
    /// If the batch is empty, does not fit now, or can never fit. Nothing was accepted then.
    pub fn append(
        &mut self,
        batch: &mut Batch,
        released: impl FnOnce() -> Position,
    ) -> Result<Appended, AppendError> {
        let (appended, tail) = self.prepare(batch, released)?;
        self.accept(tail);
        Ok(appended)
    }

    /// Like [`Self::append`], and logs the keyed request with the batch: a death leaves both or neither. The caller must
    /// check whether the request was carried out before.
    ///
    /// # Errors
    /// As for [`Self::append`].
    pub fn append_keyed(
        &mut self,
        batch: &mut Batch,
        request: KeyedRequest,
        log: &KeyLog<impl WriteWords>,
        released: impl FnOnce() -> Position,
    ) -> Result<Appended, AppendError> {
        let (appended, tail) = self.prepare(batch, released)?;
        log.write(tail.keyed, &KeyedBatch { request, appended });
        self.accept(Tail { keyed: tail.keyed + 1, ..tail });
        Ok(appended)
    }

    /// Everything before the publication: writes the batch, and returns where the ring will end.
    fn prepare(
        &mut self,
        batch: &mut Batch,
        released: impl FnOnce() -> Position,
    ) -> Result<(Appended, Tail), AppendError> {
        if batch.is_empty() {
            return Err(AppendError::Empty);
        }
        let end = self.end_of(batch)?;
        self.reserve(end, released)?;
        self.place(batch);
        let Tail { next_seq: first, accepted, keyed, .. } = self.tail;
        let (next_seq, accepted) = (Seq(first.0 + batch.len()), accepted + batch.len());
        let tail = Tail { head: Position(end), next_seq, accepted, keyed };
        Ok((Appended { first, last: tail.last_seq() }, tail))
    }

    /// Accepts the records up to `tail` by one store. They must be written.
    #[inline]
    fn accept(&mut self, tail: Tail) {
        self.version = self.version.wrapping_add(1).max(1);
        publish(&self.page, self.version, tail);
        self.tail = tail;
    }

    /// Where the batch would end, pads included.
    fn end_of(&self, batch: &Batch) -> Result<u64, AppendError> {
        let (bytes, largest) = (batch.bytes() as u64, batch.largest() as u64);
        // The pad at the end of the ring is shorter than the record that did not fit there.
        let (worst, capacity) = (bytes.saturating_add(largest), self.capacity());
        if worst > capacity || largest > self.capacity.largest_record() {
            return Err(AppendError::TooLarge { wanted: worst, capacity });
        }
        let start = self.tail.head.0;
        if bytes <= self.capacity.room_to_end(start) {
            return Ok(start + bytes);
        }
        let (mut at, mut offset) = (start, 0);
        while offset < batch.bytes() {
            let size = record_bytes(batch.payload_at(offset) as usize);
            at += self.pad_before(at, size as u64) + size as u64;
            offset += size;
        }
        Ok(at)
    }

    /// The bytes to skip at `position` so that a record of `size` bytes does not wrap.
    fn pad_before(&self, position: u64, size: u64) -> u64 {
        let room = self.capacity.room_to_end(position);
        if size > room { room } else { 0 }
    }

    fn reserve(&mut self, end: u64, released: impl FnOnce() -> Position) -> Result<(), AppendError> {
        let (head, capacity) = (self.tail.head, self.capacity());
        if end - self.released.0 > capacity {
            // The analysis is not trusted: a possible position is between the last one and our head.
            let position = released();
            if (self.released..=head).contains(&position) {
                self.released = position;
            }
        }
        if end - self.released.0 <= capacity {
            return Ok(());
        }
        let free = capacity.saturating_sub(head.0 - self.released.0);
        Err(AppendError::Full { wanted: end - head.0, free, capacity })
    }

    /// Copies the records into the ring: in one piece, or in two pieces with a pad between them where the ring wraps.
    fn place(&self, batch: &mut Batch) {
        let (mut at, mut seq) = (self.tail.head.0, self.tail.next_seq.0);
        let (mut piece, mut piece_at) = (0, at);
        let mut offset = 0;
        while offset < batch.bytes() {
            let length = batch.payload_at(offset);
            let size = record_bytes(length as usize);
            let pad = self.pad_before(at, size as u64);
            if pad > 0 || self.capacity.room_to_end(at) == self.capacity() {
                // The ring wraps here: copy the records gathered up to here.
                self.copy(batch.records(piece, offset), piece_at);
                self.write_pad(at, pad);
                at += pad;
                (piece, piece_at) = (offset, at);
            }
            batch.stamp(offset, record_word(length, at), seq);
            (at, seq, offset) = (at + size as u64, seq + 1, offset + size);
        }
        self.copy(batch.records(piece, offset), piece_at);
    }

    fn copy(&self, bytes: &[u8], at: u64) {
        if !bytes.is_empty() {
            self.events.write_bytes(self.capacity.word(at), bytes);
        }
    }

    fn write_pad(&self, at: u64, bytes: u64) {
        if bytes == 0 {
            return;
        }
        // A pad is shorter than the largest record: its length fits 31 bits.
        let length = u32::try_from(bytes).unwrap_or(u32::MAX) | PAD;
        self.events.store(self.capacity.word(at), record_word(length, at), Ordering::Relaxed);
    }
}
