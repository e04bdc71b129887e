//! The store of events that were set aside: files in `state_dir/quarantine`. All of it may wait for the disk, so the shell
//! calls it on a thread of its own.

mod mutant;

use crate::{core::QuarantineRequest, shown, state_dir::Files};
use anyhow::Context as _;
use bulkhead_proto::{
    shm::memory::SharedMemory,
    wire::{
        ids::Seq,
        quarantine::{Entry, EntryStore, MAX_ENTRIES},
    },
};
use mutant::Mutant;
use std::path::PathBuf;

/// The folder, and its one writer.
#[derive(Debug)]
pub struct Store {
    files: Files<Entry>,
    /// Kept at most.
    most: usize,
}

impl Store {
    /// A store in that folder.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { files: Files::new(path), most: MAX_ENTRIES }
    }

    /// The folder, made when it is missing.
    ///
    /// # Errors
    /// When it cannot be made or opened.
    pub fn folder(&self) -> anyhow::Result<EntryStore> {
        self.files.folder()
    }

    /// Stores an event that is still in the ring, durably, with what it is charged with. Again is harmless.
    ///
    /// # Errors
    /// When the event is not found, there is no room, or the disk says no: then there is no file either, as far as the disk
    /// allows.
    pub fn keep(&self, memory: &SharedMemory, charge: &QuarantineRequest) -> anyhow::Result<()> {
        let kept = self.folder()?.numbers().context("cannot read what is set aside already")?;
        anyhow::ensure!(
            kept.len() < self.most || kept.contains(&charge.seq) || mutant::is(Mutant::KeepTooMany),
            "{} events are set aside already: replay or drop some",
            kept.len()
        );
        let payload = memory.pending(charge.seq).context("its bytes are not found in the ring")?;
        if mutant::is(Mutant::KeepNothing) {
            return Ok(());
        }
        self.files.write(&entry(charge, &payload))
    }

    /// Removes one. False when there is none.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn remove(&self, seq: Seq) -> anyhow::Result<bool> {
        if mutant::is(Mutant::ForgetRemoval) {
            return Ok(true);
        }
        self.files.remove(seq)
    }
}

fn entry(charge: &QuarantineRequest, payload: &[u8]) -> Entry {
    Entry {
        seq: charge.seq,
        at: shown::now(),
        worker: charge.subject.worker.clone(),
        generation: charge.subject.generation,
        crash: charge.crash,
        cause: charge.cause,
        detail: charge.detail.clone(),
        during: charge.during,
        attempts: charge.attempts,
        event: shown::event(payload),
        bytes: Entry::hex(payload),
    }
}

#[cfg(test)]
mod tests;
