//! `/v1/quarantine`: lists, shows, replays and drops quarantined events.

use super::{authorized::Authorized, valid::Valid};
use crate::{
    handle::ApiHandle,
    http::problem::{Problem, json_response, typed_response},
    stores::PageQuery,
};
use axum::{
    extract::{Path, Query, State},
    http::StatusCode,
    response::Response,
};
use bulkhead_proto::wire::{control::Request, ids::Seq, quarantine::Entry};

pub(super) async fn list(
    State(api): State<ApiHandle>,
    Valid(Query(query)): Valid<Query<PageQuery<Entry>>>,
) -> Result<Response, Problem> {
    json_response(&api.read_page(|stores| &stores.quarantine, query).await?)
}

pub(super) async fn show(
    State(api): State<ApiHandle>,
    Valid(Path(seq)): Valid<Path<Seq>>,
) -> Result<Response, Problem> {
    json_response(&api.quarantined_event(seq).await?)
}

pub(super) async fn discard(
    _: Authorized,
    State(api): State<ApiHandle>,
    Valid(Path(seq)): Valid<Path<Seq>>,
) -> Result<Response, Problem> {
    api.supervisor().request(Request::RemoveQuarantined { seq, replayed_as: None }).await?;
    json_response(&serde_json::json!({ "dropped": seq }))
}

pub(super) async fn replay(
    _: Authorized,
    State(api): State<ApiHandle>,
    Valid(Path(seq)): Valid<Path<Seq>>,
) -> Result<Response, Problem> {
    let new = api.replay(seq).await?;
    let body = serde_json::json!({ "replayed": seq, "seq": new }).to_string();
    Ok(typed_response(StatusCode::ACCEPTED, "application/json", body))
}
