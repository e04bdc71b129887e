//! The public part of the state: what operators and the API see.

use crate::core::model::{GenerationState, ProcessPhase, State, Worker};
use bulkhead_proto::wire::status::{Status, WorkerRow, WorkerState};

/// Builds the status from the state.
#[must_use]
pub fn status(state: &State) -> Status {
    Status {
        pid: state.pid,
        started_ms: state.started_ms,
        faults: state.policy.faults,
        workers: state.workers.iter().flat_map(rows).collect(),
    }
}

/// One row for the worker, and one for a successor or a standby that has a process.
fn rows(worker: &Worker) -> impl Iterator<Item = WorkerRow> {
    let successor = worker.successor.process().map(|_| row(worker, &worker.successor));
    let standby = worker.standby.process().map(|_| standby_row(worker));
    std::iter::once(row(worker, &worker.main)).chain(successor).chain(standby)
}

/// The row of the standby. Restarts, deaths and the brake are in the row of the worker.
fn standby_row(worker: &Worker) -> WorkerRow {
    let row = row(worker, &worker.standby);
    WorkerRow { restarts: 0, last_crash: None, brake: None, isolated: Vec::new(), ..row }
}

fn row(worker: &Worker, slot_state: &GenerationState) -> WorkerRow {
    let process = slot_state.process();
    WorkerRow {
        name: worker.name.clone(),
        role: worker.role,
        state: public(worker, slot_state),
        generation: process.map_or(worker.shown_generation, |process| process.generation),
        pid: process.and_then(|process| process.pid),
        restarts: worker.restarts,
        started_ms: process.map_or(worker.started_ms, |process| process.started_ms),
        last_crash: worker.last_crash.clone(),
        brake: worker.poison_tracker.brake.engaged.clone(),
        isolated: isolated(worker),
    }
}

/// The series that are isolated for good.
fn isolated(worker: &Worker) -> Vec<String> {
    let isolated = worker.poison_tracker.brake.isolated.iter().filter(|series| series.until.is_none());
    isolated.map(|series| series.name.clone()).collect()
}

fn public(worker: &Worker, slot_state: &GenerationState) -> WorkerState {
    match slot_state {
        GenerationState::Stopped => WorkerState::Stopped,
        // Waiting for room to start for the first time, not for the end of a delay.
        GenerationState::Backoff { .. } if worker.last_crash.is_none() => WorkerState::Starting,
        GenerationState::Backoff { .. } => WorkerState::Backoff,
        GenerationState::Parked { .. } => WorkerState::Parked,
        GenerationState::Live(process) => match process.phase {
            ProcessPhase::Starting { .. } => WorkerState::Starting,
            ProcessPhase::Standby => WorkerState::Standby,
            ProcessPhase::Running => WorkerState::Running,
            ProcessPhase::Stopping(_) => WorkerState::Stopping,
        },
    }
}
