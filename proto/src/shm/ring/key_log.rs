//! The log of keyed requests: which batch was appended under which `Idempotency-Key`, so that a repeat appends nothing.
//!
//! The log is circular, with one entry per request, numbered from 0. [`Tail::keyed`] counts the entries. An entry is
//! written before the store that accepts its batch, and is valid from that store on: a death between the two leaves
//! neither batch nor entry. The log has room for one entry more than the window, so that an entry that is being written
//! overwrites no valid one.
//!
//! Entries are written and read under the lock of the producer's page. They need no memory ordering of their own.

use super::tail::{Appended, Tail};
use crate::{
    shm::{
        access::{ReadWords, WORD, WriteWords, index, words_for},
        sync::crc,
    },
    wire::ids::Seq,
};
use std::{fmt, ops::Range};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// The number of keyed requests that are remembered: at 100 per second, those of the last eleven minutes.
pub const KEY_WINDOW: u64 = 65_536;

/// The longest key, in bytes.
pub const MAX_IDEMPOTENCY_KEY: usize = 64;

const ENTRY_WORDS: usize = words_for(size_of::<Entry>());

/// The size of a log that remembers the last `window` requests, in bytes.
pub(crate) const fn key_log_bytes(window: u64) -> usize {
    (index(window) + 1) * ENTRY_WORDS * WORD
}

/// A client's name for a request: 1 to 64 visible ASCII characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdempotencyKey([u8; MAX_IDEMPOTENCY_KEY]);

impl IdempotencyKey {
    /// `None` if `text` is empty, longer than [`MAX_IDEMPOTENCY_KEY`], or contains anything but visible ASCII characters.
    #[must_use]
    pub fn new(text: &[u8]) -> Option<Self> {
        let fits = (1..=MAX_IDEMPOTENCY_KEY).contains(&text.len()) && text.iter().all(u8::is_ascii_graphic);
        // Padded with zeroes, which no key contains.
        let mut key = [0; MAX_IDEMPOTENCY_KEY];
        fits.then(|| {
            key[..text.len()].copy_from_slice(text);
            Self(key)
        })
    }

    /// The characters.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.split(|&byte| byte == 0).next().unwrap_or_default()
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(self.as_bytes()).fmt(to)
    }
}

/// A request with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedRequest {
    /// The key.
    pub key: IdempotencyKey,
    /// A digest of everything else in the request. Another request under the same key is a mistake of the client.
    pub digest: u128,
}

/// A request that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedBatch {
    /// The request.
    pub request: KeyedRequest,
    /// The seqs of its batch.
    pub appended: Appended,
}

impl KeyedBatch {
    /// Whether a ring with this tail can have accepted the batch.
    pub(crate) fn is_before(&self, tail: &Tail) -> bool {
        let Appended { first, last } = self.appended;
        Seq(0) < first && first <= last && last < tail.next_seq
    }
}

/// A [`KeyedBatch`] in memory.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Entry {
    key: [u8; MAX_IDEMPOTENCY_KEY],
    digest: [u8; 16],
    first: u64,
    last: u64,
    /// A checksum over all fields above and the number of the entry, so that an entry of an earlier lap is not accepted.
    sum: u64,
}

impl Entry {
    fn new(batch: &KeyedBatch, number: u64) -> Self {
        let KeyedBatch { request: KeyedRequest { key, digest }, appended: Appended { first, last } } = *batch;
        let bare =
            Self { key: key.0, digest: digest.to_ne_bytes(), first: first.0, last: last.0, sum: number };
        Self { sum: crc(bare.as_bytes()).into(), ..bare }
    }

    fn batch(&self) -> Option<KeyedBatch> {
        let key = IdempotencyKey::new(IdempotencyKey(self.key).as_bytes())?;
        let request = KeyedRequest { key, digest: u128::from_ne_bytes(self.digest) };
        Some(KeyedBatch { request, appended: Appended { first: Seq(self.first), last: Seq(self.last) } })
    }
}

/// The log, in memory of any size that holds two entries or more.
#[derive(Debug)]
pub struct KeyLog<K>(K);

impl<K: ReadWords> KeyLog<K> {
    /// The log in `memory`.
    pub fn new(memory: K) -> Self {
        assert!(
            memory.words() >= 2 * ENTRY_WORDS,
            "{} words are too few for a log of keyed requests",
            memory.words()
        );
        Self(memory)
    }

    fn capacity(&self) -> u64 {
        (self.0.words() / ENTRY_WORDS) as u64
    }

    /// The number of requests that are remembered.
    pub fn window(&self) -> u64 {
        self.capacity() - 1
    }

    /// The numbers of the entries that are valid at this tail.
    pub fn numbers(&self, tail: &Tail) -> Range<u64> {
        tail.keyed.saturating_sub(self.window())..tail.keyed
    }

    fn word(&self, number: u64) -> usize {
        index(number % self.capacity()) * ENTRY_WORDS
    }

    /// Reads a valid entry. `None` if the bytes are not what was written.
    pub fn read(&self, number: u64, tail: &Tail) -> Option<KeyedBatch> {
        let mut entry = Entry::new_zeroed();
        self.0.read_bytes(self.word(number), entry.as_mut_bytes());
        let batch = entry.batch().filter(|batch| batch.is_before(tail))?;
        (Entry::new(&batch, number).as_bytes() == entry.as_bytes()).then_some(batch)
    }
}

impl<K: WriteWords> KeyLog<K> {
    /// Writes an entry. `number` is the next one after the valid entries. The entry is valid once a tail is published
    /// that includes it.
    pub fn write(&self, number: u64, batch: &KeyedBatch) {
        self.0.write_bytes(self.word(number), Entry::new(batch, number).as_bytes());
    }
}
