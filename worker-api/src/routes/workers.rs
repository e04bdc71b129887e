//! `GET /v1/workers`: the supervisor's word on everyone, from the status board.

use crate::{
    Bulkhead,
    bulkhead::now_ms,
    problem::{Problem, json},
};
use axum::{extract::State, response::Response};
use bulkhead_proto::wire::{
    cause::Cause,
    ids::{CrashId, Generation, Seq},
    role::Role,
    status::{CrashRow, WorkerRow, WorkerState},
};
use jiff::Timestamp;
use serde::Serialize;
use std::fs;

#[derive(Serialize)]
struct List {
    items: Vec<Row>,
    /// All fit one page.
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

pub(super) async fn list(State(bulkhead): State<Bulkhead>) -> Result<Response, Problem> {
    let now = now_ms();
    let items = bulkhead.status().workers.into_iter().map(|worker| row(worker, now)).collect();
    json(&List { items, next: None })
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

/// RFC 3339, UTC, to the millisecond as the supervisor tells it; the epoch for what no calendar holds.
fn rfc3339(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or_default();
    format!("{:.3}", Timestamp::from_millisecond(ms).unwrap_or_default())
}

/// The resident memory of a process, by proc_pid_statm(5). None if it is gone by now.
fn rss_bytes(pid: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_process_has_memory_and_an_absent_one_has_none() {
        assert!(rss_bytes(std::process::id()).is_some_and(|bytes| bytes > 0));
        assert_eq!(rss_bytes(u32::MAX), None);
    }

    #[test]
    fn times_are_rfc3339_in_utc() {
        assert_eq!(rfc3339(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(rfc3339(u64::MAX), "1970-01-01T00:00:00.000Z");
    }
}
