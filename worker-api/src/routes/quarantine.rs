//! `/v1/quarantine`: events that were set aside, to be looked at, appended once more, or dropped.

use crate::{
    Authorized, Bulkhead,
    folders::Wanted,
    problem::{Problem, json, with_type},
};
use axum::{
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::StatusCode,
    response::Response,
};
use bulkhead_proto::wire::{control::Request, ids::Seq, quarantine::Entry};

type Number = Result<Path<u64>, PathRejection>;

pub(super) async fn list(
    State(bulkhead): State<Bulkhead>,
    wanted: Result<Query<Wanted<Entry>>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(wanted) = wanted?;
    json(&bulkhead.page(|folders| &folders.quarantine, wanted).await?)
}

pub(super) async fn show(State(bulkhead): State<Bulkhead>, seq: Number) -> Result<Response, Problem> {
    json(&bulkhead.set_aside(Seq(seq?.0)).await?)
}

pub(super) async fn discard(
    _: Authorized,
    State(bulkhead): State<Bulkhead>,
    seq: Number,
) -> Result<Response, Problem> {
    let seq = Seq(seq?.0);
    bulkhead.desk().ask(Request::RemoveQuarantined { seq, replayed_as: None }).await?;
    json(&serde_json::json!({ "dropped": seq }))
}

pub(super) async fn replay(
    _: Authorized,
    State(bulkhead): State<Bulkhead>,
    seq: Number,
) -> Result<Response, Problem> {
    let seq = Seq(seq?.0);
    let new = bulkhead.replay(seq).await?;
    let body = serde_json::json!({ "replayed": seq, "seq": new }).to_string();
    Ok(with_type(StatusCode::ACCEPTED, "application/json", body))
}
