//! The API's end of the ring: many threads, one lock, one waker.

use super::{
    AppendError, Appended, Appender, Batch, Consumer, IdempotencyIndex, KeyLog, KeyedRequest, RingCorruption,
    lock,
    tail::{Tail, read_tail},
};
use crate::{
    shm::{
        segment::{ReadOnly, ReadWrite},
        wake::{WakeFd, Waker},
    },
    wire::{
        event,
        ids::{Position, Seq},
    },
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The most keyed requests that are indexed at a time, while the lock is held. This takes less than a millisecond.
const INDEX_CHUNK: u64 = 1024;

/// What this process knows of the end of the ring, as of the last time that it held the lock.
#[derive(Debug)]
struct End {
    appender: Appender<Arc<ReadWrite>, Arc<ReadWrite>>,
    index: IdempotencyIndex<ReadWrite>,
}

/// How an append with an idempotency key ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// The batch was appended now.
    Appended(Appended),
    /// The batch was appended before, with these seqs; nothing was appended now.
    Replayed(Appended),
}

impl AppendOutcome {
    /// The seqs of the batch, whenever it was appended.
    #[must_use]
    pub const fn appended(self) -> Appended {
        let (Self::Appended(appended) | Self::Replayed(appended)) = self;
        appended
    }
}

/// Appends batches, from any thread. Another generation may append at the same time.
#[derive(Debug)]
pub struct Producer {
    events: Arc<ReadWrite>,
    page: Arc<ReadWrite>,
    end: Mutex<End>,
    capacity: u64,
    waker: Waker<Arc<ReadOnly>>,
    wake_fd: WakeFd,
}

impl Producer {
    /// Attaches to the ring where the last owner left it.
    #[must_use]
    pub fn attach(
        events: ReadWrite,
        page: ReadWrite,
        keys: ReadWrite,
        cursor: Arc<ReadOnly>,
        wake_fd: WakeFd,
    ) -> Self {
        let (events, page) = (Arc::new(events), Arc::new(page));
        let appender = Appender::attach(Arc::clone(&events), Arc::clone(&page));
        let capacity = appender.capacity();
        let end = Mutex::new(End { appender, index: IdempotencyIndex::new(KeyLog::new(keys)) });
        Self { events, page, end, capacity, waker: Waker::new(cursor), wake_fd }
    }

    /// Appends all of a batch or nothing, and wakes the analysis if it is parked. `released` returns the position up to
    /// which the analysis has committed; it is called only when space is short.
    ///
    /// # Errors
    /// See [`AppendError`]. Nothing was accepted then, and it is safe to try again.
    pub fn append(
        &self,
        batch: &mut Batch,
        released: impl FnOnce() -> Position,
    ) -> Result<Appended, AppendError> {
        let appended = self.with_end(|end| end.appender.append(batch, released))?;
        self.waker.wake(&self.wake_fd);
        Ok(appended)
    }

    /// Like [`Self::append`], but appends nothing if the request was carried out before: by this process, by another
    /// generation, or by a generation that died right after the append.
    ///
    /// # Errors
    /// As for [`Self::append`]; also if the key was used for another request.
    pub fn append_keyed(
        &self,
        batch: &mut Batch,
        request: KeyedRequest,
        released: impl FnOnce() -> Position,
    ) -> Result<AppendOutcome, AppendError> {
        let outcome = self.with_end(|End { appender, index }| {
            if let Some(before) = index.find(&request, &appender.tail())? {
                return Ok(AppendOutcome::Replayed(before));
            }
            appender.append_keyed(batch, request, index.log(), released).map(AppendOutcome::Appended)
        })?;
        if matches!(outcome, AppendOutcome::Appended(_)) {
            self.waker.wake(&self.wake_fd);
        }
        Ok(outcome)
    }

    /// The seqs that this request got when it was carried out. `None` if it was not carried out or is no longer
    /// remembered.
    ///
    /// # Errors
    /// If the key was used for another request, or the lock failed.
    pub fn find(&self, request: &KeyedRequest) -> Result<Option<Appended>, AppendError> {
        // Index the entries of predecessors in parts, so that no append waits long.
        while !self.with_end(|End { appender, index }| Ok(index.catch_up(&appender.tail(), INDEX_CHUNK)))? {}
        self.with_end(|End { appender, index }| Ok(index.find(request, &appender.tail())?))
    }

    /// The number of entries in the log of keyed requests that could not be read, since the last call.
    pub fn take_unreadable_keys(&self) -> u64 {
        self.end().index.take_unreadable()
    }

    /// Does `work` at the end of the ring, while no other thread or process can change it.
    fn with_end<T>(&self, work: impl FnOnce(&mut End) -> Result<T, AppendError>) -> Result<T, AppendError> {
        let mut end = self.end();
        let _held = lock::hold(&self.page).map_err(AppendError::Lock)?;
        end.appender.reload();
        work(&mut end)
    }

    /// Where the ring ends: at or after the end of every batch that this process has appended.
    pub fn tail(&self) -> Tail {
        // The shared lock is not taken, so that reads never wait for another process. If other owners move the tail at
        // every try, the tail that this process saw when it last held the lock is recent enough.
        read_tail(&*self.page).unwrap_or_else(|| self.end().appender.tail())
    }

    /// The capacity of the ring, in bytes.
    pub const fn capacity(&self) -> u64 {
        self.capacity
    }

    /// When the oldest event after a committed position arrived, in Unix milliseconds. `None` if there is none, or the ring is
    /// damaged. Without meaning if it was committed and overwritten during the read: the caller checks for a commit.
    pub fn oldest_arrival_ms(&self, committed: Position, seq: Seq) -> Option<i64> {
        let (_, head) = self.oldest(committed, seq).ok()??;
        event::arrived_ms(&head)
    }

    /// The oldest event after a committed position, and the first [`HEAD_BYTES`](event::HEAD_BYTES) of it. `None` if the ring is
    /// empty.
    ///
    /// # Errors
    /// If the event was committed and overwritten during the read, or the ring is damaged.
    pub fn oldest(&self, committed: Position, seq: Seq) -> Result<Option<(Seq, Vec<u8>)>, RingCorruption> {
        let mut head = Vec::new();
        let mut consumer = Consumer::attach(&*self.events, &*self.page, committed, seq)?;
        let found = consumer.next_prefix(event::HEAD_BYTES, &mut head)?;
        Ok(found.map(|seq| (seq, head)))
    }

    /// A panic while the lock is held leaves nothing unfinished: the tail moves by one store.
    fn end(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
