//! `POST /v1/faults/{worker}/{kind}`: asks the supervisor for an induced death.

use super::not_found;
use crate::{
    Authorized, Bulkhead,
    problem::{Kind, Problem, with_type},
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
    State(bulkhead): State<Bulkhead>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    // Not enabled, it is not there: an attacker learns nothing.
    if !bulkhead.settings().faults {
        return Err(not_found(request).await);
    }
    let Path((worker, kind)) = path?;
    let kind =
        kind.parse::<FaultKind>().map_err(|unknown| Problem::new(Kind::NotFound, unknown.to_string()))?;
    // No name is so long, cut or not: the supervisor says so.
    let worker = cut(&worker, MAX_TEXT).to_owned();
    let body = serde_json::json!({ "worker": worker, "fault": kind }).to_string();
    bulkhead.desk().ask(control::Request::Fault { worker, kind }).await?;
    Ok(with_type(StatusCode::ACCEPTED, "application/json", body))
}
