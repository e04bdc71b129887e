//! The API's end of the ring: many threads, one lock, one bell.

use super::{
    AppendError, Appended, Appender, Batch, Consumer, lock,
    tail::{Tail, read_tail},
};
use crate::{
    bell::{Bell, Waker},
    event::Event,
    ids::{Position, Seq},
    segment::{ReadOnly, ReadWrite},
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Appends batches, from any thread. A successor or another generation may do so at the same time.
#[derive(Debug)]
pub struct Producer {
    events: Arc<ReadWrite>,
    page: Arc<ReadWrite>,
    appender: Mutex<Appender<Arc<ReadWrite>, Arc<ReadWrite>>>,
    capacity: u64,
    waker: Waker<Arc<ReadOnly>>,
    bell: Bell,
}

impl Producer {
    /// Takes over the ring where its last owner left it.
    #[must_use]
    pub fn attach(events: ReadWrite, page: ReadWrite, cursor: Arc<ReadOnly>, bell: Bell) -> Self {
        let (events, page) = (Arc::new(events), Arc::new(page));
        let appender = Appender::attach(Arc::clone(&events), Arc::clone(&page));
        let capacity = appender.capacity();
        Self { events, page, appender: Mutex::new(appender), capacity, waker: Waker::new(cursor), bell }
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
        let appended = {
            let mut appender = self.appender();
            let _held = lock::hold(&self.page).map_err(AppendError::Lock)?;
            appender.reload();
            appender.append(batch, released)?
        };
        self.waker.wake(&self.bell);
        Ok(appended)
    }

    /// Where the ring ends; never behind what this process appended before.
    pub fn tail(&self) -> Tail {
        // Without the shared lock, for reads wait for nobody; when others move the tail at every single try, our own
        // view of it, taken under the lock, is recent.
        read_tail(&*self.page).unwrap_or_else(|| self.appender().tail())
    }

    /// The ring's capacity, in bytes.
    pub const fn capacity(&self) -> u64 {
        self.capacity
    }

    /// When the oldest event behind a committed position arrived, Unix milliseconds. None if there is none, or if it
    /// was committed and overwritten while we looked.
    pub fn oldest_arrival_ms(&self, committed: Position, seq: Seq) -> Option<i64> {
        let mut consumer = Consumer::attach(&*self.events, &*self.page, committed, seq).ok()?;
        let mut payload = Vec::new();
        consumer.next(&mut payload).ok()??;
        Event::decode(&payload).ok().map(|event| event.arrived_ms)
    }

    /// A panic while the lock was held leaves nothing half-done: the tail moves by one store.
    fn appender(&self) -> MutexGuard<'_, Appender<Arc<ReadWrite>, Arc<ReadWrite>>> {
        self.appender.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
