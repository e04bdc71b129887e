//! Why a worker could not open its part of the shared memory.

use crate::{
    shm::{memory::MemoryError, segment::SegmentError},
    worker::fds::FdError,
};

/// Why a link could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A segment could not be mapped.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The memory could not be passed on, within one process.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// An inherited fd is missing.
    #[error(transparent)]
    Fd(#[from] FdError),
}
