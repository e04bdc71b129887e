//! The header of a segment: what it holds, and how a reader checks that.

use crate::shm::access::index;
use rustix::{fs::fstat, io::Errno};
use std::os::fd::AsFd;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The length of the header, in bytes: one page, so that the data begins on a page of its own.
pub const HEADER: usize = 4096;

/// `BULKHEAD` in ASCII. Written last, so that a header is either complete or not recognised.
pub(super) const MAGIC: u64 = u64::from_be_bytes(*b"BULKHEAD");

/// The version of all layouts. Increment it with any change of the content of a segment.
pub const LAYOUT: u32 = 3;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $number:literal $name:literal),+ $(,)?) => {
        /// What a segment holds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Kind {
            $($(#[$doc])* $variant = $number),+
        }

        impl Kind {
            /// The name, for messages and `/proc/PID/maps`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }
    };
}

kinds! {
    /// The events ring.
    Events = 1 "events",
    /// The producer's page.
    Producer = 2 "producer",
    /// The cursor page.
    Cursor = 3 "cursor",
    /// The state table.
    State = 4 "state",
    /// The supervisor's ledger.
    Ledger = 5 "ledger",
    /// The status page.
    StatusPage = 6 "board",
    /// The log of keyed requests.
    Keys = 7 "keys",
    /// The supervisor's page: whether it is parked.
    SupervisorPage = 8 "watch",
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
        source: std::io::Error,
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

/// Turns an error number of the system into a [`SegmentError`].
pub(super) fn system(kind: Kind, action: &'static str) -> impl Fn(Errno) -> SegmentError {
    move |errno| SegmentError::System { kind: kind.name(), action, source: errno.into() }
}

/// Reads and checks the header of a segment. Returns the length of the data, in bytes.
pub(super) fn check(fd: impl AsFd, kind: Kind) -> Result<usize, SegmentError> {
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
