//! `/v1/quarantine`: lists, shows, replays and drops quarantined events.

use super::{authorized::Authorized, valid::Valid};
use crate::{
    handle::{ApiHandle, not_in_quarantine},
    http::problem::{Problem, ProblemKind, json_response, typed_response},
    stores::PageQuery,
};
use axum::{
    extract::{Path, Query, State},
    http::StatusCode,
    response::Response,
};
use bulkhead_proto::wire::{
    cause::Cause,
    control::Request,
    ids::Seq,
    quarantine::{Entry, Filter},
};
use serde::Deserialize;

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
    // A large event takes milliseconds to decode and to write down: not on a thread that answers other requests.
    let shown = api.read_store(
        |stores| &stores.quarantine,
        move |store| Ok(store.read(seq)?.map(|entry| json_response(&entry.complete()))),
    );
    shown.await?.ok_or_else(|| not_in_quarantine(seq))?
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

/// Which events a bulk request concerns: a request without a selection is refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Selection {
    #[serde(default)]
    all: bool,
    series: Option<String>,
    cause: Option<Cause>,
}

impl Selection {
    fn filter(self) -> Result<Filter, Problem> {
        let Self { all, series, cause } = self;
        if all || series.is_some() || cause.is_some() {
            return Ok(Filter { series, cause });
        }
        let detail = "expected a selection: series=PREFIX, cause=CAUSE, or all=true";
        Err(Problem::new(ProblemKind::BadRequest, detail))
    }
}

pub(super) async fn replay_all(
    _: Authorized,
    State(api): State<ApiHandle>,
    Valid(Query(selection)): Valid<Query<Selection>>,
) -> Result<Response, Problem> {
    let mut replayed = 0_u64;
    for seq in api.quarantined(selection.filter()?).await? {
        api.replay(seq)
            .await
            .map_err(|problem| problem.after(&format!("{replayed} events were replayed")))?;
        replayed += 1;
    }
    let body = serde_json::json!({ "replayed": replayed }).to_string();
    Ok(typed_response(StatusCode::ACCEPTED, "application/json", body))
}

pub(super) async fn drop_all(
    _: Authorized,
    State(api): State<ApiHandle>,
    Valid(Query(selection)): Valid<Query<Selection>>,
) -> Result<Response, Problem> {
    let mut dropped = 0_u64;
    for seq in api.quarantined(selection.filter()?).await? {
        let removed = api.supervisor().request(Request::RemoveQuarantined { seq, replayed_as: None }).await;
        removed.map_err(|problem| problem.after(&format!("{dropped} events were dropped")))?;
        dropped += 1;
    }
    json_response(&serde_json::json!({ "dropped": dropped }))
}
