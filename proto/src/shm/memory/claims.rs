//! What shared memory shows of the analysis, dead or alive.

use super::segments::SharedMemory;
use crate::{
    shm::{
        cursor::{self, Activity, AllocationFailure, InFlight, PanicRecord, SignalInfo},
        ring::Consumer,
        table::CommitRecord,
    },
    wire::ids::{Generation, Seq},
};

/// What shared memory shows of the analysis, dead or alive. Values are checked against memory that
/// other processes own, if there is such memory. Beyond that, they are claims of the analysis.
#[derive(Clone, Debug)]
pub struct Claims {
    /// The generation that owns the cursor page. A generation that died before it took the page over had nothing in flight.
    pub owner: Generation,
    /// The event that was being applied, or whose series was being loaded, if there was one. committed < seq <= accepted.
    pub in_flight: Option<Seq>,
    /// The last event of the commit that was under way, if there was one. In the same range.
    pub committing: Option<Seq>,
    /// What the analysis claims to have been doing, unchecked.
    pub claimed: InFlight,
    /// The last event in the committed state.
    pub committed: Seq,
    /// The last event that was accepted.
    pub accepted: Seq,
    /// The panic record.
    pub panic_record: Option<PanicRecord>,
    /// The allocation that failed, if the event that was in flight then is still in flight.
    pub allocation_failure: Option<AllocationFailure>,
    /// The fault signal that was recorded last, and the generation that recorded it.
    pub signal: Option<(Generation, SignalInfo)>,
    /// The bytes of the event in flight, or of the last event of the commit. `None` if the ring has no such record at the
    /// position that the analysis claims.
    pub payload: Option<Vec<u8>>,
}

impl SharedMemory {
    /// Reads what the memory says about the analysis, dead or alive.
    #[must_use]
    pub fn claims(&self) -> Claims {
        let (record, tail) = (self.record().unwrap_or_default(), self.tail());
        let all_committed = record.analysed.checked_add(record.skipped) == Some(tail.accepted);
        // After a gap in the seqs, the next seq does not show which event was accepted last.
        let accepted = if all_committed { record.seq } else { tail.last_seq() };
        let (committed, page) = (record.seq, &self.cursor_view);
        let claimed = cursor::read_in_flight(page);
        let possible = Some(claimed.seq).filter(|&seq| committed < seq && seq <= accepted);
        let (in_flight, committing) = match claimed.activity {
            Activity::Apply | Activity::Load => (possible, None),
            Activity::Commit => (None, possible),
            Activity::Idle => (None, None),
        };
        Claims {
            owner: cursor::owner(page),
            in_flight,
            committing,
            claimed,
            committed,
            accepted,
            panic_record: cursor::panic_record(page),
            allocation_failure: cursor::allocation_failure(page),
            signal: cursor::recorded_signal(page),
            payload: in_flight.or(committing).and_then(|seq| self.payload_at_cursor(&record, seq)),
        }
    }

    /// The bytes of the event in flight, read at the position that the analysis claims. The record there is checked like any
    /// other record of the ring.
    fn payload_at_cursor(&self, record: &CommitRecord, seq: Seq) -> Option<Vec<u8>> {
        let position = cursor::read_position(&self.cursor_view);
        let before = Seq(seq.0.checked_sub(1)?);
        if position < record.position {
            return None;
        }
        let mut consumer = Consumer::attach(&self.events_view, &self.producer_view, position, before).ok()?;
        let mut payload = Vec::new();
        let found = consumer.next(&mut payload).ok()??;
        (found == seq).then_some(payload)
    }
}
