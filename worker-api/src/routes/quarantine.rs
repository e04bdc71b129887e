//! `/v1/quarantine`: events that were set aside, to be looked at, appended once more, or dropped.

use crate::{
    Authorized, Bulkhead,
    folders::Wanted,
    problem::{Kind, Problem, json, with_type},
};
use axum::{
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::StatusCode,
    response::Response,
};
use bulkhead_proto::{control::Request, ids::Seq, quarantine::Entry};

type Number = Result<Path<u64>, PathRejection>;

pub(super) async fn list(
    State(bulkhead): State<Bulkhead>,
    wanted: Result<Query<Wanted<Entry>>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(wanted) = wanted.map_err(|bad| Problem::new(Kind::BadRequest, bad.body_text()))?;
    json(&bulkhead.page(|folders| &folders.quarantine, wanted).await?)
}

pub(super) async fn show(State(bulkhead): State<Bulkhead>, seq: Number) -> Result<Response, Problem> {
    json(&bulkhead.set_aside(number(seq)?).await?)
}

pub(super) async fn discard(
    _: Authorized,
    State(bulkhead): State<Bulkhead>,
    seq: Number,
) -> Result<Response, Problem> {
    let seq = number(seq)?;
    bulkhead.desk().ask(Request::Drop { seq, replayed_as: None }).await?;
    json(&serde_json::json!({ "dropped": seq }))
}

pub(super) async fn replay(
    _: Authorized,
    State(bulkhead): State<Bulkhead>,
    seq: Number,
) -> Result<Response, Problem> {
    let seq = number(seq)?;
    let new = bulkhead.replay(seq).await?;
    let body = serde_json::json!({ "replayed": seq, "seq": new }).to_string();
    Ok(with_type(StatusCode::ACCEPTED, "application/json", body))
}

fn number(seq: Number) -> Result<Seq, Problem> {
    seq.map(|Path(seq)| Seq(seq)).map_err(|bad| Problem::new(Kind::BadRequest, bad.body_text()))
}
