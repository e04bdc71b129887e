//! `GET /v1/crashes` and `GET /v1/crashes/{id}`: crash reports, newest first.

use super::valid::Valid;
use crate::{
    handle::ApiHandle,
    http::problem::{Problem, ProblemKind, json_response},
    stores::PageQuery,
};
use axum::{
    extract::{Path, Query, State},
    response::Response,
};
use bulkhead_proto::wire::{crash::Report, ids::CrashId};

pub(super) async fn list(
    State(api): State<ApiHandle>,
    Valid(Query(query)): Valid<Query<PageQuery<Report>>>,
) -> Result<Response, Problem> {
    json_response(&api.read_page(|stores| &stores.crashes, query).await?)
}

pub(super) async fn show(
    State(api): State<ApiHandle>,
    Valid(Path(id)): Valid<Path<CrashId>>,
) -> Result<Response, Problem> {
    let report = api.read_store(|stores| &stores.crashes, move |store| store.read(id)).await?;
    let not_found = || Problem::new(ProblemKind::NotFound, format!("there is no report of crash {id}"));
    json_response(&report.ok_or_else(not_found)?)
}
