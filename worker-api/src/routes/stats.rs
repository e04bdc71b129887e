//! `GET /v1/stats`.

use crate::{
    counters::Counters,
    handle::{ApiHandle, Stats},
    http::problem::{Problem, json_response},
};
use axum::{extract::State, response::Response};
use bulkhead_proto::shm::table::CommitRecord;
use serde::Serialize;

/// The statistics of the service, and of the API process that answers.
#[derive(Serialize)]
struct Answer<'c> {
    #[serde(flatten)]
    stats: Stats,
    series: SeriesUse,
    api: &'c Counters,
}

/// How many series there are.
#[derive(Serialize)]
struct SeriesUse {
    /// Series with a state of their own.
    count: u32,
    /// `analytics.max_series`.
    max: u32,
    /// Whether events of further series were counted together.
    merged: bool,
    /// Series that were ever removed on request.
    removed: u64,
    /// Series that ever ended because they got no event for `analytics.expire`.
    expired: u64,
}

pub(super) async fn show(State(api): State<ApiHandle>) -> Result<Response, Problem> {
    let merged = api.has_merged_series();
    let CommitRecord { series, removed, expired, .. } = api.last_commit();
    let count = series.saturating_sub(merged.into());
    let series = SeriesUse { count, max: api.settings().max_series, merged, removed, expired };
    json_response(&Answer { stats: api.stats(), series, api: api.counters() })
}
