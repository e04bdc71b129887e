//! The two ends of the link as small as they can be: an API that appends data, an analysis that tallies them.

use crate::datum::{Datum, Tallies, Tally, batch};
use anyhow::{Context as _, Result, ensure};
use bulkhead_proto::{
    shm::{
        cursor::{self, Activity},
        ring::{AppendError, Appended, Consumer},
        segment::{ReadOnly, ReadWrite},
        state_memory::StateMemory,
        table::{Activated, Body, BodySlot, CommitHeader, CommitRecord, TableMemory, TableWriter},
    },
    wire::{
        control::RecoveryHints,
        event::Event,
        ids::{Generation, Position, Seq},
    },
    worker::link::{AnalyticsLink, ApiLink},
};
use std::{collections::BTreeSet, sync::Arc};

/// The `VERSION` of the model's analysis.
const VERSION: u32 = 7;

/// Appends data, all or nothing.
///
/// # Errors
/// When one of them is no event. The inner result is the ring's answer.
pub fn append(link: &ApiLink, data: &[Datum]) -> Result<Result<Appended, AppendError>> {
    Ok(link.append(&mut batch(data)?))
}

/// An analysis that counts and sums, over any memory of the state table.
#[derive(Debug)]
pub struct Analysis<M = StateMemory> {
    consumer: Consumer<ReadOnly, ReadOnly>,
    cursor: Arc<ReadWrite>,
    table: TableWriter<M>,
    tallies: Tallies,
    dirty: BTreeSet<String>,
    /// The last event that is done with, and where it ends.
    done: (Seq, Position),
    applied: u64,
    skipped: u64,
    /// Which events to take care with.
    pub care: RecoveryHints,
    generation: Generation,
    /// A planted fault: an event stays in hand until the next one is.
    pub clings: bool,
    /// What was found when the table was taken over.
    pub activated: Activated,
}

impl Analysis {
    /// Takes over from a predecessor that is gone.
    ///
    /// # Errors
    /// When nothing is known, or a series does not verify.
    pub fn take_over(link: AnalyticsLink) -> Result<Self> {
        Self::take_over_within(link, |state| state)
    }
}

impl<M: TableMemory> Analysis<M> {
    /// As [`Analysis::take_over`], with the state table's memory wrapped.
    ///
    /// # Errors
    /// When nothing is known, or a series does not verify.
    pub fn take_over_within(link: AnalyticsLink, wrap: impl FnOnce(StateMemory) -> M) -> Result<Self> {
        let AnalyticsLink { events, producer, cursor, state, .. } = link;
        let mut table = TableWriter::attach(wrap(state)).context("the commit record does not verify")?;
        let activated = table.activate();
        let record = *table.record();
        let consumer = Consumer::attach(events, producer, record.position, record.seq)?;
        let tallies = (0..record.slots).map(|slot| load(&table, BodySlot(slot))).collect::<Result<_>>()?;
        Ok(Self {
            consumer,
            cursor,
            table,
            tallies,
            dirty: BTreeSet::new(),
            done: (record.seq, record.position),
            applied: 0,
            skipped: 0,
            care: RecoveryHints::default(),
            generation: Generation(record.generation.0 + 1),
            clings: false,
            activated,
        })
    }

    /// What is known, commits to come included.
    pub const fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// The last commit.
    pub const fn record(&self) -> &CommitRecord {
        self.table.record()
    }

    /// Applies at most that many events. How many there were.
    ///
    /// # Errors
    /// When the ring is damaged or an event is none.
    pub fn apply(&mut self, most: usize) -> Result<usize> {
        let mut payload = Vec::new();
        for done in 0..most {
            let Some(seq) = self.consumer.next(&mut payload)? else { return Ok(done) };
            let skip = self.care.skip.contains(&seq);
            let careful = skip || self.care.suspects.contains(&seq) || seq <= self.care.single_commit_until;
            if careful {
                self.commit()?;
            }
            if skip {
                self.skipped += 1;
            } else {
                self.take_in(seq, &payload)?;
            }
            self.done = (seq, self.consumer.position());
            if careful {
                self.commit()?;
            }
        }
        Ok(most)
    }

    /// A planted fault: commits each event before it applies it.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn commit_before_apply(&mut self) -> Result<()> {
        let mut payload = Vec::new();
        while let Some(seq) = self.consumer.next(&mut payload)? {
            cursor::set_read_position(&*self.cursor, self.done.1);
            self.done = (seq, self.consumer.position());
            self.applied += 1;
            self.commit()?;
            self.take_in(seq, &payload)?;
            self.applied -= 1;
        }
        Ok(())
    }

    fn take_in(&mut self, seq: Seq, payload: &[u8]) -> Result<()> {
        cursor::set_read_position(&*self.cursor, self.done.1);
        cursor::set_in_flight(&*self.cursor, Activity::Apply, seq);
        let event = Event::decode(payload)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was a u32")]
        let value = u64::from(event.value as u32);
        self.tallies.entry(event.series.to_owned()).or_default().apply(value);
        self.dirty.insert(event.series.to_owned());
        self.applied += 1;
        if !self.clings {
            cursor::set_in_flight(&*self.cursor, Activity::Idle, seq);
        }
        Ok(())
    }

    /// Commits what was applied.
    ///
    /// # Errors
    /// When the table is full or the system refuses.
    pub fn commit(&mut self) -> Result<CommitRecord> {
        let (seq, position) = self.done;
        cursor::set_in_flight(&*self.cursor, Activity::Commit, seq);
        for series in std::mem::take(&mut self.dirty) {
            let slot = self.table.find(&series).or_else(|| self.table.assign(&series));
            let slot = slot.with_context(|| format!("no slot for {series}"))?;
            let tally = self.tallies.get(&series).copied().unwrap_or_default();
            self.table.stage(slot, VERSION, &series, &tally.state(&series), &tally.public(&series))?;
        }
        let last = *self.table.record();
        let record = self.table.commit(CommitHeader {
            generation: self.generation,
            seq,
            position,
            version: VERSION,
            analysed: last.analysed + self.applied,
            skipped: last.skipped + self.skipped,
            resets: last.resets,
            at_ms: last.at_ms + 1,
        })?;
        (self.applied, self.skipped) = (0, 0);
        cursor::set_in_flight(&*self.cursor, Activity::Idle, seq);
        Ok(record)
    }
}

fn load<M: TableMemory>(table: &TableWriter<M>, slot: BodySlot) -> Result<(String, Tally)> {
    let body = table.load(slot).with_context(|| format!("slot {} does not verify", slot.0))?;
    let tally = tally(&body)?;
    ensure!(table.find(body.key()) == Some(slot), "series {} is not found in slot {}", body.key(), slot.0);
    Ok((body.key().to_owned(), tally))
}

fn tally(body: &Body) -> Result<Tally> {
    let tally = Tally::parse(body.key(), body.state());
    tally.with_context(|| format!("series {}: {:?} is no state", body.key(), body.state()))
}
