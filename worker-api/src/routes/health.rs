//! `/livez`, `/healthz`, `/readyz`.

use crate::{
    handle::ApiHandle,
    http::problem::{Problem, json_response, typed_response},
};
use axum::{extract::State, http::StatusCode, response::Response};
use bulkhead_proto::wire::status::WorkerState;
use serde::Serialize;

/// The body of `/readyz`. The status is always 200, because reads are served while this process runs; the body says
/// what is degraded.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Readiness {
    status: &'static str,
    ring: &'static str,
    analytics: WorkerState,
}

pub(super) async fn live() -> Response {
    typed_response(StatusCode::OK, "application/json", r#"{"status":"ok"}"#)
}

pub(super) async fn ready(State(api): State<ApiHandle>) -> Result<Response, Problem> {
    let stats = api.stats();
    let state = stats.analytics.first().map(|row| row.state);
    json_response(&readiness(api.is_full(stats.ring), state))
}

fn readiness(full: bool, analytics: Option<WorkerState>) -> Readiness {
    let analytics = analytics.unwrap_or(WorkerState::Stopped);
    let healthy = !full && analytics == WorkerState::Running;
    Readiness {
        status: if healthy { "ok" } else { "degraded" },
        ring: if full { "full" } else { "ok" },
        analytics,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_reports_a_full_ring_and_the_state_of_the_analysis() {
        use WorkerState::{Parked, Running, Stopped};
        for (full, state, expected) in [
            (false, Some(Running), ("ok", "ok", Running)),
            (true, Some(Running), ("degraded", "full", Running)),
            (false, Some(Parked), ("degraded", "ok", Parked)),
            (false, None, ("degraded", "ok", Stopped)),
        ] {
            let (status, ring, analytics) = expected;
            assert_eq!(readiness(full, state), Readiness { status, ring, analytics });
        }
    }
}
