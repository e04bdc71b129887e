//! A batch of encoded events, ready to be copied into the ring.

use super::{RECORD_HEAD, record_bytes};
use crate::{
    shm::access::WORD,
    wire::event::{Event, EventError, Removal},
};

/// Events that are accepted together or not at all. Keep one batch and [`clear`](Self::clear) it: its memory is reused.
///
/// The batch holds records in the layout of the ring, with tags and seqs left open. So appending is one walk over the heads
/// and one copy.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    records: u64,
    largest: usize,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), records: 0, largest: 0 }
    }

    /// Adds an event.
    ///
    /// # Errors
    /// If a text is out of its bounds, or the value is not finite, or missing without data. The batch is unchanged then.
    pub fn push(&mut self, event: &Event<'_>) -> Result<(), EventError> {
        self.push_encoded(|bytes| event.encode(bytes))
    }

    /// Adds the removal of a series.
    ///
    /// # Errors
    /// If a text is out of its bounds. The batch is unchanged then.
    pub fn push_removal(&mut self, removal: &Removal<'_>) -> Result<(), EventError> {
        self.push_encoded(|bytes| removal.encode(bytes))
    }

    #[inline]
    fn push_encoded(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), EventError>,
    ) -> Result<(), EventError> {
        let start = self.begin();
        let encoded = encode(&mut self.bytes);
        match encoded {
            Ok(()) => self.finish(start),
            Err(_) => self.bytes.truncate(start),
        }
        encoded
    }

    /// Adds a record with any payload: for tests and benchmarks of the ring, and for a restored snapshot.
    #[inline]
    pub fn push_bytes(&mut self, payload: &[u8]) {
        let start = self.begin();
        self.bytes.extend_from_slice(payload);
        self.finish(start);
    }

    /// Adds an empty record head. Returns where it begins.
    #[inline]
    fn begin(&mut self) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; RECORD_HEAD]);
        start
    }

    #[inline]
    fn finish(&mut self, start: usize) {
        let payload = self.bytes.len() - start - RECORD_HEAD;
        let rest = payload.next_multiple_of(WORD) - payload;
        if rest > 0 {
            self.bytes.extend_from_slice(&[0; WORD][..rest]);
        }
        // A payload beyond u32 cannot be written: `largest` makes `append` refuse it.
        let length = u32::try_from(payload).unwrap_or(u32::MAX);
        self.head(start)[..4].copy_from_slice(&length.to_ne_bytes());
        self.largest = self.largest.max(record_bytes(payload));
        self.records += 1;
    }

    /// Removes the events and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.records = 0;
        self.largest = 0;
    }

    /// The number of events.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.records
    }

    /// Whether the batch holds no event.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The bytes that the records take in the ring, without the pad at its end.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) const fn largest(&self) -> usize {
        self.largest
    }

    pub(super) fn records(&self, from: usize, to: usize) -> &[u8] {
        &self.bytes[from..to]
    }

    /// The length of the payload of the record that begins at `offset`.
    #[inline]
    pub(super) fn payload_at(&self, offset: usize) -> u32 {
        let mut length = [0; 4];
        length.copy_from_slice(&self.bytes[offset..offset + 4]);
        u32::from_ne_bytes(length)
    }

    /// Completes the head of the record that begins at `offset`.
    #[inline]
    pub(super) fn stamp(&mut self, offset: usize, word: u64, seq: u64) {
        let (first, second) = self.head(offset).split_at_mut(WORD);
        first.copy_from_slice(&word.to_ne_bytes());
        second.copy_from_slice(&seq.to_ne_bytes());
    }

    #[inline]
    fn head(&mut self, offset: usize) -> &mut [u8] {
        &mut self.bytes[offset..offset + RECORD_HEAD]
    }
}
