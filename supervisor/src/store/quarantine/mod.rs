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
use contents::{Contents, Limits, Wanted};
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
        let payload = memory.pending(request.seq).context("the event is not found in the ring")?;
        let is_new = !contents.contains(request.seq);
        if is_new {
            let mut wanted = Wanted::default();
            wanted.add(&payload);
            contents.check_room(wanted)?;
        }
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
    /// The quarantine is full, or the disk refuses. In the latter case, events may have been stored.
    pub fn insert_series(
        &self,
        memory: &SharedMemory,
        subject: &GenerationRef,
        through: Seq,
        isolated: &[IsolatedSeries],
    ) -> anyhow::Result<()> {
        let mut contents = self.contents()?;
        let mut wanted = Wanted::default();
        for_each_isolated(memory, through, isolated, |seq, payload, _| {
            if !contents.contains(seq) {
                wanted.add(payload);
            }
            ControlFlow::Continue(())
        });
        contents.check_room(wanted)?;
        let mut outcome = Ok(());
        for_each_isolated(memory, through, isolated, |seq, payload, series| {
            if contents.contains(seq) {
                return ControlFlow::Continue(());
            }
            match self.writer.write_unsynced(&entry(&series.request(subject, seq), payload)) {
                Ok(bytes) => {
                    contents.add(seq, bytes);
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    outcome = Err(error);
                    ControlFlow::Break(())
                }
            }
        });
        outcome.and_then(|()| self.writer.sync())
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

/// Visits the pending events of isolated series up to `through`, in order, until `visit` returns `Break`.
fn for_each_isolated(
    memory: &SharedMemory,
    through: Seq,
    isolated: &[IsolatedSeries],
    mut visit: impl FnMut(Seq, &[u8], &IsolatedSeries) -> ControlFlow<()>,
) {
    memory.for_each_pending(|seq, payload| {
        if seq > through {
            return ControlFlow::Break(());
        }
        let event = Event::decode(payload).ok();
        let series = event
            .and_then(|event| isolated.iter().find(|series| series.isolation().concerns(event.series, seq)));
        series.map_or(ControlFlow::Continue(()), |series| visit(seq, payload, series))
    });
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
