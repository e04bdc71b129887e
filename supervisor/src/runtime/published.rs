//! The state as other processes see it: the ledger for a successor of the supervisor, the status page for the API.

use crate::core::{State, status};
use bulkhead_proto::shm::{
    memory::{MemoryError, SharedMemory},
    segment::ReadWrite,
    seqlock::SeqlockWriter,
};

/// The two pages. Both always show the same state, except while it is published.
pub(super) struct Published {
    ledger: SeqlockWriter<ReadWrite>,
    status_page: SeqlockWriter<ReadWrite>,
}

impl Published {
    pub(super) fn new(memory: &SharedMemory) -> Result<Self, MemoryError> {
        let (ledger, status_page) = (memory.ledger()?, memory.status_page()?);
        Ok(Self { ledger: SeqlockWriter::new(ledger), status_page: SeqlockWriter::new(status_page) })
    }

    pub(super) fn publish(&mut self, state: &State) {
        let published = self.ledger.publish(state).and_then(|()| self.status_page.publish(&status(state)));
        if let Err(error) = published {
            // The state is bounded to fit, so this is a bug. Readers keep seeing the previous state.
            tracing::error!("cannot publish the new state: {error}");
        }
    }
}
