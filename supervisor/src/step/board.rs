//! The public part of the state.

use super::{Is, State, Worker};
use bulkhead_proto::wire::status::{Status, WorkerRow, WorkerState};

/// What operators and the API may see.
#[must_use]
pub fn status(state: &State) -> Status {
    Status {
        pid: state.pid,
        started_ms: state.started_ms,
        faults: state.policy.faults,
        workers: state.workers.iter().flat_map(rows).collect(),
    }
}

/// One row, and another for a successor that has a process.
fn rows(worker: &Worker) -> impl Iterator<Item = WorkerRow> {
    let successor = worker.successor.as_ref().filter(|is| is.process().is_some());
    std::iter::once(row(worker, &worker.main)).chain(successor.map(|is| row(worker, is)))
}

fn row(worker: &Worker, is: &Is) -> WorkerRow {
    let process = is.process();
    WorkerRow {
        name: worker.name.clone(),
        role: worker.role,
        state: public(worker, is),
        generation: process.map_or(worker.generation, |process| process.generation),
        pid: process.and_then(|process| process.pid),
        restarts: worker.restarts,
        started_ms: process.map_or(worker.started_ms, |process| process.started_ms),
        last_crash: worker.last_crash.clone(),
    }
}

fn public(worker: &Worker, is: &Is) -> WorkerState {
    match is {
        Is::Stopped => WorkerState::Stopped,
        Is::Starting { .. } => WorkerState::Starting,
        Is::Standby { .. } => WorkerState::Standby,
        Is::Running { .. } => WorkerState::Running,
        Is::Stopping { .. } => WorkerState::Stopping,
        // It waits for its turn, not for the end of a delay.
        Is::Backoff { .. } if worker.last_crash.is_none() => WorkerState::Starting,
        Is::Backoff { .. } => WorkerState::Backoff,
        Is::Parked { .. } => WorkerState::Parked,
    }
}
