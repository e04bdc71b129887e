//! Collects what `bulkhead status` shows, from the state and from shared memory.

use super::clock;
use crate::{
    config::Config,
    control::protocol::{LinkStatus, RingStatus, StatusReport, WorkerStatus},
    core::{State, status},
};
use bulkhead_proto::{shm::memory::SharedMemory, wire::status::WorkerRow};

/// Collects the report.
pub(super) fn collect(config: &Config, listen: String, state: &State, memory: &SharedMemory) -> StatusReport {
    let now_ms = clock::now().unix_ms;
    let status = status(state);
    StatusReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: status.pid,
        uptime_ms: now_ms.saturating_sub(status.started_ms),
        listen,
        state_dir: std::path::absolute(&config.state_dir).unwrap_or_default().display().to_string(),
        faults: status.faults,
        workers: status.workers.into_iter().map(|worker| row(worker, now_ms)).collect(),
        link: link(memory, config.ring_capacity),
    }
}

fn row(worker: WorkerRow, now_ms: u64) -> WorkerStatus {
    WorkerStatus {
        name: worker.name,
        role: worker.role,
        state: worker.state,
        generation: worker.generation,
        pid: worker.pid,
        restarts: worker.restarts,
        uptime_ms: worker.pid.map(|_| now_ms.saturating_sub(worker.started_ms)),
        rss_bytes: worker.pid.and_then(resident),
        last_crash: worker.last_crash,
    }
}

/// `VmRSS` of proc_pid_status(5), in bytes.
fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    kib.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// One consistent reading: the commit record first, so that everything that it counts was accepted before the
/// tail is read. The analysis writes the record; whatever it contains, nothing here overflows.
fn link(memory: &SharedMemory, capacity_bytes: u64) -> LinkStatus {
    let record = memory.record().unwrap_or_default();
    let tail = memory.tail();
    LinkStatus {
        accepted: tail.accepted,
        analysed: record.analysed,
        quarantined: record.skipped,
        pending: tail.accepted.saturating_sub(record.analysed.saturating_add(record.skipped)),
        committed_seq: record.seq,
        ring: RingStatus {
            used_bytes: tail.head.0.saturating_sub(record.position.0).min(capacity_bytes),
            capacity_bytes,
        },
    }
}
