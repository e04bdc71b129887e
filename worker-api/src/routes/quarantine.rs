//! `/v1/quarantine`: lists, shows, replays and drops quarantined events.

use super::authorized::Authorized;
use crate::{
    handle::ApiHandle,
    http::problem::{Problem, json_response, typed_response},
    stores::PageQuery,
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

type SeqParam = Result<Path<u64>, PathRejection>;

pub(super) async fn list(
    State(api): State<ApiHandle>,
    query: Result<Query<PageQuery<Entry>>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    json_response(&api.read_page(|stores| &stores.quarantine, query).await?)
}

pub(super) async fn show(State(api): State<ApiHandle>, seq: SeqParam) -> Result<Response, Problem> {
    json_response(&api.quarantined_event(Seq(seq?.0)).await?)
}

pub(super) async fn discard(
    _: Authorized,
    State(api): State<ApiHandle>,
    seq: SeqParam,
) -> Result<Response, Problem> {
    let seq = Seq(seq?.0);
    api.supervisor().request(Request::RemoveQuarantined { seq, replayed_as: None }).await?;
    json_response(&serde_json::json!({ "dropped": seq }))
}

pub(super) async fn replay(
    _: Authorized,
    State(api): State<ApiHandle>,
    seq: SeqParam,
) -> Result<Response, Problem> {
    let seq = Seq(seq?.0);
    let new = api.replay(seq).await?;
    let body = serde_json::json!({ "replayed": seq, "seq": new }).to_string();
    Ok(typed_response(StatusCode::ACCEPTED, "application/json", body))
}
