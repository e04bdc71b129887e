//! The figures of `/v1/stats`, from one consistent reading.

use super::{Bulkhead, now_ms};
use bulkhead_proto::{
    wire::{
        ids::{Generation, Seq},
        role::Role,
        status::WorkerState,
    },
    worker::link::LinkStats,
};
use serde::Serialize;
use std::sync::atomic::Ordering;

/// The ring counts as full, when it refused a batch, while this part of it or more is in use.
const FULL_SHARE: (u64, u64) = (7, 8);

/// How the service stands. `accepted == analysed + quarantined + pending`, always.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Events ever accepted.
    pub accepted: u64,
    /// Events in the committed state.
    pub analysed: u64,
    /// Events set aside.
    pub quarantined: u64,
    /// Events accepted, not yet committed.
    pub pending: u64,
    /// The last event that the last commit covers; 0 before the first one.
    pub committed_seq: Seq,
    /// Milliseconds since the last commit. Before the first one: as `lag_ms`.
    pub age_ms: u64,
    /// For how many milliseconds the oldest pending event has waited; 0 if none is pending.
    pub lag_ms: u64,
    /// The events ring.
    pub ring: RingUse,
    /// The analysis, a row for each of its processes.
    pub analytics: Vec<AnalyticsRow>,
}

/// How much of the ring is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RingUse {
    /// Bytes between the last commit and the end.
    pub used_bytes: u64,
    /// Bytes in all.
    pub capacity_bytes: u64,
}

/// One process of the analysis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AnalyticsRow {
    /// Which part of the series it is for, from 0. There is one part so far.
    pub instance: u32,
    /// Its state.
    pub state: WorkerState,
    /// Its generation.
    pub generation: Generation,
    /// How often it was started again.
    pub restarts: u64,
}

impl Bulkhead {
    /// How the service stands now.
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

    fn analytics(&self) -> Vec<AnalyticsRow> {
        let rows = self.status().workers.into_iter().filter(|row| row.role == Role::Analytics);
        rows.map(|row| AnalyticsRow {
            instance: 0,
            state: row.state,
            generation: row.generation,
            restarts: row.restarts,
        })
        .collect()
    }

    /// Whether writers are being refused for want of space.
    pub(crate) fn is_full(&self, ring: RingUse) -> bool {
        let crowded = ring.used_bytes >= ring.capacity_bytes / FULL_SHARE.1 * FULL_SHARE.0;
        crowded && self.0.full.load(Ordering::Relaxed)
    }
}
