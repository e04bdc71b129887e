//! How much the quarantine holds, and how much it may hold.

use crate::display::{format_count, format_size};
use anyhow::Context as _;
use bulkhead_proto::wire::{
    ids::Seq,
    quarantine::{EntryStore, MAX_BYTES, MAX_ENTRIES},
};
use std::collections::BTreeSet;

/// The most that the quarantine holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The number of events.
    pub(super) events: usize,
    /// The length of all files together, in bytes.
    pub(super) bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { events: MAX_ENTRIES, bytes: MAX_BYTES }
    }
}

/// Events that are to be stored.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    events: usize,
    bytes: u64,
}

impl Wanted {
    /// Adds an event with this payload. Its file has two hexadecimal digits for each byte, and some KiB more.
    pub(super) fn add(&mut self, payload: &[u8]) {
        self.events += 1;
        self.bytes = self.bytes.saturating_add(2 * payload.len() as u64);
    }
}

/// What the quarantine holds.
pub(super) struct Contents {
    limits: Limits,
    seqs: BTreeSet<Seq>,
    bytes: u64,
}

impl Contents {
    /// Lists the directory.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(super) fn read(records: &EntryStore, limits: Limits) -> anyhow::Result<Self> {
        let listed = records.numbers().and_then(|seqs| Ok((records.bytes_of(&seqs)?, seqs)));
        let (bytes, seqs) = listed.context("cannot list the quarantined events")?;
        Ok(Self { limits, seqs: seqs.into_iter().collect(), bytes })
    }

    pub(super) fn contains(&self, seq: Seq) -> bool {
        self.seqs.contains(&seq)
    }

    /// Whether these events fit.
    ///
    /// # Errors
    /// The quarantine is full.
    pub(super) fn check_room(&self, wanted: Wanted) -> anyhow::Result<()> {
        let (count, size) = (format_count(self.seqs.len(), "event"), format_size(self.bytes));
        let fits = self.seqs.len().saturating_add(wanted.events) <= self.limits.events
            && self.bytes.saturating_add(wanted.bytes) <= self.limits.bytes;
        // Files are a little longer than what is wanted for them: a full quarantine may be beyond its limit.
        anyhow::ensure!(
            fits || wanted.events == 0,
            "the quarantine is full ({count}, {size}): replay or drop some of them"
        );
        Ok(())
    }

    /// Counts a stored event. Warns when it makes the quarantine 80 % full.
    pub(super) fn add(&mut self, seq: Seq, bytes: u64) {
        let before = self.is_filling();
        self.bytes = self.bytes.saturating_add(bytes);
        self.seqs.insert(seq);
        if self.is_filling() && !before {
            let (count, size) = (self.seqs.len(), format_size(self.bytes));
            let Limits { events, bytes } = self.limits;
            tracing::warn!(
                event_name = "quarantine_filling",
                "the quarantine holds {count} of at most {events} events, in {size} of at most {}: replay or drop some of them; when \
                 it is full, an event that kills the analysis is not skipped any more",
                format_size(bytes)
            );
        }
    }

    fn is_filling(&self) -> bool {
        let Limits { events, bytes } = self.limits;
        self.seqs.len() >= events.saturating_mul(4) / 5 || self.bytes >= bytes.saturating_mul(4) / 5
    }
}
