//! The header of a segment: what it holds, and how a reader checks that.

use crate::shm::access::index;
use rustix::fs::fstat;
use std::{io, os::fd::AsFd};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The length of the header, in bytes: one page, so that the data begins on a page of its own.
pub const HEADER: usize = 4096;

/// `BULKHEAD` in ASCII.
pub(super) const MAGIC: u64 = u64::from_be_bytes(*b"BULKHEAD");

/// The version of all layouts. Increment it with any change of the content of a segment.
pub const LAYOUT: u32 = 5;

/// What a segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// The events ring.
    Events = 1,
    /// The producer's page.
    Producer,
    /// The cursor page.
    Cursor,
    /// The state table.
    State,
    /// The supervisor's ledger.
    Ledger,
    /// The status page.
    StatusPage,
    /// The log of keyed requests.
    Keys,
    /// The supervisor's page: whether it is parked.
    SupervisorPage,
}

impl Kind {
    /// The name, for messages and `/proc/PID/maps`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Producer => "producer",
            Self::Cursor => "cursor",
            Self::State => "state",
            Self::Ledger => "ledger",
            Self::StatusPage => "board",
            Self::Keys => "keys",
            Self::SupervisorPage => "watch",
        }
    }
}

/// Why a segment could not be created or mapped.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// A system call failed.
    #[error("segment {kind}: cannot {action}: {source}")]
    System {
        /// The kind of segment.
        kind: &'static str,
        /// What the call was for.
        action: &'static str,
        /// The error of the system.
        source: io::Error,
    },
    /// The header is not what this program writes.
    #[error(
        "segment {kind}: {field} is {found:#x}, wanted {wanted:#x}: it was made by another version of Bulkhead; restart the whole service"
    )]
    Mismatch {
        /// The kind of segment.
        kind: &'static str,
        /// The field of the header.
        field: &'static str,
        /// The value that this program writes.
        wanted: u64,
        /// The value in the header.
        found: u64,
    },
}

#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Header {
    pub(super) magic: u64,
    pub(super) layout: u32,
    pub(super) kind: u32,
    pub(super) data_bytes: u64,
    pub(super) instance: u64,
}

/// Turns an error of the system into a [`SegmentError`].
pub(super) fn system<E: Into<io::Error>>(kind: Kind, action: &'static str) -> impl Fn(E) -> SegmentError {
    move |error| SegmentError::System { kind: kind.name(), action, source: error.into() }
}

/// Reads and checks the header of a segment. Returns the length of the data, in bytes.
///
/// # Errors
/// If the fd is not a segment of this kind, or the system refuses.
pub fn data_bytes(fd: impl AsFd, kind: Kind) -> Result<usize, SegmentError> {
    let mut bytes = [0; size_of::<Header>()];
    let read = rustix::io::pread(&fd, &mut bytes, 0).map_err(system(kind, "read"))?;
    let header: Header = zerocopy::transmute!(bytes);
    let size = fstat(&fd).map_err(system(kind, "stat"))?.st_size;
    let wants = [
        ("header length", read as u64, bytes.len() as u64),
        ("magic", header.magic, MAGIC),
        ("layout version", header.layout.into(), LAYOUT.into()),
        ("kind", header.kind.into(), (kind as u32).into()),
        ("size", header.data_bytes.saturating_add(HEADER as u64), size.unsigned_abs()),
    ];
    for (field, found, wanted) in wants {
        if found != wanted {
            return Err(SegmentError::Mismatch { kind: kind.name(), field, wanted, found });
        }
    }
    Ok(index(header.data_bytes))
}
