//! Finding a keyed request: an index of the log's keys, private to each process.

use super::{
    Appended, Tail,
    key_log::{IdempotencyKey, KeyLog, KeyedRequest},
};
use crate::shm::access::ReadWords;
use std::collections::HashMap;

/// A key is known, and was used for another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyReused;

/// The log and its index, for whoever holds the producer's lock.
///
/// The index is made when a key is first asked for: who uses no keys pays nothing. To read the whole log takes tens of
/// milliseconds, which [`Self::catch_up`] divides.
#[derive(Debug)]
pub struct IdempotencyIndex<K> {
    log: KeyLog<K>,
    /// The number of each key's last entry. Some of them count no more: see [`Self::catch_up`].
    index: HashMap<IdempotencyKey, u64>,
    /// The entries before this number are in the index.
    seen: u64,
    unreadable: u64,
}

impl<K: ReadWords> IdempotencyIndex<K> {
    /// Nothing is read yet.
    pub fn new(log: KeyLog<K>) -> Self {
        Self { log, index: HashMap::new(), seen: 0, unreadable: 0 }
    }

    /// The log.
    pub const fn log(&self) -> &KeyLog<K> {
        &self.log
    }

    /// What came of this request when it was carried out before. None when it was not, or too long ago.
    ///
    /// # Errors
    /// When another request has this key.
    pub fn find(&mut self, request: &KeyedRequest, tail: &Tail) -> Result<Option<Appended>, KeyReused> {
        self.catch_up(tail, u64::MAX);
        let number = self.index.get(&request.key).copied();
        let number = number.filter(|number| self.log.numbers(tail).contains(number));
        match number.and_then(|number| self.log.read(number, tail)) {
            Some(found) if found.request == *request => Ok(Some(found.appended)),
            Some(found) if found.request.key == request.key => Err(KeyReused),
            // Spoiled since it was seen.
            Some(_) | None => Ok(None),
        }
    }

    /// How many entries were found to be unreadable since this was last asked.
    pub const fn take_unreadable(&mut self) -> u64 {
        std::mem::replace(&mut self.unreadable, 0)
    }

    /// Reads entries that were written since, by this process or by another generation; so many at most. Whether these
    /// were all.
    pub fn catch_up(&mut self, tail: &Tail, most: u64) -> bool {
        let numbers = self.log.numbers(tail);
        // Who counts no more is not looked for one by one. Begun at this size, it stays in the same memory.
        if self.index.len() as u64 > self.log.window() * 3 / 2 {
            self.index.retain(|_, number| *number >= numbers.start);
        }
        let first = numbers.start.max(self.seen);
        let end = numbers.end.min(first.saturating_add(most));
        for number in first..end {
            match self.log.read(number, tail) {
                Some(batch) => drop(self.index.insert(batch.request.key, number)),
                None => self.unreadable += 1,
            }
        }
        self.seen = end;
        end == numbers.end
    }
}
