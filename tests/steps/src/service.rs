//! Minimal versions of both ends of the link: an API that appends events, and an analysis that counts and
//! sums them.

use crate::{
    fixture::SLOTS,
    test_event::{SeriesTotal, SeriesTotals, TestEvent, batch},
};
use anyhow::{Context as _, Result, ensure};
use bulkhead_proto::{
    shm::{
        cursor::{self, Activity},
        ring::{AppendError, Appended, Consumer},
        segment::{ReadOnly, ReadWrite},
        state_memory::StateMemory,
        table::{Activated, Body, BodySlot, CommitRecord, Content, Effort, TableMemory, TableWriter},
    },
    wire::{
        control::RecoveryHints,
        event::Input,
        ids::{Generation, Position, Seq},
    },
    worker::link::{AnalyticsLink, ApiLink},
};
use std::{collections::BTreeSet, sync::Arc};

/// The `VERSION` of the model's analysis.
const VERSION: u32 = 7;

/// Appends events, all or none.
///
/// # Errors
/// When an event is not valid. The inner result is the ring's answer.
pub fn append(link: &ApiLink, data: &[TestEvent]) -> Result<Result<Appended, AppendError>> {
    Ok(link.append(&mut batch(data)?))
}

/// An analysis that counts and sums, over any memory of the state table.
#[derive(Debug)]
pub struct Analysis<M = StateMemory> {
    consumer: Consumer<ReadOnly, ReadOnly>,
    cursor: Arc<ReadWrite>,
    table: TableWriter<M>,
    totals: SeriesTotals,
    changed: BTreeSet<String>,
    /// The last event that is processed, and where it ends in the ring.
    done: (Seq, Position),
    applied: u64,
    skipped: u64,
    /// The recovery hints.
    pub hints: RecoveryHints,
    generation: Generation,
    /// A planted error: an event stays marked in flight until the next one is.
    pub keeps_in_flight: bool,
    /// The result of taking over the table.
    pub activated: Activated,
}

impl Analysis {
    /// Takes over from a dead predecessor.
    ///
    /// # Errors
    /// When there is no valid commit record, or a series does not verify.
    pub fn take_over(link: AnalyticsLink) -> Result<Self> {
        Self::take_over_wrapped(link, |state| state)
    }
}

impl<M: TableMemory> Analysis<M> {
    /// As [`Analysis::take_over`], with a wrapper around the state table's memory.
    ///
    /// # Errors
    /// When there is no valid commit record, or a series does not verify.
    pub fn take_over_wrapped(link: AnalyticsLink, wrap: impl FnOnce(StateMemory) -> M) -> Result<Self> {
        let AnalyticsLink { events, producer, cursor, state, .. } = link;
        let mut table =
            TableWriter::attach(wrap(state), SLOTS).context("the commit record does not verify")?;
        let activated = table.activate();
        let record = *table.record();
        let consumer = Consumer::attach(events, producer, record.position, record.seq)?;
        let mut totals = SeriesTotals::new();
        for slot in (0..record.slots).map(BodySlot) {
            totals.extend(load(&table, slot)?);
        }
        Ok(Self {
            consumer,
            cursor,
            table,
            totals,
            changed: BTreeSet::new(),
            done: (record.seq, record.position),
            applied: 0,
            skipped: 0,
            hints: RecoveryHints::default(),
            generation: Generation(record.generation.0 + 1),
            keeps_in_flight: false,
            activated,
        })
    }

    /// The totals, including those that are not committed yet.
    pub const fn totals(&self) -> &SeriesTotals {
        &self.totals
    }

    /// The number of lines of the state table that were repaired since the last call.
    pub fn take_repaired(&self) -> u32 {
        self.table.take_repaired()
    }

    /// The record of the last commit.
    pub const fn record(&self) -> &CommitRecord {
        self.table.record()
    }

