//! Why a worker could not open its part of the shared memory.

use crate::{shm::segment::SegmentError, worker::fds::FdError};

/// Why a link could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// A segment could not be mapped.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// An inherited fd is missing.
    #[error(transparent)]
    Fd(#[from] FdError),
}
