//! The API dies while it appends.

use crate::{
    child::Region,
    fixture::{CAPACITY, MemoryFixture, SLOTS},
    recovery::EventCounts,
    scenario::{History, Observer, Scenario},
    test_event::{MAX_RECORD, MIN_RECORD, TestEvent, batch, test_event},
};
use anyhow::{Context as _, Result, ensure};
use bulkhead_proto::{
    shm::{
        access::index,
        ring::{AppendError, Consumer},
    },
    wire::{ids::Seq, role::Role},
    worker::{
        fds::InheritedFds,
        link::{AnalyticsLink, ApiLink},
    },
};

/// An append to a ring whose head is at a given position.
struct Append {
    name: &'static str,
    /// The position of the ring's head before the append, in bytes.
    end: usize,
    released: Released,
    method: Method,
}

/// What is appended, and how.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    /// [`THREE_EVENTS`] as a batch.
    Batch,
    /// The same; the child also opens the link within its region.
    Attach,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Released {
    /// All but a few events are released.
    AllButFew,
    /// Too little is released for the batch to fit.
    TooLittle,
    /// Everything is released at once, in a ring that was nearly full.
    AllAtOnce,
}

const fn append(name: &'static str, end: usize, released: Released) -> Append {
    Append { name, end, released, method: Method::Batch }
}

const RING_BYTES: usize = index(CAPACITY);

/// All append scenarios.
pub(super) const ALL: &[&dyn Scenario] = &[
    &append(FIRST_ROUND, 600, Released::AllButFew),
    &append("append", RING_BYTES + 600, Released::AllButFew),
    &Append { method: Method::Attach, ..append("append_with_attach", RING_BYTES + 600, Released::AllButFew) },
    &append("append_with_a_pad_first", 2 * RING_BYTES - 32, Released::AllButFew),
    &append("append_with_a_pad_within", 2 * RING_BYTES - 128, Released::AllButFew),
    &append("append_exactly_to_the_end", 2 * RING_BYTES - 192, Released::AllButFew),
    &append("append_from_the_beginning", 2 * RING_BYTES, Released::AllButFew),
    &append("append_in_freed_space", RING_BYTES + 1400, Released::AllAtOnce),
    &append("append_to_a_full_ring", RING_BYTES + 1400, Released::TooLittle),
];

/// The append that does not need to read the released position, so that it takes the same steps in every run.
pub const FIRST_ROUND: &str = "append_in_the_first_round";

/// The appended events: 192 bytes; each record has another size.
pub const THREE_EVENTS: &[TestEvent] =
    &[test_event("ATL", 31, 56), test_event("BOS", 32, 72), test_event("DTW", 33, 64)];

impl Scenario for Append {
    fn name(&self) -> &'static str {
        self.name
    }

    fn role(&self) -> Role {
        Role::Api
    }

    fn prepare(&self, fixture: &MemoryFixture) -> Result<History> {
        let mut history = History::default();
        advance_to(fixture, &mut history, self.end, self.released)?;
        history.data.extend(THREE_EVENTS);
        Ok(history)
    }

    fn execute(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        let mut batch = batch(THREE_EVENTS)?;
        let answer = match self.method {
            Method::Batch => {
                let link = ApiLink::open(fds, SLOTS)?;
                region.run(|| Ok(link.append(&mut batch)))
            }
            Method::Attach => region.run(|| Ok(ApiLink::open(fds, SLOTS)?.append(&mut batch))),
        }?;
        let full = matches!(answer, Err(AppendError::Full { .. }));
        ensure!(full == (self.released == Released::TooLittle), "{answer:?}");
        Ok(())
    }

    fn check(&self, copy: &MemoryFixture, history: &History) -> Result<usize> {
        let EventCounts { accepted, committed } = history.before;
        let after = EventCounts { accepted: accepted + THREE_EVENTS.len(), committed };
        history.stage(copy, &[history.before, after][..=self.last_stage()])
    }

    fn last_stage(&self) -> usize {
        usize::from(self.released != Released::TooLittle)
    }

    fn observer(&self, live: &MemoryFixture) -> Result<Option<Observer>> {
        // An analysis that had read everything before.
        let stats = ApiLink::open_in_process(&live.memory)?.stats();
        let AnalyticsLink { events, producer, .. } = AnalyticsLink::open_in_process(&live.memory)?;
        let (head, seq) = (stats.tail.head, stats.tail.last_seq());
        let mut consumer = Consumer::attach(events, producer, head, seq)?;
        let mut payload = Vec::new();
        Ok(Some(Box::new(move |history| {
            while let Some(seq) = consumer.next(&mut payload)? {
                let event = history.data.get(usize::try_from(seq.0)? - 1).context("an unexpected event")?;
                ensure!(event.matches(&payload), "event {seq} is not {event:?}: {payload:?}");
            }
            let read = consumer.seq().0 - seq.0;
            ensure!(
                read == 0 || consumer.seq() == Seq(history.data.len() as u64),
                "a part of a batch: {read} events"
            );
            Ok(usize::from(read > 0))
        })))
    }
}

/// Appends and commits until the ring's head is at `target`.
fn advance_to(
    fixture: &MemoryFixture,
    history: &mut History,
    target: usize,
    released: Released,
) -> Result<()> {
    for value in 0.. {
        let head = index(fixture.memory.tail().head.0);
        if head == target {
            break;
        }
        let size = size_toward(target - head, RING_BYTES - head % RING_BYTES);
        let nothing_released = released != Released::AllButFew && target - head <= RING_BYTES - 8;
        let pending = history.before.accepted + 1 - history.before.committed;
        let kept = if released == Released::AllButFew { 3 } else { 0 };
        let commit = if nothing_released { 0 } else { pending.saturating_sub(kept) };
        history.append_and_commit(
            fixture,
            &[test_event(["ATL", "BOS", "CLT"][value as usize % 3], value, size)],
            commit,
        )?;
    }
    history.append_and_commit(fixture, &[], if released == Released::AllAtOnce { usize::MAX } else { 0 })
}

/// The largest record after which a record can still end exactly at the target and at the ring's end.
fn size_toward(target: usize, end: usize) -> usize {
    let fits = |size: usize, left: usize| size == left || size + MIN_RECORD <= left;
    let reachable = |size: &usize| fits(*size, target) && fits(*size, end);
    (MIN_RECORD..=MAX_RECORD).rev().step_by(8).find(reachable).unwrap_or(MIN_RECORD)
}
