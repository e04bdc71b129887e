//! The quarantine: events that killed the analysis repeatedly, one file each in `state_dir/quarantine`. Every call may
//! block on the disk, so the runtime makes them from a separate thread.

mod contents;

use super::record_writer::RecordWriter;
use crate::core::{GenerationRef, IsolatedSeries, QuarantineRequest};
use anyhow::Context as _;
use bulkhead_proto::{
    shm::memory::SharedMemory,
    wire::{
        cause::Operation,
        event::Event,
        ids::Seq,
        quarantine::{Entry, EntryStore, EventView},
        time::{now_ms, rfc3339},
    },
};
use contents::{Contents, Limits};
use std::{ops::ControlFlow, path::PathBuf};

/// The directory and its only writer.
#[derive(Debug)]
pub struct QuarantineStore {
    writer: RecordWriter<Entry>,
    limits: Limits,
}

impl QuarantineStore {
    /// A store in this directory.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { writer: RecordWriter::new(path), limits: Limits::default() }
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
        let mut contents = self.contents()?;
        let is_new = !contents.contains(request.seq);
        if is_new {
            contents.check_room()?;
        }
        let payload = memory.pending(request.seq).context("the event is not found in the ring")?;
        let bytes = self.writer.write(&entry(request, &payload))?;
        if is_new {
            contents.add(request.seq, bytes);
        }
        Ok(())
    }

    /// Stores the pending events of these series up to `through` durably, in order. Idempotent. Holds one event in memory at a
    /// time.
    ///
    /// # Errors
    /// The quarantine is full, or the disk refuses. Events may then have been stored.
    pub fn insert_series(
        &self,
        memory: &SharedMemory,
        subject: &GenerationRef,
        through: Seq,
        isolated: &[IsolatedSeries],
    ) -> anyhow::Result<()> {
        let mut contents = self.contents()?;
        let mut outcome = Ok(());
        memory.for_each_pending(|seq, payload| {
            if seq <= through
                && !contents.contains(seq)
                && let Some(series) = isolation_of(isolated, seq, payload)
            {
                outcome = self.insert_next(&mut contents, &entry(&series.request(subject, seq), payload));
            }
            if seq < through && outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        outcome.and_then(|()| self.writer.sync())
    }

    fn insert_next(&self, contents: &mut Contents, entry: &Entry) -> anyhow::Result<()> {
        contents.check_room()?;
        contents.add(entry.seq, self.writer.write_unsynced(entry)?);
        Ok(())
    }

    fn contents(&self) -> anyhow::Result<Contents> {
        Contents::read(&self.records()?, self.limits)
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

/// The isolation that concerns this event, if there is one.
fn isolation_of<'i>(isolated: &'i [IsolatedSeries], seq: Seq, payload: &[u8]) -> Option<&'i IsolatedSeries> {
    let event = Event::decode(payload).ok()?;
    isolated.iter().find(|series| series.isolation().concerns(event.series, seq))
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
        event: EventView::decode_excerpt(payload),
        bytes: Entry::hex(payload),
    }
}

#[cfg(test)]
mod tests;
