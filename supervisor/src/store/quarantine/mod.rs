//! The quarantine: events that killed the analysis repeatedly, one file each in `state_dir/quarantine`. Every call may
//! block on the disk, so the runtime makes them from a separate thread.

use super::record_writer::RecordWriter;
use crate::core::QuarantineRequest;
use anyhow::Context as _;
use bulkhead_proto::{
    shm::memory::SharedMemory,
    wire::{
        ids::Seq,
        quarantine::{Entry, EntryStore, EventView, MAX_ENTRIES},
        time::{now_ms, rfc3339},
    },
};
use std::path::PathBuf;

/// The directory and its only writer.
#[derive(Debug)]
pub struct QuarantineStore {
    writer: RecordWriter<Entry>,
    /// Maximum number of events.
    capacity: usize,
}

impl QuarantineStore {
    /// A store in this directory.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { writer: RecordWriter::new(path), capacity: MAX_ENTRIES }
    }

    /// Opens the directory for reading. Creates it if it is missing.
    ///
    /// # Errors
    /// The directory cannot be created or opened.
    pub fn records(&self) -> anyhow::Result<EntryStore> {
        self.writer.records()
    }

    /// Stores a pending event durably, with the deaths that are attributed to it. Idempotent.
    ///
    /// # Errors
    /// The event is not in the ring, the quarantine is full, or the disk refuses. No file is left then, as far as the disk
    /// allows.
    pub fn insert(&self, memory: &SharedMemory, request: &QuarantineRequest) -> anyhow::Result<()> {
        let stored = self.records()?.numbers().context("cannot list the quarantined events")?;
        anyhow::ensure!(
            stored.len() < self.capacity || stored.contains(&request.seq),
            "the quarantine is full ({} events): replay or drop some of them",
            stored.len()
        );
        let payload = memory.pending(request.seq).context("the event is not found in the ring")?;
        self.writer.write(&entry(request, &payload))
    }

    /// Removes an event durably. Returns `false` if it is not in quarantine.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn remove(&self, seq: Seq) -> anyhow::Result<bool> {
        self.writer.remove(seq)
    }
}

fn entry(request: &QuarantineRequest, payload: &[u8]) -> Entry {
    Entry {
        seq: request.seq,
        at: rfc3339(now_ms()),
        worker: request.subject.worker.clone(),
        generation: request.subject.generation,
        crash: request.crash,
        cause: request.cause,
        detail: request.detail.clone(),
        during: request.during,
        attempts: request.attempts,
        event: EventView::decode(payload),
        bytes: Entry::hex(payload),
    }
}

#[cfg(test)]
mod tests;
