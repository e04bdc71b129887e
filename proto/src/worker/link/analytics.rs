//! The link as the analysis holds it.

use super::error::LinkError;
use crate::{
    shm::{
        memory::SharedMemory,
        segment::{Kind, ReadOnly, ReadWrite},
        state_memory::StateMemory,
        wake::WakeFd,
    },
    worker::fds::{FdHandoff, FdName, InheritedFds},
};
use std::sync::Arc;

/// The link as the analysis holds it.
#[derive(Debug)]
pub struct AnalyticsLink {
    /// The events ring: a read-only mapping of a read-only description.
    pub events: ReadOnly,
    /// The producer's page.
    pub producer: ReadOnly,
    /// The cursor page, which only the analysis writes.
    pub cursor: Arc<ReadWrite>,
    /// The state table.
    pub state: StateMemory,
    /// The eventfd that wakes a parked analysis.
    pub wake: WakeFd,
}

impl AnalyticsLink {
    /// Opens the part of the analysis, with a state table of `slots` slots. Closes all fds except those of the state table and
    /// of the eventfd.
    ///
    /// # Errors
    /// If an fd is missing or is not the expected segment.
    pub fn open(fds: &mut InheritedFds, slots: u32) -> Result<Self, LinkError> {
        Ok(Self {
            events: ReadOnly::map(fds.take(FdName::Events)?, Kind::Events)?,
            producer: ReadOnly::map(fds.take(FdName::Producer)?, Kind::Producer)?,
            cursor: Arc::new(ReadWrite::map(fds.take(FdName::Cursor)?, Kind::Cursor)?),
            state: StateMemory::map(fds.take(FdName::State)?, slots)?,
            wake: WakeFd::from(fds.take(FdName::AnalyticsWake)?),
        })
    }

    /// Opens the part of the analysis in the supervisor's process: for tests without worker processes.
    ///
    /// # Errors
    /// If the system refuses a mapping.
    pub fn open_in_process(memory: &SharedMemory) -> Result<Self, LinkError> {
        let mut handoff = FdHandoff::default();
        memory.pass_to_analytics(&mut handoff)?;
        Self::open(&mut handoff.into(), memory.table().slots())
    }
}
