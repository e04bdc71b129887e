//! The state table: what the analysis knows, per series; written by the analysis, read by the API without asking anyone.
//!
//! ```text
//! word 0         the commit's number, stored last of all: the point up to which state and ring agree
//! words 8, 24    two commit records; that of commit n stands in record n & 1
//! words 64…      a key hash a slot (for the successor's index), then two tags a slot
//! page-aligned   two bodies a slot, 64 KiB apart: key, private state, public part, CRC
//! ```
//!
//! Slots are append-only. A slot has two versions; commit n+1 overwrites the one that is not the newest with a tag of at
//! most n, and becomes true by the single release store of `n + 1`. So it is atomic at any instruction, costs what
//! changed, and leaves nothing to load after a crash: the successor maps the table and decodes a series when it first
//! touches it.

mod body;
mod layout;
mod read;
mod record;
mod repair;
mod write;

pub use body::{BODY_BYTES, Body, BodyTooLarge, MAX_KEY};
pub use layout::{BodySlot, Geometry, TableMemory};
pub use read::{SeriesView, TableReader};
pub use record::CommitRecord;
pub use write::{Activated, CommitHeader, TableWriter};

/// How often a reader looks again before it falls back to the last good copy. Commits are milliseconds apart, and a
/// copy takes microseconds: a second failure is no coincidence.
const TRIES: usize = 8;

#[cfg(test)]
mod tests;
