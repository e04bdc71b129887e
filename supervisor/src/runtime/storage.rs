//! What the supervisor keeps on disk: high-water marks, snapshot, quarantine, crash reports.
//!
//! Slow disks delay nothing: each piece of work has a thread of its own, at most one of each kind at a time.
//! The exception are the high-water marks: a number is reserved before it is used.

use super::{blocking_task::BlockingTask, quarantine::Removals, recovery};
use crate::{
    core::{DeathRecord, Event, GenerationRef, IsolatedSeries, QuarantineRequest, State},
    display::error_chain,
    store::{
        Stores,
        crashes::{CLOSE_TIMEOUT, ReportQueue},
        high_water::{HighWaterMarks, Numbers},
        quarantine::QuarantineStore,
        state_dir::StateDir,
    },
};
use anyhow::Context as _;
use bulkhead_proto::{
    shm::{
        memory::SharedMemory,
        snapshot::{self, Summary},
    },
    wire::{control::RequestOutcome, ids::Seq},
};
use std::sync::Arc;

/// The stores, and the work on them in progress.
pub(super) struct Storage {
    pub(super) state_dir: StateDir,
    pub(super) stores: Stores,
    pub(super) removals: Removals,
    marks: HighWaterMarks,
    /// The last seq that the API reported.
    reported_seq: Seq,
    reports: ReportQueue,
    quarantining: Option<BlockingTask<Event>>,
    saving: Option<BlockingTask<Saved>>,
}

/// A snapshot was written, or failed.
pub(super) struct Saved {
    /// Whether no process could write to the memory any more. If one could, the run does not count as ended in
    /// order.
    settled: bool,
    result: anyhow::Result<Summary>,
}

/// Work that has ended.
pub(super) enum StorageEvent {
    Saved(Saved),
    Quarantined(Event),
    Removed(RequestOutcome),
}

impl Storage {
    /// Begins the run after `next`, the numbers that were restored.
    ///
    /// # Errors
    /// If the thread for crash reports cannot be started, or the high-water marks cannot be written.
    pub(super) fn begin(state_dir: StateDir, stores: Stores, next: Numbers) -> anyhow::Result<Self> {
        let reports = ReportQueue::open(Arc::clone(&stores.crashes))
            .context("cannot start the thread for crash reports")?;
        // The last step that can fail: from here on, a run that does not end in order has lost something.
        let marks = HighWaterMarks::begin(&state_dir.high_water_marks(), next)?;
        Ok(Self {
            state_dir,
            stores,
            removals: Removals::default(),
            marks,
            reported_seq: next.seq,
            reports,
            quarantining: None,
            saving: None,
        })
    }

    /// Waits for the end of any work; forever if there is none. Cancel safe.
    pub(super) async fn next_event(&mut self) -> StorageEvent {
        tokio::select! {
            saved = BlockingTask::end(&mut self.saving) => StorageEvent::Saved(saved),
            event = BlockingTask::end(&mut self.quarantining) => StorageEvent::Quarantined(event),
            outcome = self.removals.end() => StorageEvent::Removed(outcome),
        }
    }

    /// Reserves numbers on disk before they are used. If the disk refuses, the service continues with an
    /// error in the log: numbers would be reused only if the supervisor died as well before the disk
    /// recovers.
    pub(super) fn reserve(&mut self, state: &State, memory: &SharedMemory) {
        let next = Numbers {
            generation: state.next_generation,
            crash: state.next_crash,
            // The API's report may be late, or lost with the API; shared memory has what was used.
            seq: self.reported_seq.max(memory.tail().next_seq),
        };
        if let Err(error) = self.marks.reserve(next) {
            tracing::error!(
                event_name = "marks_failed",
                "cannot reserve numbers on disk: {}",
                error_chain(&error)
            );
        }
    }

    /// Records the next number that the API reported, as far as shared memory confirms it.
    pub(super) fn record_seq(&mut self, next: Seq, memory: &SharedMemory) {
        self.reported_seq = self.reported_seq.max(next.min(memory.tail().next_seq));
    }

    /// Queues the report of a death.
    pub(super) fn report(&mut self, record: DeathRecord) {
        self.reports.submit(record);
    }

