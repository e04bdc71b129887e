//! Collects what `bulkhead status` shows, from the state and from shared memory.

use super::{
    child::{Children, OutsideGroup},
    clock,
};
use crate::{
    config::Config,
    control::protocol::{LinkStatus, RingStatus, SeriesStatus, StatusReport},
    core::{State, status},
};
use bulkhead_proto::shm::memory::SharedMemory;

/// Collects the report.
pub(super) fn collect(
    config: &Config,
    children: &Children,
    state: &State,
    memory: &SharedMemory,
) -> StatusReport {
    let now_ms = clock::now().unix_ms;
    let status = status(state);
    let OutsideGroup { of_worker, of_unknown } = children.outside_group();
    StatusReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: status.pid,
        uptime_ms: now_ms.saturating_sub(status.started_ms),
        listen: children.spawner.listener.address.to_string(),
        state_dir: config.state_dir.display().to_string(),
        faults: status.faults,
        workers: status.workers.into_iter().map(|worker| worker.status(now_ms)).collect(),
        outside_group: of_worker,
        orphans: of_unknown,
        link: link(memory, config),
    }
}

/// One consistent reading: the commit record first, so that everything that it counts was accepted before the
/// tail is read. The analysis writes the record; whatever it contains, nothing here overflows.
fn link(memory: &SharedMemory, config: &Config) -> LinkStatus {
    let capacity_bytes = config.ring_capacity;
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
        series: SeriesStatus { count: record.series, max: config.max_series },
    }
}
