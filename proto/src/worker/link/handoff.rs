//! Which fds of the shared memory the supervisor passes to each worker. The opposite side is `ApiLink::open` and
//! `AnalyticsLink::open`.

use crate::{
    shm::memory::{MemoryError, SharedMemory},
    worker::fds::{FdHandoff, FdName},
};

impl SharedMemory {
    /// Adds the memory that an API worker inherits.
    ///
    /// # Errors
    /// If there are no fds left.
    pub fn pass_to_api(&self, handoff: &mut FdHandoff) -> Result<(), MemoryError> {
        handoff.add(FdName::Events, self.events.writable()?);
        handoff.add(FdName::Producer, self.producer.writable()?);
        handoff.add(FdName::Keys, self.keys.writable()?);
        handoff.add(FdName::Cursor, self.cursor.read_only()?);
        handoff.add(FdName::State, self.state.read_only()?);
        handoff.add(FdName::StatusPage, self.status_page.read_only()?);
        handoff.add(FdName::AnalyticsWake, self.analytics_wake.try_clone()?);
        handoff.add(FdName::SupervisorPage, self.supervisor_page.read_only()?);
        handoff.add(FdName::SupervisorWake, self.supervisor_wake.try_clone()?);
        Ok(())
    }

    /// Adds the memory that an analysis inherits. The events are a read-only description, so that a wild write there faults
    /// instead of corrupting events.
    ///
    /// # Errors
    /// If there are no fds left.
    pub fn pass_to_analytics(&self, handoff: &mut FdHandoff) -> Result<(), MemoryError> {
        handoff.add(FdName::Events, self.events.read_only()?);
        handoff.add(FdName::Producer, self.producer.read_only()?);
        handoff.add(FdName::Cursor, self.cursor.writable()?);
        handoff.add(FdName::State, self.state.writable()?);
        handoff.add(FdName::AnalyticsWake, self.analytics_wake.try_clone()?);
        Ok(())
    }
}
