//! Removes series that have expired, a few slots at a time.

use super::series::OpenSeries;
use crate::Analysis;
use bulkhead_proto::shm::table::{BodySlot, TableMemory, TableWriter};

impl<A: Analysis> OpenSeries<A> {
    /// Looks at some series, if a step of the sweep is due, and removes those that have ended. `now`: no event in the ring
    /// arrived earlier than this by more than the interval of the rounds.
    pub(super) fn sweep(&mut self, table: &TableWriter<impl TableMemory>, now: i64) {
        let slots = table.record().slots;
        let Some(step) = self.expiry.next_step(slots, now) else { return };
        let end = step.end;
        for slot in step.map(BodySlot) {
            let Some(last_arrival) = self.last_arrival(table, slot) else { continue };
            if self.expiry.is_removable(last_arrival, now) {
                self.expire(table, slot);
            }
        }
        self.expiry.end_step(end, slots, now);
    }
}
