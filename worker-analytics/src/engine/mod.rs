//! The engine takes events from the ring, applies them, and commits. It knows neither processes nor fds.

mod damaged_series;
mod expiry;
mod render;
mod schema_check;
mod schema_id;
mod series;
mod sweep;
mod trial;

pub(crate) use render::begin_of;
pub(crate) use schema_check::{StateRefused, check_stored_states};
pub(crate) use schema_id::IncompatibleState;

use crate::{
    Analysis, commit_scheduler::CommitScheduler, replay_plan::ReplayPlan, supervisor_link::SupervisorLink,
};
use bulkhead_proto::{
    shm::{
        access::{ReadWords, WORD, WriteWords},
        cursor::{self, Activity},
        ring::{Consumer, RingCorruption},
        segment::{ReadOnly, ReadWrite},
        state_memory::StateMemory,
        table::{CommitRecord, Effort, TableMemory, TableWriter},
        wake,
    },
    wire::{
        control::{RecoveryHints, SKIP_DELAY},
        event::{EventError, Input},
        fault::FaultKind,
        ids::{Generation, Position, Seq},
        series::FAULT_PREFIX,
        time::{arrival_ms, now_ms},
    },
    worker::{fault, pipe::PipeError, settings::Settings},
};
use rustix::time::{ClockId, clock_gettime};
use schema_check::check_schema;
use schema_id::SchemaId;
use series::{OpenSeries, SeriesError};
use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

/// When half of the ring is applied but not committed, the engine commits without regard to the cost. Only a commit frees this
/// space; the other half takes what the API accepts meanwhile.
const UNCOMMITTED_RING_DIVISOR: u64 = 2;

/// After this time without a commit, the state table is brought to its smallest size.
const REST_DELAY: Duration = Duration::from_secs(1);

/// The most skipped events of one commit. The supervisor stores those of isolated series, while the commit waits.
const MAX_SKIPPED: u64 = 1_000;

