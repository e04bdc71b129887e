//! The store of events that were set aside: files in `state_dir/quarantine`. All of it may wait for the disk, so the shell
//! calls it on a thread of its own.

mod mutant;

use crate::{state_dir, step::Charge};
use anyhow::Context as _;
use bulkhead_proto::{
    event::Event,
    ids::Seq,
    link::Memory,
    quarantine::{Entry, Folder, MAX_ENTRIES, Shown, file_name},
};
use jiff::Timestamp;
use mutant::Mutant;
use std::{fs, io::Write as _, os::unix::fs::DirBuilderExt as _, path::PathBuf};

/// The folder, and its one writer. It is opened for each thing that is done: whoever deletes it while we run must not have
/// events written to nowhere.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// Kept at most.
    most: usize,
}

impl Store {
    /// A store in that folder.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path, most: MAX_ENTRIES }
    }

    /// The folder, made when it is missing.
    ///
    /// # Errors
    /// When it cannot be made or opened.
    pub fn folder(&self) -> anyhow::Result<Folder> {
        let cannot = || format!("cannot make or open {}, where events are set aside", self.path.display());
        fs::DirBuilder::new().recursive(true).mode(0o750).create(&self.path).with_context(cannot)?;
        Folder::open(&self.path).with_context(cannot)
    }

    /// Stores an event that is still in the ring, durably, with what it is charged with. Again is harmless.
    ///
    /// # Errors
    /// When the event is not found, there is no room, or the disk says no: then there is no file either, as far as the disk
    /// allows.
    pub fn keep(&self, memory: &Memory, charge: &Charge) -> anyhow::Result<()> {
        let kept = self.folder()?.seqs().context("cannot read what is set aside already")?;
        anyhow::ensure!(
            kept.len() < self.most || kept.contains(&charge.seq) || mutant::is(Mutant::KeepTooMany),
            "{} events are set aside already: replay or drop some",
            kept.len()
        );
        let payload = memory.pending(charge.seq).context("its bytes are not found in the ring")?;
        if mutant::is(Mutant::KeepNothing) {
            return Ok(());
        }
        let path = self.path.join(file_name(charge.seq));
        let text = serde_json::to_string_pretty(&entry(charge, &payload))?;
        let written = state_dir::replace(&path, |file| Ok(writeln!(file, "{text}")?));
        if written.is_err() {
            // It may be there, and not durable: it must not tell of a skip that never comes.
            let _ = fs::remove_file(&path);
            let _ = fs::remove_file(path.with_extension("new"));
        }
        written
    }

    /// Removes one. False when there is none.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn remove(&self, seq: Seq) -> anyhow::Result<bool> {
        if mutant::is(Mutant::ForgetRemoval) {
            return Ok(true);
        }
        let path = self.path.join(file_name(seq));
        let removed = match fs::remove_file(&path) {
            Ok(()) => true,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => return Err(error).with_context(|| format!("cannot remove {}", path.display())),
        };
        if removed {
            fs::File::open(&self.path)?.sync_all()?;
        }
        Ok(removed)
    }
}

fn entry(charge: &Charge, payload: &[u8]) -> Entry {
    let event = Event::decode(payload).ok();
    let owned = |text: Option<&str>| text.map(str::to_owned);
    Entry {
        seq: charge.seq,
        at: Timestamp::now().to_string(),
        worker: charge.who.worker.clone(),
        generation: charge.who.generation,
        crash: charge.crash,
        cause: charge.cause,
        detail: charge.detail.clone(),
        during: charge.during,
        attempts: charge.attempts,
        event: event.map(|event| Shown {
            series: event.series.to_owned(),
            value: event.value,
            ts: time(event.ts_ms),
            arrived: time(event.arrived_ms),
            label: owned(event.label),
            data: owned(event.data),
            request_id: owned(event.request_id),
        }),
        bytes: Entry::hex(payload),
    }
}

/// The epoch for what no calendar holds.
fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests;
