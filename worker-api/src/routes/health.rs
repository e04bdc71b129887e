//! `/livez`, `/healthz`, `/readyz`.

use crate::{
    Bulkhead,
    problem::{Problem, json, with_type},
};
use axum::{extract::State, http::StatusCode, response::Response};
use bulkhead_proto::wire::status::WorkerState;
use serde::Serialize;

/// What `/readyz` says. Reads are served while anyone is there to ask, so the status is 200; what is amiss is in here.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Readiness {
    status: &'static str,
    ring: &'static str,
    analytics: WorkerState,
}

pub(super) async fn live() -> Response {
    with_type(StatusCode::OK, "application/json", r#"{"status":"ok"}"#)
}

pub(super) async fn ready(State(bulkhead): State<Bulkhead>) -> Result<Response, Problem> {
    let stats = bulkhead.stats();
    let states = stats.analytics.iter().map(|row| row.state);
    json(&readiness(bulkhead.is_full(stats.ring), states))
}

fn readiness(full: bool, mut states: impl Iterator<Item = WorkerState> + Clone) -> Readiness {
    // A process that works counts, whoever stands beside it.
    let running = states.clone().find(|state| *state == WorkerState::Running);
    let analytics = running.or_else(|| states.next()).unwrap_or(WorkerState::Stopped);
    let well = !full && analytics == WorkerState::Running;
    Readiness {
        status: if well { "ok" } else { "degraded" },
        ring: if full { "full" } else { "ok" },
        analytics,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_amiss_is_said() {
        use WorkerState::{Parked, Running, Standby, Stopped};
        for (full, states, wanted) in [
            (false, &[Standby, Running][..], ("ok", "ok", Running)),
            (true, &[Running], ("degraded", "full", Running)),
            (false, &[Parked], ("degraded", "ok", Parked)),
            (false, &[], ("degraded", "ok", Stopped)),
        ] {
            let (status, ring, analytics) = wanted;
            assert_eq!(readiness(full, states.iter().copied()), Readiness { status, ring, analytics });
        }
    }
}
