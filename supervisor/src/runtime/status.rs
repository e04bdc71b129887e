//! Collects what `bulkhead status` shows, from the state and from shared memory.

use super::clock;
use crate::{
    config::Config,
    control::protocol::{LastCrash, LinkStatus, RingStatus, StatusReport, WorkerStatus},
    core::{State, status},
};
use bulkhead_proto::{
    shm::memory::SharedMemory,
    wire::status::{CrashRow, WorkerRow, rss_bytes},
};

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
        rss_bytes: worker.pid.and_then(rss_bytes),
        last_crash: worker.last_crash.map(crash),
    }
}

fn crash(crash: CrashRow) -> LastCrash {
    let at = i64::try_from(crash.at_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    LastCrash {
        id: crash.id,
        cause: crash.cause,
        detail: crash.detail,
        seq: crash.seq,
        at: at.unwrap_or(jiff::Timestamp::UNIX_EPOCH),
    }
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
