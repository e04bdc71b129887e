//! `GET /v1/workers`: the workers as the supervisor published them on the status page.

use crate::{
    clock::now_ms,
    handle::ApiHandle,
    http::problem::{Problem, json_response},
};
use axum::{extract::State, response::Response};
use bulkhead_proto::wire::{
    ids::Generation,
    role::Role,
    status::{CrashRow, WorkerRow, WorkerState},
};
use serde::Serialize;
use std::fs;

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
    last_crash: Option<CrashRow>,
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
        last_crash: worker.last_crash,
    }
}

/// The resident memory of a process, from proc_pid_statm(5); `None` if the process has ended.
fn rss_bytes(pid: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_has_memory_and_an_absent_one_has_none() {
        assert!(rss_bytes(std::process::id()).is_some_and(|bytes| bytes > 0));
        assert_eq!(rss_bytes(u32::MAX), None);
    }
}
