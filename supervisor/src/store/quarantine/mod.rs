//! The quarantine: events that killed the analysis repeatedly, one file each in `state_dir/quarantine`. Every call may
//! block on the disk, so the runtime makes them from a separate thread.

use super::record_writer::RecordWriter;
use crate::core::{GenerationRef, IsolatedSeries, QuarantineRequest};
use anyhow::Context as _;
use bulkhead_proto::{
    shm::memory::SharedMemory,
    wire::{
        cause::Operation,
        event::Event,
        ids::Seq,
        quarantine::{Entry, EntryStore, EventView, MAX_ENTRIES},
        time::{now_ms, rfc3339},
    },
};
use std::{collections::BTreeSet, ops::ControlFlow, path::PathBuf};

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
        let stored = self.stored()?;
        if !stored.contains(&request.seq) {
            self.check_room(&stored)?;
        }
        let payload = memory.pending(request.seq).context("the event is not found in the ring")?;
        self.writer.write(&entry(request, &payload))
    }

    /// Stores the pending events of these series up to `through` durably, in order. Idempotent.
    ///
    /// # Errors
    /// The quarantine is full, or the disk refuses.
    pub fn insert_series(
        &self,
        memory: &SharedMemory,
        subject: &GenerationRef,
        through: Seq,
        isolated: &[IsolatedSeries],
    ) -> anyhow::Result<()> {
        let mut stored = self.stored()?;
        let mut entries = Vec::new();
        memory.for_each_pending(|seq, payload| {
            let event = Event::decode(payload).ok();
            let series = event.and_then(|event| {
                isolated.iter().find(|series| series.isolation().concerns(event.series, seq))
            });
            if let Some(series) = series.filter(|_| seq <= through && !stored.contains(&seq)) {
                entries.push(entry(&series.request(subject, seq), payload));
            }
            if seq < through { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        for entry in &entries {
            self.check_room(&stored)?;
            stored.insert(entry.seq);
        }
        self.writer.write_all(&entries)
    }

    fn stored(&self) -> anyhow::Result<BTreeSet<Seq>> {
        Ok(self.records()?.numbers().context("cannot list the quarantined events")?.into_iter().collect())
    }

    /// Whether one more event fits. Warns when it is the one that makes the quarantine 80 % full.
    fn check_room(&self, stored: &BTreeSet<Seq>) -> anyhow::Result<()> {
        let (count, capacity) = (stored.len(), self.capacity);
        anyhow::ensure!(
            count < capacity,
            "the quarantine is full ({count} events): replay or drop some of them"
        );
        if count + 1 == capacity / 5 * 4 {
            tracing::warn!(
                event_name = "quarantine_filling",
                "the quarantine holds {} of at most {capacity} events: replay or drop some of them; when it is full, an event \
                 that kills the analysis is not skipped any more",
                count + 1
            );
        }
        Ok(())
    }

    /// Removes an event durably. Returns `false` if it is not in quarantine.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn remove(&self, seq: Seq) -> anyhow::Result<bool> {
        self.writer.remove(seq)
    }
}

impl IsolatedSeries {
    /// The request to store one of its events. No death is charged to the event itself.
    fn request(&self, subject: &GenerationRef, seq: Seq) -> QuarantineRequest {
        QuarantineRequest {
            subject: subject.clone(),
            seq,
            attempts: 0,
            during: Operation::Apply,
            crash: self.crash,
            cause: self.cause,
            detail: format!("the series is isolated: {}", self.detail),
        }
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
        event: EventView::decode(payload).map(EventView::excerpt),
        bytes: Entry::hex(payload),
    }
}

#[cfg(test)]
mod tests;
