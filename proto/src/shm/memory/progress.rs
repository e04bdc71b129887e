//! How far the analysis has come, and which events it has not committed yet.

use super::segments::SharedMemory;
use crate::{
    shm::{cursor, ring::Consumer},
    wire::ids::{Generation, Seq},
};
use std::ops::ControlFlow;

/// How far the analysis claims to be. No seq is beyond the last accepted event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnalyticsProgress {
    /// The generation that owns the cursor page, and so `seq` and `steps`.
    pub owner: Generation,
    /// The event in flight, or the last one; 0 if the page names an event that was never accepted.
    pub seq: Seq,
    /// The number of steps: see [`cursor::count_step`].
    pub steps: u64,
    /// The last event in the committed state; 0 if the commit record names an event that was never accepted.
    pub committed: Seq,
    /// Whether events are pending.
    pub pending: bool,
}

impl SharedMemory {
    /// Reads how far the analysis is. No seq of the result is beyond the last accepted event.
    #[must_use]
    pub fn progress(&self) -> AnalyticsProgress {
        // Read the record before the tail: then the tail covers every event that the record counts.
        let (record, tail) = (self.record().unwrap_or_default(), self.tail());
        let page = &self.cursor_view;
        let possible = |seq: Seq| if seq <= tail.last_seq() { seq } else { Seq(0) };
        AnalyticsProgress {
            owner: cursor::owner(page),
            seq: possible(cursor::read_in_flight(page).seq),
            steps: cursor::steps(page),
            committed: possible(record.seq),
            // Compare positions in the ring, as the analysis does, not counts: one wrong count by the API would make the
            // analysis look hung forever.
            pending: record.position != tail.head,
        }
    }

    /// The bytes of a pending event: accepted, not committed. `None` if the ring does not hold it.
    #[must_use]
    pub fn pending(&self, seq: Seq) -> Option<Vec<u8>> {
        let mut bytes = None;
        self.for_each_pending(|found, payload| {
            bytes = (found == seq).then(|| payload.to_vec());
            if found < seq { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        bytes
    }

    /// Calls `visit` with each pending event and its bytes, in order, until `visit` returns `Break`. Reads from the
    /// last commit on, and stops at the first record that does not verify.
    pub fn for_each_pending(&self, mut visit: impl FnMut(Seq, &[u8]) -> ControlFlow<()>) {
        let Some(record) = self.record() else { return };
        let views = (&self.events_view, &self.producer_view);
        let Ok(mut consumer) = Consumer::attach(views.0, views.1, record.position, record.seq) else {
            return;
        };
        let mut payload = Vec::new();
        while let Ok(Some(seq)) = consumer.next(&mut payload) {
            if visit(seq, &payload).is_break() {
                return;
            }
        }
    }
}
