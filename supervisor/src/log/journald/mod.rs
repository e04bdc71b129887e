//! Lines as entries of systemd's journal, with fields of their own (systemd.journal-fields(7)): a person reads the story by
//! `journalctl -u bulkhead`, a program by `BULKHEAD_WORKER=`, `BULKHEAD_CAUSE=` and so on.
//!
//! `tracing-journald` cannot name the fields so, nor give an entry its `MESSAGE_ID`, and it writes on the caller's thread.

mod entry;
mod socket;

pub(super) use entry::encode;
pub(super) use socket::Journal;

use rustix::{fs::fstat, stdio::stderr};

/// Whether the journal reads our stderr: systemd then says which file it is, `DEVICE:INODE` (systemd.exec(5)).
pub(super) fn reads_stderr() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    fstat(stderr()).is_ok_and(|stderr| named == format!("{}:{}", stderr.st_dev, stderr.st_ino))
}
