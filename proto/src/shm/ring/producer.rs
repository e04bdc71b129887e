//! The API's end of the ring: many threads, one lock, one bell.

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
        event::Event,
        ids::{Position, Seq},
    },
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many keyed requests are read under one hold of the lock: less than a millisecond.
const PART: u64 = 1024;

/// What its owner knows of the ring's end.
#[derive(Debug)]
struct End {
    appender: Appender<Arc<ReadWrite>, Arc<ReadWrite>>,
    recall: IdempotencyIndex<ReadWrite>,
}

/// What became of a request with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// Its batch was appended now.
    Appended(Appended),
    /// Its batch was appended before, as this says; nothing was appended now.
    Replayed(Appended),
}

/// Appends batches, from any thread. A successor or another generation may do so at the same time.
#[derive(Debug)]
pub struct Producer {
    events: Arc<ReadWrite>,
    page: Arc<ReadWrite>,
    end: Mutex<End>,
    capacity: u64,
    waker: Waker<Arc<ReadOnly>>,
    bell: WakeFd,
}

impl Producer {
    /// Takes over the ring where its last owner left it.
    #[must_use]
    pub fn attach(
        events: ReadWrite,
        page: ReadWrite,
        keys: ReadWrite,
        cursor: Arc<ReadOnly>,
        bell: WakeFd,
    ) -> Self {
        let (events, page) = (Arc::new(events), Arc::new(page));
        let appender = Appender::attach(Arc::clone(&events), Arc::clone(&page));
        let capacity = appender.capacity();
        let end = Mutex::new(End { appender, recall: IdempotencyIndex::new(KeyLog::new(keys)) });
        Self { events, page, end, capacity, waker: Waker::new(cursor), bell }
    }

    /// Appends all of a batch or nothing, and wakes the analysis if it sleeps. `released` says up to where the analysis
    /// has committed; it is asked only when space is short.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing was accepted then, and it is always safe to try again.
    pub fn append(
        &self,
        batch: &mut Batch,
        released: impl FnOnce() -> Position,
    ) -> Result<Appended, AppendError> {
        let appended = self.with_end(|end| end.appender.append(batch, released))?;
        self.waker.wake(&self.bell);
        Ok(appended)
    }

    /// As [`Self::append`], unless the request was carried out before: by this process, another thread or generation of
    /// it, or one that died right behind the append.
    ///
    /// # Errors
    /// As for [`Self::append`]; also when the key was used for another request.
    pub fn append_keyed(
        &self,
        batch: &mut Batch,
        request: KeyedRequest,
        released: impl FnOnce() -> Position,
    ) -> Result<AppendOutcome, AppendError> {
        let outcome = self.with_end(|End { appender, recall }| {
            if let Some(before) = recall.find(&request, &appender.tail())? {
                return Ok(AppendOutcome::Replayed(before));
            }
            appender.append_keyed(batch, request, recall.log(), released).map(AppendOutcome::Appended)
        })?;
        if matches!(outcome, AppendOutcome::Appended(_)) {
            self.waker.wake(&self.bell);
        }
        Ok(outcome)
    }

    /// What came of this request when it was carried out before. None when it was not, or is forgotten.
    ///
    /// # Errors
    /// When the key was used for another request, or the lock does not work.
    pub fn find(&self, request: &KeyedRequest) -> Result<Option<Appended>, AppendError> {
        // What a predecessor left is read in parts, so that no append waits long.
        while !self.with_end(|End { appender, recall }| Ok(recall.catch_up(&appender.tail(), PART)))? {}
        self.with_end(|End { appender, recall }| Ok(recall.find(request, &appender.tail())?))
    }

    /// How many entries of the log of keyed requests were found to be unreadable since this was last asked.
    pub fn take_unreadable_keys(&self) -> u64 {
        self.end().recall.take_unreadable()
    }

    /// Does something at the ring's end while no other thread, process or generation does.
    fn with_end<T>(&self, work: impl FnOnce(&mut End) -> Result<T, AppendError>) -> Result<T, AppendError> {
        let mut end = self.end();
        let _held = lock::hold(&self.page).map_err(AppendError::Lock)?;
        end.appender.reload();
        work(&mut end)
    }

    /// Where the ring ends; never behind what this process appended before.
    pub fn tail(&self) -> Tail {
        // Without the shared lock, for reads wait for nobody; when others move the tail at every single try, our own
        // view of it, taken under the lock, is recent.
        read_tail(&*self.page).unwrap_or_else(|| self.end().appender.tail())
    }

    /// The ring's capacity, in bytes.
    pub const fn capacity(&self) -> u64 {
        self.capacity
    }

    /// When the oldest event behind a committed position arrived, Unix milliseconds. None if there is none, or if it
    /// was committed and overwritten while we looked.
    pub fn oldest_arrival_ms(&self, committed: Position, seq: Seq) -> Option<i64> {
        let (_, payload) = self.oldest(committed, seq).ok()??;
        Event::decode(&payload).ok().map(|event| event.arrived_ms)
    }

    /// The oldest event behind a committed position, and its bytes; none when the ring is empty.
    ///
    /// # Errors
    /// When it was committed and overwritten while we looked, or the ring is damaged.
    pub fn oldest(&self, committed: Position, seq: Seq) -> Result<Option<(Seq, Vec<u8>)>, RingCorruption> {
        let mut payload = Vec::new();
        let found = Consumer::attach(&*self.events, &*self.page, committed, seq)?.next(&mut payload)?;
        Ok(found.map(|seq| (seq, payload)))
    }

    /// A panic while the lock was held leaves nothing half-done: the tail moves by one store.
    fn end(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