/// Why the analysis cannot continue. The process logs this as its last line and exits; the last commit stays
/// valid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// The commit record fails verification.
    #[error(
        "the commit record of the state table does not verify, so the state is unknown; \
         restart the whole service"
    )]
    NoCommitRecord,
    /// The state belongs to another analysis.
    #[error(transparent)]
    IncompatibleState(#[from] IncompatibleState),
    /// The ring is damaged.
    #[error("{0}")]
    Ring(#[from] RingCorruption),
    /// The bytes of an event cannot be decoded.
    #[error("event {seq} is damaged: {source}")]
    Event {
        /// The damaged event.
        seq: Seq,
        /// What is wrong with its bytes.
        source: EventError,
    },
    /// A series cannot be opened or committed.
    #[error("{0}")]
    Series(#[from] SeriesError),
    /// The process was asked to stop while a commit waited for the supervisor.
    #[error("asked to stop during a commit")]
    Interrupted,
    /// The supervisor cannot be asked.
    #[error(transparent)]
    Pipe(#[from] PipeError),
    /// The system refuses the write of a commit.
    #[error("cannot write the state table: {0}")]
    Commit(#[from] io::Error),
}

/// The parts of the shared memory that an engine needs.
pub(crate) struct EngineMemory<M = StateMemory, C = Arc<ReadWrite>> {
    pub(crate) events: ReadOnly,
    pub(crate) producer: ReadOnly,
    pub(crate) cursor: C,
    pub(crate) state: M,
}

/// The engine of one active generation.
pub(crate) struct Engine<A: Analysis, L, M = StateMemory, C = Arc<ReadWrite>> {
    analysis: A,
    link: L,
    generation: Generation,
    /// Whether an event of a fault series executes that fault.
    faults_enabled: bool,
    consumer: Consumer<ReadOnly, ReadOnly>,
    /// The size of the ring, in bytes.
    ring_capacity: u64,
    cursor: C,
    table: TableWriter<M>,
    series: OpenSeries<A>,
    scheduler: CommitScheduler,
    replay_plan: ReplayPlan,
    /// The last event that was applied or skipped, and the position where it ends. The next commit covers
    /// both.
    processed: (Seq, Position),
    /// Events applied since the last commit.
    applied: u64,
    /// Events skipped since the last commit.
    skipped: u64,
    /// The last event was skipped, at this time, and its skip may not be committed yet.
    skip_held_since: Option<Instant>,
    /// When the state table is maintained if there is nothing else to do.
    rests_at: Option<Instant>,
    /// The last event of an isolated series that was skipped and is not committed. The next commit has it stored first.
    isolated_through: Option<Seq>,
    /// When the last event arrived that was taken from the ring, in Unix milliseconds.
    arrived_ms: i64,
    /// Watched series of which an event was applied and not committed.
    applied_watched: Vec<String>,
    payload: Vec<u8>,
}

impl<A: Analysis, L: SupervisorLink, M: TableMemory, C: WriteWords> Engine<A, L, M, C> {
    /// Continues after the last commit of the previous generation, whose process must have exited.
    pub(crate) fn activate(
        analysis: A,
        settings: &Settings,
        memory: EngineMemory<M, C>,
        hints: RecoveryHints,
        link: L,
    ) -> Result<Self, EngineError> {
        let mut table =
            TableWriter::attach(memory.state, settings.slots()).ok_or(EngineError::NoCommitRecord)?;
        // The predecessor may have migrated the table since this process checked it.
        check_schema::<A>(table.record())?;
        let activated = table.activate();
        let record = *table.record();
        let ring_capacity = (memory.events.words() * WORD) as u64;
        let consumer = Consumer::attach(memory.events, memory.producer, record.position, record.seq)?;
        cursor::take_over(&memory.cursor, settings.generation, record.seq);
        let mut series = OpenSeries::new(&table, settings);
        if SchemaId(record.version) != SchemaId::current::<A>() {
            series.migrate(&analysis, &table, || cursor::count_step(&memory.cursor));
        }
        tracing::info!(
            commit = record.commit.0,
            seq = record.seq.0,
            series = record.series,
            scrubbed = activated.scrubbed,
            "analysis {} version {} resumes after event {}",
            A::NAME,
            A::VERSION,
            record.seq
        );
        let mut engine = Self {
            analysis,
            link,
            generation: settings.generation,
            faults_enabled: settings.faults,
            consumer,
            ring_capacity,
            cursor: memory.cursor,
            table,
            series,
            scheduler: CommitScheduler::new(Instant::now()),
            replay_plan: ReplayPlan::new(hints),
            processed: (record.seq, record.position),
            applied: 0,
            skipped: 0,
            skip_held_since: None,
            rests_at: None,
            isolated_through: None,
            arrived_ms: i64::MIN,
            applied_watched: Vec::new(),
            payload: Vec::new(),
        };
        // The migration is committed alone: if this commit fails, no event can be suspected.
        engine.flush()?;
        Ok(engine)
    }

    /// Applies one batch of events, and commits if a commit is due. `false`: the ring is empty.
    pub(crate) fn advance(&mut self) -> Result<bool, EngineError> {
        if !self.apply_batch()? {
            return Ok(false);
        }
        let now = Instant::now();
        self.scheduler.on_batch_end(now, coarse_clock());
        let due = self.scheduler.due_in(now).is_zero() || self.must_free() || self.skipped >= MAX_SKIPPED;
        if due && self.skip_held_since.is_none() {
            self.commit()?;
        }
        self.series.sweep(&self.table, self.arrived_ms);
        Ok(true)
    }

    /// Applies events until the scheduler ends the batch. `false`: the ring is empty.
    fn apply_batch(&mut self) -> Result<bool, EngineError> {
        while let Some(seq) = self.consumer.next(&mut self.payload)? {
            let isolated = self.replay_plan.isolates(seq);
            let applied = if isolated { self.apply_isolated(seq)? } else { self.apply(seq)? };
            // A held skip may be committed when an event was applied after it, and is, together with that event.
            let due = if self.skip_held_since.is_some() { applied } else { isolated };
            if due {
                self.commit()?;
            }
            // A few large events fill the ring.
            if self.scheduler.on_event(coarse_clock) || self.must_free() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the events that are applied and not committed take up too much of the ring.
    fn must_free(&self) -> bool {
        let uncommitted_bytes = self.processed.1.0 - self.table.record().position.0;
        uncommitted_bytes >= self.ring_capacity / UNCOMMITTED_RING_DIVISOR
    }

    /// Applies or skips an event, with a commit directly before it; the caller makes the one directly after it. If this
    /// event kills the process, no other event is affected or suspected. A skip that is not proven is held. `false`: the
    /// event is skipped.
    fn apply_isolated(&mut self, seq: Seq) -> Result<bool, EngineError> {
        self.flush()?;
        if !self.replay_plan.skips(seq) {
            return self.apply(seq);
        }
        self.skip(seq);
        if !self.replay_plan.is_proven(seq) {
            self.skip_held_since = Some(Instant::now());
        }
        Ok(false)
    }

    fn skip(&mut self, seq: Seq) {
        self.skipped += 1;
        self.processed = (seq, self.consumer.position());
    }

    /// Applies an event, or removes a series. `false`: no event was applied; it is skipped if its series is isolated.
    fn apply(&mut self, seq: Seq) -> Result<bool, EngineError> {
        // Before the payload is decoded: if its bytes kill this process, the supervisor must know the event
        // and find it.
        cursor::set_read_position(&self.cursor, self.processed.1);
        cursor::set_in_flight(&self.cursor, Activity::Apply, seq);
        let input = Input::decode(&self.payload).map_err(|source| EngineError::Event { seq, source })?;
        self.arrived_ms = input.arrived_ms();
        let event = match input {
            Input::Event(event) => event,
            Input::Removal(removal) => {
                self.series.remove(&self.table, removal.series);
                self.count_applied(seq);
                return Ok(false);
            }
        };
        if self.replay_plan.is_isolated(event.series, seq) {
            self.skip(seq);
            self.isolated_through = Some(seq);
            cursor::set_in_flight(&self.cursor, Activity::Idle, seq);
            return Ok(false);
        }
        if self.faults_enabled
            && let Some(kind) = fault_of(event.series)
        {
            fault::execute(kind);
        }
        let index = match self.series.find(event.series) {
            Some(index) => index,
            None => {
                cursor::set_in_flight(&self.cursor, Activity::Load, seq);
                let index = self.series.open(&self.analysis, &mut self.table, event.series)?;
                cursor::count_step(&self.cursor);
                cursor::set_in_flight(&self.cursor, Activity::Apply, seq);
                index
            }
        };
        self.analysis.apply(self.series.state_mut(index, event.arrived_ms), &event);
        if self.replay_plan.stop_watching(event.series) {
            self.applied_watched.push(event.series.to_owned());
        }
        self.count_applied(seq);
        Ok(true)
    }

    fn count_applied(&mut self, seq: Seq) {
        self.applied += 1;
        self.processed = (seq, self.consumer.position());
        // From here on the event is not in flight, although no commit covers it yet. The next step reads the
        // following event from the ring; if the process dies there, the death must not be attributed to this
        // event.
        cursor::set_in_flight(&self.cursor, Activity::Idle, seq);
    }

    /// Removes some of the series that have expired while the ring is empty. The time until there is more to do; `None`: series
    /// do not expire.
    pub(crate) fn sweep(&mut self) -> Option<Duration> {
        let now = arrival_ms();
        self.series.sweep(&self.table, now);
        self.series.expiry.due_in(now)
    }

    /// The time until the pending commit is due. `None`: everything is committed. A held skip is due when no event followed
    /// for [`SKIP_DELAY`].
    pub(crate) fn commit_due_in(&self) -> Option<Duration> {
        if let Some(since) = self.skip_held_since {
            return Some(SKIP_DELAY.saturating_sub(since.elapsed()));
        }
        let pending = self.skipped > 0 || self.applied > 0 || self.series.has_changes();
        pending.then(|| self.scheduler.due_in(Instant::now()))
    }

    /// Announces that this process is about to sleep, then checks the ring once more. `true`: the ring is
    /// still empty, and the process may wait for the wake fd.
    pub(crate) fn prepare_wait(&mut self) -> bool {
        wake::prepare_wait(&self.cursor);
        self.consumer.is_empty()
    }

    /// Announces that this process is awake.
    pub(crate) fn cancel_wait(&self) {
        wake::cancel_wait(&self.cursor);
    }

    /// Shows the supervisor that this process is alive while it holds a skip or waits for an event.
    pub(crate) fn count_step(&self) {
        cursor::count_step(&self.cursor);
    }

    /// Commits if anything was applied, skipped or migrated since the last commit. A held skip stays uncommitted.
    pub(crate) fn flush(&mut self) -> Result<(), EngineError> {
        if self.skip_held_since.is_none() && self.commit_due_in().is_some() { self.commit() } else { Ok(()) }
    }

    /// Commits the changed series together with the position in the event stream. Events of isolated series are stored
    /// first; if this process is asked to stop meanwhile, it commits nothing, and its successor continues.
    pub(crate) fn commit(&mut self) -> Result<(), EngineError> {
        if let Some(through) = self.isolated_through
            && !self.link.store_isolated(through)?
        {
            return Err(EngineError::Interrupted);
        }
        let start = Instant::now();
        let ((seq, position), record) = (self.processed, *self.table.record());
        cursor::set_in_flight(&self.cursor, Activity::Commit, seq);
        self.series.stage(&self.analysis, &mut self.table, || cursor::count_step(&self.cursor))?;
        let counts = self.series.take_counts();
        let next = CommitRecord {
            generation: self.generation,
            seq,
            position,
            version: SchemaId::current::<A>().0,
            analysed: record.analysed + self.applied,
            skipped: record.skipped + self.skipped,
            // A snapshot file can hold any number.
            resets: record.resets.saturating_add(counts.resets),
            removed: record.removed.saturating_add(counts.removed),
            expired: record.expired.saturating_add(counts.expired),
            at_ms: now_ms(),
            ..record
        };
        if let Err(error) = self.table.commit(next) {
            // The system refused the write. No event caused that, so the exit must not be attributed to the
            // event in flight.
            cursor::set_in_flight(&self.cursor, Activity::Idle, record.seq);
            return Err(error.into());
        }
        (self.applied, self.skipped) = (0, 0);
        (self.skip_held_since, self.isolated_through) = (None, None);
        for series in self.applied_watched.drain(..) {
            self.link.series_applied(series)?;
        }
        cursor::set_in_flight(&self.cursor, Activity::Idle, seq);
        self.table.maintain(Effort::Busy)?;
        self.report_repairs();
        self.rests_at = Some(start + REST_DELAY);
        self.scheduler.on_commit(start, Instant::now());
        Ok(())
    }

    fn report_repairs(&self) {
        let slots = self.table.take_repaired();
        if slots > 0 {
            tracing::error!(
                event_name = "state_repaired",
                slots,
                "state_repaired: the index entries of {slots} series did not verify, as after a wild write of the analysis; \
                 they were repaired from the states"
            );
        }
    }

    /// The time until the state table is maintained while there is nothing else to do. `None`: it was, since the last commit.
    pub(crate) fn rest_due_in(&self) -> Option<Duration> {
        self.rests_at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Does one step of the maintenance of the state table, if it is due.
    pub(crate) fn rest(&mut self) -> Result<(), EngineError> {
        if self.rest_due_in().is_some_and(|due_in| due_in.is_zero()) && !self.table.maintain(Effort::Idle)? {
            self.rests_at = None;
        }
        Ok(())
    }
}

fn fault_of(series: &str) -> Option<FaultKind> {
    series.strip_prefix(FAULT_PREFIX)?.parse().ok()
}

/// The kernel's coarse clock: a few milliseconds behind the exact one, and several times faster to read.
fn coarse_clock() -> Duration {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    Duration::try_from(now).unwrap_or_default()
}

#[cfg(test)]
mod removal_tests;
#[cfg(test)]
mod tests;
