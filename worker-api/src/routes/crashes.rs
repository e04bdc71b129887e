//! `GET /v1/crashes` and `GET /v1/crashes/{id}`: crash reports, newest first.

use super::valid::Valid;
use crate::{
    handle::{ApiHandle, records::check_limit},
    http::problem::{Problem, ProblemKind, json_response},
    stores::PAGE_LIMIT,
};
use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use bulkhead_proto::wire::{cause::Cause, crash::Filter, ids::CrashId};
use serde::Deserialize;

/// The query of a list. The fields of [`Filter`] are repeated: serde cannot refuse unknown fields beside flattened ones.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    limit: Option<usize>,
    after: Option<CrashId>,
    worker: Option<String>,
    cause: Option<Cause>,
}

pub(super) async fn list(
    State(api): State<ApiHandle>,
    Valid(Query(ListQuery { limit, after, worker, cause })): Valid<Query<ListQuery>>,
) -> Result<Response, Problem> {
    let limit = check_limit(limit.unwrap_or(PAGE_LIMIT), PAGE_LIMIT)?;
    let filter = Filter { worker, cause };
    let read = api.read_store(
        |stores| &stores.crashes,
        move |store| store.page(after, limit, |report| filter.matches(report)),
    );
    json_response(&read.await?)
}

pub(super) async fn show(
    State(api): State<ApiHandle>,
    Valid(Path(id)): Valid<Path<CrashId>>,
) -> Result<Response, Problem> {
    let report = api.read_store(|stores| &stores.crashes, move |store| store.read(id)).await?;
    let not_found = || Problem::new(ProblemKind::NotFound, format!("there is no report of crash {id}"));
    json_response(&report.ok_or_else(not_found)?)
}
