//! Sealed memory segments with a versioned header, and mappings of them.
//!
//! A segment is a memfd: one page of header, then its data. The header is read through the fd and never mapped, so no wild
//! write reaches it.

mod header;
mod mapping;
mod memfd;

pub use header::{HEADER, Kind, LAYOUT, SegmentError, data_bytes};
pub use mapping::{ReadOnly, ReadWrite};
pub use memfd::{Segment, read_through, release, write_through};
