//! Finding a keyed request: an index of the keys in the log, private to each process.

use super::{
    Appended, Tail,
    key_log::{IdempotencyKey, KeyLog, KeyedRequest},
};
use crate::shm::access::ReadWords;
use std::collections::HashMap;

/// The key is known, and was used for another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyReused;

/// The key log and its index. Its user must hold the lock of the producer's page.
///
/// The index is built when a key is first looked up: a service without keys pays nothing. Reading the whole log takes
/// tens of milliseconds; [`Self::catch_up`] can read it in parts.
#[derive(Debug)]
pub struct IdempotencyIndex<K> {
    log: KeyLog<K>,
    /// The number of the last entry of each key. Some of these entries are outside the window: see [`Self::catch_up`].
    index: HashMap<IdempotencyKey, u64>,
    /// The entries before this number are in the index.
    seen: u64,
    unreadable: u64,
}

impl<K: ReadWords> IdempotencyIndex<K> {
    /// An empty index of `log`.
    pub fn new(log: KeyLog<K>) -> Self {
        Self { log, index: HashMap::new(), seen: 0, unreadable: 0 }
    }

    /// The log.
    pub const fn log(&self) -> &KeyLog<K> {
        &self.log
    }

    /// The seqs that this request got when it was carried out. `None` if it was not carried out, or too long ago.
    ///
    /// # Errors
    /// If another request has this key.
    pub fn find(&mut self, request: &KeyedRequest, tail: &Tail) -> Result<Option<Appended>, KeyReused> {
        self.catch_up(tail, u64::MAX);
        let number = self.index.get(&request.key).copied();
        let number = number.filter(|number| self.log.numbers(tail).contains(number));
        match number.and_then(|number| self.log.read(number, tail)) {
            Some(found) if found.request == *request => Ok(Some(found.appended)),
            Some(found) if found.request.key == request.key => Err(KeyReused),
            // The entry was overwritten after it was indexed.
            Some(_) | None => Ok(None),
        }
    }

    /// The number of entries that could not be read, since the last call.
    pub const fn take_unreadable(&mut self) -> u64 {
        std::mem::replace(&mut self.unreadable, 0)
    }

    /// The number of keys in the index.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Indexes entries that this process or another generation has written since the last call, at most `most` of them.
    /// Returns whether all entries are indexed now.
    pub fn catch_up(&mut self, tail: &Tail, most: u64) -> bool {
        let numbers = self.log.numbers(tail);
        // Remove entries outside the window in bulk. At this size, the map does not reallocate.
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
