//! Quarantine: an event with too many attempts is stored, and then skipped.

use crate::core::{
    model::{
        GenerationRef, GenerationState, LogRecord, QuarantineRequest, State, SuspectEvent, SuspectState,
        WorkerId,
    },
    transition::Transition,
};
use bulkhead_proto::wire::{control::MAX_HINTS, ids::Seq, role::Role};

impl Transition<'_> {
    /// An event was stored, or could not be stored.
    pub(in crate::core) fn quarantine_finished(
        &mut self,
        request: QuarantineRequest,
        result: Result<(), String>,
    ) {
        let Some((id, suspect)) = self.storing(request.seq) else { return };
        suspect.state = if result.is_ok() { SuspectState::Stored } else { SuspectState::Retrying };
        match result {
            Ok(()) => {
                self.log(LogRecord::EventQuarantined(request));
                self.on_quarantined(id);
            }
            Err(why) => {
                self.worker_mut(id).poison_tracker.brake.trials = None;
                self.log(LogRecord::QuarantineFailed { request, why });
            }
        }
        self.advance_takeover(id);
    }

    /// The event, if it is being stored, and its worker.
    fn storing(&mut self, seq: Seq) -> Option<(WorkerId, &mut SuspectEvent)> {
        let ids = self.state.worker_ids();
        ids.zip(&mut self.state.workers).find_map(|(id, worker)| {
            let suspect = worker.poison_tracker.find(seq)?;
            (suspect.state == SuspectState::Storing).then_some((id, suspect))
        })
    }

    /// The event that killed the analysis will be skipped: the deaths so far say nothing about the next
    /// generation.
    fn on_quarantined(&mut self, id: WorkerId) {
        self.worker_mut(id).restart_budget.clear();
        let until = self.earliest_start(id);
        let worker = self.worker_mut(id);
        let subject = GenerationRef { worker: worker.name.clone(), generation: worker.generation, pid: None };
        match worker.main {
            GenerationState::Parked { retry_at: Some(_) } => {
                worker.main = GenerationState::Backoff { until };
                self.log(LogRecord::WorkerRecovered(subject));
            }
            GenerationState::Backoff { .. } => worker.main = GenerationState::Backoff { until },
            GenerationState::Parked { retry_at: None }
            | GenerationState::Stopped
            | GenerationState::Live(_) => {}
        }
    }
}

impl State {
    /// Whether the event is being quarantined, or its skip is not known to be committed.
    #[must_use]
    pub fn is_quarantining(&self, seq: Seq) -> bool {
        self.workers.iter().any(|worker| worker.poison_tracker.is_quarantining(seq))
    }

    /// Records how far a previous run of the supervisor came, and the pending events that it quarantined: the
    /// analysis skips them.
    pub fn restore(&mut self, committed: Seq, quarantined: impl IntoIterator<Item = Seq>) {
        let suspect = |seq| SuspectEvent { seq, attempts: 0, kills: 0, state: SuspectState::Stored };
        let suspects: Vec<_> = quarantined.into_iter().take(MAX_HINTS).map(suspect).collect();
        for worker in self.workers.iter_mut().filter(|worker| worker.role == Role::Analytics) {
            worker.restart_budget.committed = committed;
            worker.poison_tracker.suspects.clone_from(&suspects);
            worker.poison_tracker.brake.proven_until =
                suspects.iter().map(|suspect| suspect.seq).max().unwrap_or_default();
        }
    }
}
