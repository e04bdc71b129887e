//! `GET /v1/workers`: the workers as the supervisor published them on the status page.

use crate::{
    clock::now_ms,
    handle::ApiHandle,
    http::problem::{Problem, json_response},
};
use axum::{extract::State, response::Response};
use bulkhead_proto::wire::{
    cause::Cause,
    ids::{CrashId, Generation, Seq},
    role::Role,
    status::{CrashRow, WorkerRow, WorkerState, rss_bytes},
};
use jiff::Timestamp;
use serde::Serialize;

#[derive(Serialize)]
struct List {
    items: Vec<Row>,
    /// Always `null`: all workers fit on one page.
    next: Option<String>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    role: Role,
    state: WorkerState,
    generation: Generation,
    pid: Option<u32>,
    restarts: u64,
    uptime_ms: u64,
    rss_bytes: Option<u64>,
    last_crash: Option<Crash>,
}

#[derive(Serialize)]
struct Crash {
    id: CrashId,
    cause: Cause,
    detail: String,
    seq: Option<Seq>,
    at: String,
}

pub(super) async fn list(State(api): State<ApiHandle>) -> Result<Response, Problem> {
    let now = now_ms();
    let items = api.status().workers.into_iter().map(|worker| row(worker, now)).collect();
    json_response(&List { items, next: None })
}

fn row(worker: WorkerRow, now: u64) -> Row {
    Row {
        name: worker.name,
        role: worker.role,
        state: worker.state,
        generation: worker.generation,
        pid: worker.pid,
        restarts: worker.restarts,
        uptime_ms: worker.pid.map_or(0, |_| now.saturating_sub(worker.started_ms)),
        rss_bytes: worker.pid.and_then(rss_bytes),
        last_crash: worker.last_crash.map(crash),
    }
}

fn crash(crash: CrashRow) -> Crash {
    Crash { id: crash.id, cause: crash.cause, detail: crash.detail, seq: crash.seq, at: rfc3339(crash.at_ms) }
}

/// RFC 3339 in UTC, with the millisecond precision of the supervisor; the Unix epoch if the time is out of range.
fn rfc3339(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or_default();
    format!("{:.3}", Timestamp::from_millisecond(ms).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc3339_in_utc() {
        assert_eq!(rfc3339(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(rfc3339(u64::MAX), "1970-01-01T00:00:00.000Z");
    }
}
