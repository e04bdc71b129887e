//! `GET /v1/crashes`: why every worker that died did, the newest first.

use crate::{
    Bulkhead,
    folders::Wanted,
    problem::{Kind, Problem, json},
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
    State(bulkhead): State<Bulkhead>,
    wanted: Result<Query<Wanted<Report>>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(wanted) = wanted?;
    json(&bulkhead.page(|folders| &folders.crashes, wanted).await?)
}

pub(super) async fn show(
    State(bulkhead): State<Bulkhead>,
    id: Result<Path<u64>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(id) = id?;
    let report = bulkhead.read(|folders| &folders.crashes, move |folder| folder.read(CrashId(id))).await?;
    let unknown = || Problem::new(Kind::NotFound, format!("there is no report of crash {id}"));
    json(&report.ok_or_else(unknown)?)
}
