//! The statistics of `/v1/stats`, from one consistent read.

use super::ApiHandle;
use bulkhead_proto::{
    shm::ring::is_nearly_full,
    wire::{
        ids::{Generation, Seq},
        role::Role,
        status::WorkerState,
        time::now_ms,
    },
    worker::link::LinkStats,
};
use serde::Serialize;
use std::sync::atomic::Ordering;

/// The statistics of the service. `accepted == analysed + quarantined + pending`, always.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// All events accepted so far.
    pub accepted: u64,
    /// Events in the committed state.
    pub analysed: u64,
    /// All events quarantined so far, including those that were replayed or dropped since.
    pub quarantined: u64,
    /// Events accepted and not yet committed.
    pub pending: u64,
    /// The last event that the last commit covers; 0 before the first commit.
    pub committed_seq: Seq,
    /// Milliseconds since the last commit; before the first, equal to `lag_ms`.
    pub age_ms: u64,
    /// How many milliseconds the oldest pending event has waited; 0 if none is pending.
    pub lag_ms: u64,
    /// The event ring.
    pub ring: RingUse,
    /// One row for each analysis process.
    pub analytics: Vec<AnalyticsRow>,
}

/// How much of the ring is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RingUse {
    /// Bytes between the last commit and the end of the ring's data.
    pub used_bytes: u64,
    /// The size of the ring in bytes.
    pub capacity_bytes: u64,
}

/// One analysis process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AnalyticsRow {
    /// The index of its partition of the series, from 0. There is only one partition so far.
    pub instance: u32,
    /// Its state.
    pub state: WorkerState,
    /// Its generation.
    pub generation: Generation,
    /// How many times it was restarted.
    pub restarts: u64,
}

impl ApiHandle {
    /// The current statistics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let LinkStats { record, tail, pending, used_bytes, capacity_bytes, oldest_arrival_ms } =
            self.0.link.stats();
        let now = now_ms();
        let since = |ms| now.saturating_sub(ms);
        let lag_ms = oldest_arrival_ms.map_or(0, |ms| u64::try_from(ms).map_or(0, since));
        Stats {
            accepted: tail.accepted,
            analysed: record.analysed,
            quarantined: record.skipped,
            pending,
            committed_seq: record.seq,
            age_ms: if record.commit.0 == 0 { lag_ms } else { since(record.at_ms) },
            lag_ms,
            ring: RingUse { used_bytes, capacity_bytes },
            analytics: self.analytics(),
        }
    }

    /// The analysis: its running process, whatever the state of its standby or successor. Without one, the process that
    /// comes first.
    fn analytics(&self) -> Vec<AnalyticsRow> {
        let workers = self.status().workers;
        let mut rows = workers.iter().filter(|row| row.role == Role::Analytics);
        let running = rows.clone().find(|row| row.state == WorkerState::Running);
        let row = running.or_else(|| rows.next()).map(|row| AnalyticsRow {
            instance: 0,
            state: row.state,
            generation: row.generation,
            restarts: row.restarts,
        });
        row.into_iter().collect()
    }

    /// Whether the ring refused the last batch for lack of space, and is still nearly full.
    pub(crate) fn is_full(&self, ring: RingUse) -> bool {
        is_nearly_full(ring.used_bytes, ring.capacity_bytes) && self.0.ring_full.load(Ordering::Relaxed)
    }
}
