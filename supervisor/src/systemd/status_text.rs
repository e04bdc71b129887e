//! The service status as one line, for `systemctl status`.

use crate::{
    core::{State, SupervisorPhase, status},
    display::{format_count, in_flight},
    log::escape_controls,
};
use bulkhead_proto::wire::{
    role::Role,
    status::{CrashRow, WorkerRow, WorkerState},
    text::cut,
};

/// Longest description of a death, in bytes, so that the status fits on a few lines of a terminal.
const MAX_DETAIL: usize = 120;

/// The status line. It changes only with worker states and deaths.
pub(super) fn status_text(state: &State) -> String {
    match state.phase {
        SupervisorPhase::New => "starting".into(),
        SupervisorPhase::Up => workers_summary(&status(state).workers),
        SupervisorPhase::Stopping(Role::Plain) => "stopping: waiting for the plain workers to exit".into(),
        SupervisorPhase::Stopping(Role::Api) => "stopping: the API completes accepted requests".into(),
        SupervisorPhase::Stopping(Role::Analytics) => "stopping: the analysis commits applied events".into(),
        SupervisorPhase::Saving { .. } => "stopping: saving the state".into(),
        SupervisorPhase::Gone => "stopped".into(),
    }
}

/// Counts each worker once: its further rows are a standby or a successor.
fn workers_summary(rows: &[WorkerRow]) -> String {
    let workers: Vec<_> = rows.chunk_by(|row, next| row.name == next.name).filter_map(<[_]>::first).collect();
    let running = workers.iter().filter(|row| row.state == WorkerState::Running).count();
    let mut parts = vec![format!("{running} of {} workers running", workers.len())];
    let not_running = workers.iter().filter(|row| row.state != WorkerState::Running);
    parts.extend(not_running.map(|row| format!("{} {}", row.name, row.state)));
    let restarts: u64 = workers.iter().map(|row| row.restarts).sum();
    parts.extend((restarts > 0).then(|| format_count(restarts, "restart")));
    let deaths = rows.iter().filter_map(|row| Some((row, row.last_crash.as_ref()?)));
    if let Some((row, crash)) = deaths.max_by_key(|(_, crash)| crash.id) {
        parts.push(last_death(row, crash));
    }
    parts.join("; ")
}

fn last_death(row: &WorkerRow, crash: &CrashRow) -> String {
    let detail = escape_controls(&crash.detail);
    format!(
        "last death: {}, crash {}: {}: {}{}",
        row.name,
        crash.id,
        crash.cause,
        cut(&detail, MAX_DETAIL),
        in_flight(crash.seq)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_proto::wire::{
        cause::Cause,
        ids::{CrashId, Generation, Seq},
    };

    fn row(name: &str, state: WorkerState) -> WorkerRow {
        WorkerRow {
            name: name.into(),
            role: Role::Plain,
            state,
            generation: Generation(1),
            pid: None,
            restarts: 0,
            started_ms: 0,
            last_crash: None,
            brake: None,
            isolated: Vec::new(),
        }
    }

    #[test]
    fn workers_that_do_not_run_are_named() {
        let rows = [row("api", WorkerState::Running), row("analytics", WorkerState::Parked)];
        assert_eq!(workers_summary(&rows), "1 of 2 workers running; analytics parked");
    }

    #[test]
    fn a_standby_is_no_further_worker() {
        let states = [WorkerState::Running, WorkerState::Standby];
        let rows: Vec<_> = states.into_iter().map(|state| row("analytics", state)).collect();
        assert_eq!(workers_summary(&rows), "1 of 1 workers running");
        let starting = [row("analytics", WorkerState::Running), row("analytics", WorkerState::Starting)];
        assert_eq!(workers_summary(&starting), "1 of 1 workers running");
    }

    #[test]
    fn the_last_death_fits_on_one_line() {
        let crash = CrashRow {
            id: CrashId(9),
            cause: Cause::Panic,
            detail: "out of\nbounds".into(),
            seq: Some(Seq(65)),
            at_ms: 0,
        };
        let rows = [WorkerRow { restarts: 3, last_crash: Some(crash), ..row("one", WorkerState::Running) }];
        assert_eq!(
            workers_summary(&rows),
            "1 of 1 workers running; 3 restarts; last death: one, crash 9: panic: out of\\nbounds, event 65 in flight"
        );
    }
}
