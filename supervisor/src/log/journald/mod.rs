//! Lines as entries of systemd's journal, with fields of their own (systemd.journal-fields(7)): a person reads the story by
//! `journalctl -u bulkhead`, a program by `BULKHEAD_WORKER=`, `BULKHEAD_CAUSE=` and so on.
//!
//! `tracing-journald` cannot name the fields so, nor give an entry its `MESSAGE_ID`, and it writes on the caller's thread.

mod entry;
mod socket;

pub(super) use socket::Journal;

use super::format::Line;
use rustix::{fs::fstat, stdio::stderr};
use std::io::Write as _;
use tracing::{Event, Subscriber};
use tracing_appender::non_blocking::NonBlocking;
use tracing_subscriber::layer::{Context, Layer};

/// Whether the journal reads our stderr: systemd then says which file it is, `DEVICE:INODE` (systemd.exec(5)).
pub(super) fn reads_stderr() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else { return false };
    fstat(stderr()).is_ok_and(|stderr| named == format!("{}:{}", stderr.st_dev, stderr.st_ino))
}

/// Sends each event to the journal as one entry.
pub(super) struct Entries {
    writer: NonBlocking,
}

impl Entries {
    /// Through that queue, with a [`Journal`] at its other end.
    pub(super) const fn new(writer: NonBlocking) -> Self {
        Self { writer }
    }
}

impl<S: Subscriber> Layer<S> for Entries {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let entry = entry::encode(*event.metadata().level(), &Line::of(event));
        // Lossy: what does not fit into the queue is dropped there.
        let _ = self.writer.clone().write_all(&entry);
    }
}