    /// Stores an event of the ring in quarantine. Returns the failure if the work cannot begin.
    pub(super) fn quarantine(
        &mut self,
        request: &QuarantineRequest,
        memory: &Arc<SharedMemory>,
    ) -> Option<Event> {
        let (store, memory, copy) =
            (Arc::clone(&self.stores.quarantine), Arc::clone(memory), request.clone());
        let work = move || {
            let result = store.insert(&memory, &copy).map_err(|error| error_chain(&error));
            Event::Quarantined { request: copy, result }
        };
        let failed = |why| Event::Quarantined { request: request.clone(), result: Err(why) };
        self.begin_quarantine(format!("storing event {} in quarantine", request.seq), failed, work)
    }

    /// Stores the pending events of isolated series. Returns the failure if the work cannot begin.
    pub(super) fn store_isolated(
        &mut self,
        subject: GenerationRef,
        through: Seq,
        isolated: Vec<IsolatedSeries>,
        memory: &Arc<SharedMemory>,
    ) -> Option<Event> {
        let (store, memory, generation) =
            (Arc::clone(&self.stores.quarantine), Arc::clone(memory), subject.generation);
        let finished = move |result| Event::IsolatedStored { generation, result };
        let what = format!("storing events of isolated series up to event {through}");
        let work = move || {
            let stored = store.insert_series(&memory, &subject, through, &isolated);
            finished(stored.map_err(|error| error_chain(&error)))
        };
        self.begin_quarantine(what, |why| finished(Err(why)), work)
    }

    /// Removes events from quarantine that no generation has skipped. Returns the failure if the work cannot begin.
    pub(super) fn release(&mut self, seqs: &[Seq]) -> Option<Event> {
        let (store, copy) = (Arc::clone(&self.stores.quarantine), seqs.to_vec());
        let failed = |why| Event::Released { kept: seqs.to_vec(), error: Some(why) };
        let what = format!("returning {} events from quarantine", seqs.len());
        self.begin_quarantine(what, failed, move || release(&store, &copy))
    }

    /// Begins work on the quarantine. `failed` makes the event of a failure; returns it if the work cannot begin.
    fn begin_quarantine(
        &mut self,
        what: String,
        failed: impl Fn(String) -> Event,
        work: impl FnOnce() -> Event + Send + 'static,
    ) -> Option<Event> {
        let panicked = failed("the quarantine thread panicked".into());
        match BlockingTask::begin("quarantine", what, panicked, work) {
            Ok(task) => {
                self.quarantining = Some(task);
                None
            }
            Err(error) => Some(failed(error.to_string())),
        }
    }

    /// Starts to write a snapshot. Returns the failure if the work cannot begin.
    pub(super) fn save(&mut self, settled: bool, memory: &Arc<SharedMemory>) -> Option<Event> {
        let (memory, path) = (Arc::clone(memory), self.state_dir.snapshot());
        let work = move || Saved { settled, result: snapshot::save(&memory, &path).map_err(Into::into) };
        let panicked = Saved { settled, result: Err(anyhow::anyhow!("the snapshot thread panicked")) };
        let task = self.state_dir.ensure_owned().and_then(|()| {
            Ok(BlockingTask::begin("snapshot", "writing the snapshot".to_owned(), panicked, work)?)
        });
        match task {
            Ok(task) => {
                self.saving = Some(task);
                None
            }
            Err(error) => Some(Event::Saved { result: Err(error_chain(&error)) }),
        }
    }

    /// The snapshot was written, or failed: logs what was saved, and marks the run as ended in order.
    pub(super) fn on_saved(&self, Saved { settled, result }: Saved, state: &State) -> Event {
        let numbers = |seq| Numbers { generation: state.next_generation, crash: state.next_crash, seq };
        let result = result.and_then(|saved| {
            recovery::log_saved(&saved, &self.state_dir.snapshot());
            if settled { self.marks.close(numbers(saved.next_seq)).context("marks") } else { Ok(()) }
        });
        Event::Saved { result: result.map_err(|error| error_chain(&error)) }
    }

    /// Waits, for a limited time, until the queued reports are written.
    pub(super) async fn close(&mut self) {
        self.reports.close(CLOSE_TIMEOUT).await;
    }
}

fn release(store: &QuarantineStore, seqs: &[Seq]) -> Event {
    let mut kept = Vec::new();
    let mut last_error = None;
    for seq in seqs {
        if let Err(error) = store.remove(*seq) {
            kept.push(*seq);
            last_error = Some(error_chain(&error));
        }
    }
    Event::Released { kept, error: last_error }
}
