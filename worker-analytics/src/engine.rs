//! The analysis at work: takes events from the ring, applies them, commits. Knows neither processes nor fds.

use crate::{
    Analysis,
    caution::Caution,
    mutant::{self, Mutant},
    pace::Pace,
    series::{Series, SeriesError},
    version::{Foreign, Stamp},
};
use bulkhead_proto::{
    shm::{
        access::{ReadWords, WORD, WriteWords},
        cursor::{self, Activity},
        ring::{Consumer, RingCorruption},
        segment::{ReadOnly, ReadWrite},
        state_memory::StateMemory,
        table::{CommitHeader, CommitRecord, TableMemory, TableWriter},
        wake,
    },
    wire::{
        control::RecoveryHints,
        event::{Event, EventError},
        fault::FaultKind,
        ids::{Generation, Position, Seq},
        series::FAULT_PREFIX,
    },
    worker::{fault, settings::Settings},
};
use rustix::time::{ClockId, clock_gettime};
use std::{
    io,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// When this part of the ring waits to be freed, a commit is due whatever it costs: the API must not run out of space.
const RELEASE_SHARE: u64 = 4;

/// Why the analysis cannot go on. It ends with this as its last line; what is committed stays.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fatal {
    /// The commit record does not verify.
    #[error(
        "the last commit of the state table does not verify: nothing is known; restart the whole service"
    )]
    NoRecord,
    /// The state is another analysis's.
    #[error(transparent)]
    Foreign(#[from] Foreign),
    /// The ring is damaged.
    #[error("{0}")]
    Ring(#[from] RingCorruption),
    /// An event is none.
    #[error("event {seq} is damaged: {source}")]
    Event {
        /// Which one.
        seq: Seq,
        /// What is wrong with it.
        source: EventError,
    },
    /// A series cannot be kept.
    #[error("{0}")]
    Series(#[from] SeriesError),
    /// The system does not take a commit.
    #[error("cannot write the state table: {0}")]
    Commit(#[from] io::Error),
}

/// The memory of the link, as an engine needs it.
pub(crate) struct Memory<M = StateMemory, C = Arc<ReadWrite>> {
    pub(crate) events: ReadOnly,
    pub(crate) producer: ReadOnly,
    pub(crate) cursor: C,
    pub(crate) state: M,
}

/// One active generation's work.
pub(crate) struct Engine<A: Analysis, M = StateMemory, C = Arc<ReadWrite>> {
    analysis: A,
    generation: Generation,
    /// Whether an event of a fault's series carries that fault out.
    faults: bool,
    consumer: Consumer<ReadOnly, ReadOnly>,
    capacity: u64,
    cursor: C,
    table: TableWriter<M>,
    series: Series<A>,
    pace: Pace,
    caution: Caution,
    /// The last event that is done with, and where it ends: so far, a commit comes.
    done: (Seq, Position),
    /// Events applied since the last commit.
    applied: u64,
    /// Events skipped since the last commit.
    skipped: u64,
    payload: Vec<u8>,
}

impl<A: Analysis, M: TableMemory, C: WriteWords> Engine<A, M, C> {
    /// Takes over where the predecessor, which must be gone, committed last.
    pub(crate) fn activate(
        analysis: A,
        settings: &Settings,
        memory: Memory<M, C>,
        care: RecoveryHints,
    ) -> Result<Self, Fatal> {
        let mut table = TableWriter::attach(memory.state).ok_or(Fatal::NoRecord)?;
        check_version::<A>(table.record())?;
        let activated = table.activate();
        if activated.repaired {
            tracing::error!(
                event_name = "state_repaired",
                "state_repaired: the state table's index did not verify and was rebuilt from its bodies"
            );
        }
        let record = *table.record();
        let capacity = (memory.events.words() * WORD) as u64;
        let consumer = Consumer::attach(memory.events, memory.producer, record.position, record.seq)?;
        cursor::take_over(&memory.cursor, settings.generation, record.seq);
        let mut series = Series::new(&table, settings.max_series);
        if Stamp(record.version) != Stamp::own::<A>() {
            series.migrate(&analysis, &table, || cursor::count_step(&memory.cursor));
        }
        tracing::info!(
            commit = record.commit.0,
            seq = record.seq.0,
            series = record.slots,
            scrubbed = activated.scrubbed,
            "analysis {} version {} goes on behind event {}",
            A::NAME,
            A::VERSION,
            record.seq
        );
        let mut engine = Self {
            analysis,
            generation: settings.generation,
            faults: settings.faults,
            consumer,
            capacity,
            cursor: memory.cursor,
            table,
            series,
            pace: Pace::new(Instant::now()),
            caution: Caution::new(care),
            done: (record.seq, record.position),
            applied: 0,
            skipped: 0,
            payload: Vec::new(),
        };
        // What was migrated, by itself: the first event has no part in it, should it fail.
        if !mutant::is(Mutant::MigrateWithAnEvent) {
            engine.settle()?;
        }
        Ok(engine)
    }

    /// Applies events, at most until it is time to look around: false when the ring is empty.
    pub(crate) fn advance(&mut self) -> Result<bool, Fatal> {
        if !self.burst()? {
            return Ok(false);
        }
        let now = Instant::now();
        self.pace.looks(now, coarse());
        let unreleased = self.done.1.0 - self.table.record().position.0;
        if self.pace.wait(now).is_zero() || unreleased >= self.capacity / RELEASE_SHARE {
            self.commit()?;
        }
        Ok(true)
    }

    /// Applies events until the clock is to be looked at: false when the ring is empty.
    fn burst(&mut self) -> Result<bool, Fatal> {
        while let Some(seq) = self.consumer.next(&mut self.payload)? {
            if self.caution.concerns(seq) {
                self.take_care(seq)?;
            } else {
                self.apply(seq)?;
            }
            if self.pace.counts(coarse) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Commits right before an event and right after it: whatever it does to us, it does alone.
    fn take_care(&mut self, seq: Seq) -> Result<(), Fatal> {
        if mutant::is(Mutant::CommitBeforeApply) {
            self.done = (seq, self.consumer.position());
        }
        if !mutant::is(Mutant::NoCommitBefore) {
            self.settle()?;
        }
        if self.caution.skips(seq) && !mutant::is(Mutant::ApplySkipped) {
            self.skipped += u64::from(!mutant::is(Mutant::SkipUncounted));
            self.done = (seq, self.consumer.position());
        } else {
            self.apply(seq)?;
        }
        if mutant::is(Mutant::NoCommitBehind) { Ok(()) } else { self.commit() }
    }

    fn apply(&mut self, seq: Seq) -> Result<(), Fatal> {
        // Before the bytes are looked at: whatever they do to us, it is known which event did it, and where it is found.
        cursor::set_read_position(&self.cursor, self.done.1);
        cursor::set_in_flight(&self.cursor, Activity::Apply, seq);
        let event = Event::decode(&self.payload).map_err(|source| Fatal::Event { seq, source })?;
        if self.faults
            && let Some(kind) = fault_of(event.series)
        {
            fault::execute(kind);
        }
        let place = match self.series.find(event.series) {
            Some(place) => place,
            None => {
                cursor::set_in_flight(&self.cursor, Activity::Load, seq);
                let place = self.series.open(&self.analysis, &mut self.table, event.series)?;
                cursor::count_step(&self.cursor);
                cursor::set_in_flight(&self.cursor, Activity::Apply, seq);
                place
            }
        };
        self.analysis.apply(self.series.change(place), &event);
        self.applied += 1;
        self.done = (seq, self.consumer.position());
        // A death from now on is none of its doing, though no commit covers it yet: the next one's bytes are fetched first.
        if !mutant::is(Mutant::LeaveInHand) {
            cursor::set_in_flight(&self.cursor, Activity::Idle, seq);
        }
        Ok(())
    }

    /// What is left to do when the ring is empty: nothing, or a commit in so long.
    pub(crate) fn owes(&self) -> Option<Duration> {
        let owes = self.applied > 0 || self.skipped > 0 || self.series.changed();
        owes.then(|| self.pace.wait(Instant::now()))
    }

    /// Says that this analysis is about to park, and looks once more: true when there is still nothing to read.
    pub(crate) fn announce_park(&mut self) -> bool {
        wake::prepare_wait(&self.cursor);
        self.consumer.is_empty()
    }

    /// Says that it is awake.
    pub(crate) fn retract_park(&self) {
        wake::cancel_wait(&self.cursor);
    }

    /// Commits what was applied or skipped, if anything was.
    pub(crate) fn settle(&mut self) -> Result<(), Fatal> {
        if self.owes().is_some() { self.commit() } else { Ok(()) }
    }

    /// Commits what was applied or skipped.
    pub(crate) fn commit(&mut self) -> Result<(), Fatal> {
        let start = Instant::now();
        let ((seq, position), record) = (self.done, *self.table.record());
        cursor::set_in_flight(&self.cursor, Activity::Commit, seq);
        self.series.stage(&self.analysis, &mut self.table, || cursor::count_step(&self.cursor))?;
        let checkpoint = CommitHeader {
            generation: self.generation,
            seq,
            position,
            version: Stamp::own::<A>().0,
            analysed: record.analysed + self.applied,
            skipped: record.skipped + self.skipped,
            resets: record.resets + self.series.take_resets(),
            at_ms: unix_ms(),
        };
        if let Err(refusal) = self.table.commit(checkpoint) {
            // The system's doing, and no event's: nobody is to be charged for it, one by one.
            if !mutant::is(Mutant::ChargeTheRefused) {
                cursor::set_in_flight(&self.cursor, Activity::Idle, record.seq);
            }
            return Err(refusal.into());
        }
        (self.applied, self.skipped) = (0, 0);
        cursor::set_in_flight(&self.cursor, Activity::Idle, seq);
        self.pace.committed(start, Instant::now());
        Ok(())
    }
}

/// Checks that this analysis understands what the table holds.
pub(crate) fn check_version<A: Analysis>(record: &CommitRecord) -> Result<(), Foreign> {
    // Nothing was ever committed: it belongs to nobody.
    if record.commit.0 == 0 { Ok(()) } else { Stamp(record.version).check::<A>() }
}

fn fault_of(series: &str) -> Option<FaultKind> {
    series.strip_prefix(FAULT_PREFIX)?.parse().ok()
}

/// The kernel's clock of its own ticks: a few milliseconds coarse, and several times as quick to read as the exact one.
fn coarse() -> Duration {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    Duration::try_from(now).unwrap_or_default()
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
