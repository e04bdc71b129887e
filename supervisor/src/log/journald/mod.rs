//! Log lines as entries of systemd's journal, with their own fields (systemd.journal-fields(7)). A person reads them
//! with `journalctl -u bulkhead`; a program selects them by `BULKHEAD_WORKER=`, `BULKHEAD_CAUSE=` and so on.
//!
//! `tracing-journald` is not used: it cannot name the fields this way, cannot set `MESSAGE_ID`, and writes on the
//! caller's thread.

mod entry;
mod socket;

pub(super) use entry::encode;
pub(super) use socket::Journal;

use rustix::{fs::fstat, stdio::stderr};

/// Whether stderr is connected to the journal: `JOURNAL_STREAM` then holds its `DEVICE:INODE` (systemd.exec(5)).
pub(super) fn reads_stderr() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    fstat(stderr()).is_ok_and(|stderr| stream == format!("{}:{}", stderr.st_dev, stderr.st_ino))
}
