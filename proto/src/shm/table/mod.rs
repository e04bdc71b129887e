//! The state table: the state of every series. The analysis writes it; the API reads it at any time without waiting.
//!
//! ```text
//! word 0         the commit number, stored last: the point at which state and ring agree
//! words 8, 24    two commit records; the record of commit n is record n & 1
//! word 40        the number of slots in the list of touched slots
//! words 64…      one line per slot: two versions of hash, place, check and tag
//!                the list of the slots that the last commit, finished or not, touched
//!                two halves for the hash index: from the hash of a name to its slot
//! page-aligned   the arena: bodies of any size, one after the other
//! ```
//!
//! A slot has two versions, of which one is in use. Commit n+1 writes the changed bodies to free space of the arena, fills
//! the version that is not in use with the tag n+1, and takes effect by the single release store of `n + 1`. Then it clears
//! the versions that it replaced; their space is free. So a commit is atomic at any instruction and costs only what changed,
//! in few large writes.
//!
//! A start after a crash loads nothing. The successor looks at the slots that the last commit touched, and clears what that
//! commit left behind. It counts the free space of the arena in steps, while it works; until then it writes behind the end.
//!
//! The removal of a series is a version like any other: a body without a key, and the hash [`FREE`](layout::FREE). The slot
//! can take another series from the next commit on.

mod body;
mod index;
mod layout;
mod line;
mod maintain;
mod maintenance;
mod names;
mod read;
mod record;
mod repair;
mod space;
mod takeover;
mod view;
mod write;

pub use body::{Body, BodyFront, BodyTooLarge, Content, MAX_CONTENT, MAX_KEY};
pub use index::IndexSpec;
pub use layout::{Geometry, TableMemory};
pub use line::BodySlot;
pub use maintenance::Effort;
pub use read::TableReader;
pub use record::CommitRecord;
pub use takeover::Activated;
pub use view::{FoundSeries, SeriesView};
pub use write::TableWriter;

/// How often a reader tries before it gives up. Commits are milliseconds apart and a copy takes microseconds: if several
/// tries fail, the memory is damaged.
const TRIES: usize = 8;

#[cfg(test)]
mod tests;
