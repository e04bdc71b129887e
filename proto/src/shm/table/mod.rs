//! The state table: the state of every series. The analysis writes it; the API reads it at any time without waiting.
//!
//! ```text
//! word 0         the commit number, stored last: the point at which state and ring agree
//! words 8, 24    two commit records; the record of commit n is record n & 1
//! words 64…      per slot, for each of its two versions: the hash of its key, and its tag
//! page-aligned   two bodies per slot, 64 KiB apart: key, private state, public part, CRC
//! ```
//!
//! A slot has two versions. Commit n+1 overwrites the version that is not the newest one with a tag of at most n, and takes
//! effect by the single release store of `n + 1`. So a commit is atomic at any instruction and costs only what changed. A
//! start after a crash loads nothing: the successor maps the table and decodes a series when it first needs it.
//!
//! The removal of a series is a version like any other: a body without a key, and the hash [`FREE`](layout::FREE). The slot
//! can take another series from the next commit on.

mod body;
mod layout;
mod read;
mod record;
mod repair;
mod view;
mod write;

pub use body::{Body, BodyTooLarge, Content, MAX_CONTENT, MAX_KEY};
pub use layout::{BODY_BYTES, BodySlot, Geometry, TableMemory};
pub use read::TableReader;
pub use record::CommitRecord;
pub use view::SeriesView;
pub use write::{Activated, TableWriter};

/// How often a reader tries before it falls back to the last good copy. Commits are milliseconds apart and a copy takes
/// microseconds: if several tries fail, the memory is damaged.
const TRIES: usize = 8;

#[cfg(test)]
mod tests;
