//! `GET /v1/workers`: the workers as the supervisor published them on the status page.

use crate::{
    handle::ApiHandle,
    http::problem::{Problem, json_response},
};
use axum::{extract::State, response::Response};
use bulkhead_proto::wire::{
    status::{WorkerRow, WorkerStatus},
    time::now_ms,
};
use serde::Serialize;

#[derive(Serialize)]
struct List {
    items: Vec<WorkerStatus>,
    /// Always `null`: all workers fit on one page.
    next: Option<String>,
}

pub(super) async fn list(State(api): State<ApiHandle>) -> Result<Response, Problem> {
    let now = now_ms();
    let items = api.status().workers.into_iter().map(|worker| row(worker, now)).collect();
    json_response(&List { items, next: None })
}

/// The uptime of a worker without a process is 0, not `null`.
fn row(worker: WorkerRow, now: u64) -> WorkerStatus {
    let status = worker.status(now);
    WorkerStatus { uptime_ms: Some(status.uptime_ms.unwrap_or_default()), ..status }
}