    /// Applies at most `limit` events. Returns the number of processed events.
    ///
    /// # Errors
    /// When the ring is damaged or an event does not decode.
    pub fn apply(&mut self, limit: usize) -> Result<usize> {
        let mut payload = Vec::new();
        for done in 0..limit {
            let Some(seq) = self.consumer.next(&mut payload)? else { return Ok(done) };
            let skip = self.hints.skip.contains(&seq);
            let isolated =
                skip || self.hints.suspects.contains(&seq) || seq <= self.hints.single_commit_until;
            if isolated {
                self.commit()?;
            }
            if skip {
                self.skipped += 1;
            } else {
                self.apply_event(seq, &payload)?;
            }
            self.done = (seq, self.consumer.position());
            if isolated {
                self.commit()?;
            }
        }
        Ok(limit)
    }

    /// A planted error: commits each event before applying it.
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
            self.apply_event(seq, &payload)?;
            self.applied -= 1;
        }
        Ok(())
    }

    fn apply_event(&mut self, seq: Seq, payload: &[u8]) -> Result<()> {
        cursor::set_read_position(&*self.cursor, self.done.1);
        cursor::set_in_flight(&*self.cursor, Activity::Apply, seq);
        let event = match Input::decode(payload)? {
            Input::Event(event) => event,
            Input::Removal(removal) => {
                self.totals.remove(removal.series);
                self.changed.insert(removal.series.to_owned());
                self.count_applied(seq);
                return Ok(());
            }
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the value was encoded from a u32"
        )]
        let value = u64::from(event.value.unwrap_or_default() as u32);
        self.totals.entry(event.series.to_owned()).or_default().apply(value);
        self.changed.insert(event.series.to_owned());
        self.count_applied(seq);
        Ok(())
    }

    fn count_applied(&mut self, seq: Seq) {
        self.applied += 1;
        if !self.keeps_in_flight {
            cursor::set_in_flight(&*self.cursor, Activity::Idle, seq);
        }
    }

    /// Commits the applied events.
    ///
    /// # Errors
    /// When the table is full or the system refuses.
    pub fn commit(&mut self) -> Result<CommitRecord> {
        let (seq, position) = self.done;
        cursor::set_in_flight(&*self.cursor, Activity::Commit, seq);
        for series in std::mem::take(&mut self.changed) {
            let known = self.table.find(&series);
            let Some(total) = self.totals.get(&series) else {
                known.map_or(Ok(()), |slot| self.table.stage_removal(slot, &series))?;
                continue;
            };
            let slot = known.or_else(|| self.table.assign(&series));
            let slot = slot.with_context(|| format!("no slot for {series}"))?;
            let content = Content {
                key: &series,
                version: VERSION,
                last_arrival_ms: 1,
                state: &total.state(&series),
                public: &total.public(&series),
            };
            self.table.stage(slot, content)?;
        }
        let last = *self.table.record();
        let record = self.table.commit(CommitRecord {
            generation: self.generation,
            seq,
            position,
            version: VERSION,
            analysed: last.analysed + self.applied,
            skipped: last.skipped + self.skipped,
            at_ms: last.at_ms + 1,
            ..last
        })?;
        (self.applied, self.skipped) = (0, 0);
        cursor::set_in_flight(&*self.cursor, Activity::Idle, seq);
        self.table.maintain(Effort::Busy)?;
        Ok(record)
    }
}

/// The series of a slot, if it has one.
fn load<M: TableMemory>(table: &TableWriter<M>, slot: BodySlot) -> Result<Option<(String, SeriesTotal)>> {
    let body = table.load(slot).with_context(|| format!("slot {} does not verify", slot.0))?;
    if body.is_free() {
        return Ok(None);
    }
    let total = total(&body)?;
    ensure!(table.find(body.key()) == Some(slot), "series {} is not found in slot {}", body.key(), slot.0);
    Ok(Some((body.key().to_owned(), total)))
}

fn total(body: &Body) -> Result<SeriesTotal> {
    let total = SeriesTotal::parse(body.key(), body.state());
    total.with_context(|| format!("series {}: {:?} is not a valid state", body.key(), body.state()))
}
