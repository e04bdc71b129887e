//! `POST /v1/faults/{worker}/{kind}`: asks the supervisor to induce a fault.

use super::{authorized::Authorized, fallback::not_found};
use crate::{
    handle::ApiHandle,
    http::problem::{Problem, ProblemKind, typed_response},
};
use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    http::StatusCode,
    response::Response,
};
use bulkhead_proto::wire::{
    control::{self, MAX_TEXT},
    fault::FaultKind,
    text::cut,
};

pub(super) async fn induce(
    _: Authorized,
    State(api): State<ApiHandle>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    // If faults are not enabled, the response is the one for an unknown route: an attacker learns nothing.
    if !api.settings().faults {
        return Err(not_found(request).await);
    }
    let Path((worker, kind)) = path?;
    let kind = kind
        .parse::<FaultKind>()
        .map_err(|unknown| Problem::new(ProblemKind::NotFound, unknown.to_string()))?;
    // No worker has a name this long. The supervisor answers "not found" for the cut name too.
    let worker = cut(&worker, MAX_TEXT).to_owned();
    let body = serde_json::json!({ "worker": worker, "fault": kind }).to_string();
    api.supervisor().request(control::Request::Fault { worker, kind }).await?;
    Ok(typed_response(StatusCode::ACCEPTED, "application/json", body))
}
