//! `GET /v1/crashes` and `GET /v1/crashes/{id}`: crash reports, newest first.

use crate::{
    handle::ApiHandle,
    http::problem::{Problem, ProblemKind, json_response},
    stores::PageQuery,
};
use axum::{
    extract::{
        Path, Query, State,
        rejection::{PathRejection, QueryRejection},
    },
    response::Response,
};
use bulkhead_proto::wire::{crash::Report, ids::CrashId};

pub(super) async fn list(
    State(api): State<ApiHandle>,
    query: Result<Query<PageQuery<Report>>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(query) = query?;
    json_response(&api.read_page(|stores| &stores.crashes, query).await?)
}

pub(super) async fn show(
    State(api): State<ApiHandle>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(id) = id?;
    let report = api.read_store(|stores| &stores.crashes, move |store| store.read(CrashId(id))).await?;
    let not_found = || Problem::new(ProblemKind::NotFound, format!("there is no report of crash {id}"));
    json_response(&report.ok_or_else(not_found)?)
}
