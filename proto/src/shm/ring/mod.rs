//! The events ring: the API writes it, the analysis reads it, and only the commits of the analysis free space.
//! The API notices freed space when an append finds too little room (`append.rs`, `reserve`).
//!
//! Positions are bytes since the ring was created; they never wrap. The capacity is a power of two. A record is 8-aligned
//! and never wraps around the end; a pad record fills the rest instead:
//!
//! ```text
//! word 0: u32 payload length; bit 31 marks a pad, whose length is its whole size, this word included
//!         u32 tag = position >> 3, cut to 32 bits: a record that is read at a wrong position does not verify
//! word 1: u64 seq
//! then:   payload, zero-padded to a multiple of 8
//! ```
//!
//! An event is accepted by the one release store that publishes the tail in the producer's page (`tail.rs`). A batch is
//! accepted by one such store, together with the idempotency key of its request (`key_log.rs`).

mod append;
mod batch;
mod consume;
mod idempotency_index;
mod key_log;
mod lock;
mod producer;
mod tail;

pub use append::{AppendError, Appender};
pub use batch::Batch;
pub use consume::{Consumer, RingCorruption};
pub use idempotency_index::{IdempotencyIndex, KeyReused};
pub(crate) use key_log::key_log_bytes;
pub use key_log::{IdempotencyKey, KEY_WINDOW, KeyLog, KeyedBatch, KeyedRequest, MAX_IDEMPOTENCY_KEY};
pub(crate) use lock::init as init_lock;
pub use producer::{AppendOutcome, Producer};
pub use tail::{Appended, PRODUCER_WORDS, Tail, read_tail, set_tail};

use crate::{
    shm::access::{ReadWords, WORD, index},
    wire::event::MAX_EVENT,
};

/// The smallest capacity, in bytes. Below it, throughput was measured to fall by a factor of 3 to 6.
pub const MIN_CAPACITY: u64 = 4 << 20;

/// The largest capacity, in bytes. A bound against typing errors. Also, every mapped page delays the end of a dying
/// process.
pub const MAX_CAPACITY: u64 = 16 << 30;

/// The smallest capacity of a ring that takes events with encodings of up to `event` bytes.
#[must_use]
pub fn capacity_for(event: usize) -> u64 {
    (record_bytes(event) as u64 * LARGEST_SHARE).next_power_of_two().max(MIN_CAPACITY)
}

/// Whether so little room is left that batches of a usual size may not fit: an eighth of the capacity.
#[must_use]
pub const fn is_nearly_full(used_bytes: u64, capacity_bytes: u64) -> bool {
    used_bytes >= capacity_bytes / 8 * 7
}

/// The length of a record head, in bytes.
const RECORD_HEAD: usize = 2 * WORD;

/// Marks a pad record, in the length of word 0.
const PAD: u32 = 1 << 31;

/// A record may take at most this fraction of the capacity, so that a pad never wastes more.
const LARGEST_SHARE: u64 = 8;

/// How often a reader tries to read the tail before it falls back on what it knows.
const TRIES: usize = 64;

/// The capacity of a ring, in bytes.
#[derive(Clone, Copy, Debug)]
struct Capacity(u64);

impl Capacity {
    fn of(events: &impl ReadWords) -> Self {
        let capacity = (events.words() * WORD) as u64;
        assert!(capacity.is_power_of_two(), "the ring capacity {capacity} is not a power of two");
        Self(capacity)
    }

    /// The longest record, in bytes: what a writer may append, and the most that a reader allocates.
    fn largest_record(self) -> u64 {
        (self.0 / LARGEST_SHARE).min(record_bytes(MAX_EVENT) as u64)
    }

    /// The word at a position.
    const fn word(self, position: u64) -> usize {
        index(position & (self.0 - 1)) / WORD
    }

    /// The bytes from a position to the end of the ring, where it wraps.
    const fn room_to_end(self, position: u64) -> u64 {
        self.0 - (position & (self.0 - 1))
    }
}

/// The size of a record with a payload of `payload` bytes, in bytes.
const fn record_bytes(payload: usize) -> usize {
    RECORD_HEAD + payload.next_multiple_of(WORD)
}

/// Word 0 of a record at `position`.
const fn record_word(length: u32, position: u64) -> u64 {
    // The tag: bits 3 to 34 of the position.
    (((position >> 3) & 0xffff_ffff) << 32) | length as u64
}

#[cfg(test)]
mod key_log_tests;
#[cfg(test)]
mod tests;
