//! The API dies while it appends.

use crate::{
    child::Region,
    datum::{Datum, LARGEST, SMALLEST, batch, datum},
    recovery::Reached,
    scenario::{History, Scenario, Witness},
    world::{CAPACITY, World},
};
use anyhow::{Context as _, Result, ensure};
use bulkhead_proto::{
    shm::{
        access::index,
        ring::{AppendError, Appended, Appender, Consumer},
        segment::{Kind, ReadWrite},
    },
    wire::{
        ids::{Position, Seq},
        role::Role,
    },
    worker::{
        fds::{FdName, InheritedFds},
        link::{AnalyticsLink, ApiLink},
    },
};

/// An append to a ring that ends at a given position.
struct Append {
    name: &'static str,
    /// Where the ring ends before, in bytes.
    end: usize,
    released: Released,
    how: How,
}

/// What is appended, and how.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// [`THREE`], in a batch.
    Batch,
    /// The same, and the child also opens the link in its stepped part.
    Attach,
    /// The first of [`THREE`], as a payload at hand.
    Payload,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Released {
    /// All but a few events.
    Nearly,
    /// So little that the batch does not fit.
    Little,
    /// Everything, at once, in a ring that was nearly full.
    Behind,
}

const fn append(name: &'static str, end: usize, released: Released) -> Append {
    Append { name, end, released, how: How::Batch }
}

const fn payload(name: &'static str, end: usize) -> Append {
    Append { how: How::Payload, ..append(name, end, Released::Nearly) }
}

const ROUND: usize = index(CAPACITY);

/// All appends.
pub(super) const ALL: &[&dyn Scenario] = &[
    &append(FIRST_ROUND, 600, Released::Nearly),
    &append("append", ROUND + 600, Released::Nearly),
    &Append { how: How::Attach, ..append("append_with_attach", ROUND + 600, Released::Nearly) },
    &append("append_with_a_pad_first", 2 * ROUND - 32, Released::Nearly),
    &append("append_with_a_pad_within", 2 * ROUND - 128, Released::Nearly),
    &append("append_exactly_to_the_end", 2 * ROUND - 192, Released::Nearly),
    &append("append_from_the_beginning", 2 * ROUND, Released::Nearly),
    &append("append_in_freed_space", ROUND + 1400, Released::Behind),
    &append("append_to_a_full_ring", ROUND + 1400, Released::Little),
    &payload("append_payload_in_the_first_round", 600),
    &payload("append_payload", ROUND + 600),
    &payload("append_payload_with_a_pad", 2 * ROUND - 48),
    &payload("append_payload_exactly_to_the_end", 2 * ROUND - 56),
    &payload("append_payload_from_the_beginning", 2 * ROUND),
];

/// The append that never asks what was released, and takes the same steps in every run.
pub const FIRST_ROUND: &str = "append_in_the_first_round";

/// What is appended: 192 bytes; no record is like another.
pub const THREE: &[Datum] = &[datum("ATL", 31, 56), datum("BOS", 32, 72), datum("DTW", 33, 64)];

impl Append {
    fn data(&self) -> &'static [Datum] {
        if self.how == How::Payload { &THREE[..1] } else { THREE }
    }
}

/// As a supervisor restores a snapshot, or a bench feeds a ring.
fn append_payload(fds: &mut InheritedFds, region: &Region) -> Result<Result<Appended, AppendError>> {
    let events = ReadWrite::map(fds.take(FdName::Events)?, Kind::Events)?;
    let page = ReadWrite::map(fds.take(FdName::Producer)?, Kind::Producer)?;
    let mut appender = Appender::attach(events, page);
    let head = appender.tail().head;
    // Of a ring that is nearly released, at most this much is pending.
    let released = || Position(head.0.saturating_sub(CAPACITY / 4));
    let payload = THREE[0].payload()?;
    region.run(|| Ok(appender.append_payload(&payload, released)))
}

impl Scenario for Append {
    fn name(&self) -> &'static str {
        self.name
    }

    fn role(&self) -> Role {
        Role::Api
    }

    fn prepare(&self, world: &World) -> Result<History> {
        let mut history = History::default();
        lead_to(world, &mut history, self.end, self.released)?;
        history.data.extend(self.data());
        Ok(history)
    }

    fn act(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        let mut batch = batch(THREE)?;
        let answer = match self.how {
            How::Batch => {
                let link = ApiLink::open(fds)?;
                region.run(|| Ok(link.append(&mut batch)))
            }
            How::Attach => region.run(|| Ok(ApiLink::open(fds)?.append(&mut batch))),
            How::Payload => append_payload(fds, region),
        }?;
        let full = matches!(answer, Err(AppendError::Full { .. }));
        ensure!(full == (self.released == Released::Little), "{answer:?}");
        Ok(())
    }

    fn judge(&self, copy: &World, history: &History) -> Result<usize> {
        let Reached { accepted, committed } = history.before;
        let after = Reached { accepted: accepted + self.data().len(), committed };
        history.stage(copy, &[history.before, after][..=self.last_stage()])
    }

    fn last_stage(&self) -> usize {
        usize::from(self.released != Released::Little)
    }

    fn witness(&self, live: &World) -> Result<Option<Witness>> {
        // An analysis that had read everything before.
        let figures = ApiLink::open_in_process(&live.memory)?.stats();
        let AnalyticsLink { events, producer, .. } = AnalyticsLink::open_in_process(&live.memory)?;
        let (head, seq) = (figures.tail.head, figures.tail.last_seq());
        let mut consumer = Consumer::attach(events, producer, head, seq)?;
        let mut payload = Vec::new();
        Ok(Some(Box::new(move |history| {
            while let Some(seq) = consumer.next(&mut payload)? {
                let datum = history.data.get(usize::try_from(seq.0)? - 1).context("an event too many")?;
                ensure!(datum.is(&payload), "event {seq} is not {datum:?}: {payload:?}");
            }
            let read = consumer.seq().0 - seq.0;
            ensure!(read == 0 || consumer.seq() == Seq(history.data.len() as u64), "half a batch: {read}");
            Ok(usize::from(read > 0))
        })))
    }
}

/// Brings the ring's end to a position.
fn lead_to(world: &World, history: &mut History, goal: usize, released: Released) -> Result<()> {
    for value in 0.. {
        let head = index(world.memory.tail().head.0);
        if head == goal {
            break;
        }
        let size = size_towards(goal - head, ROUND - head % ROUND);
        let stays = released != Released::Nearly && goal - head <= ROUND - 8;
        let pending = history.before.accepted + 1 - history.before.committed;
        let kept = if released == Released::Nearly { 3 } else { 0 };
        let commit = if stays { 0 } else { pending.saturating_sub(kept) };
        history.continue_with(
            world,
            &[datum(["ATL", "BOS", "CLT"][value as usize % 3], value, size)],
            commit,
        )?;
    }
    history.continue_with(world, &[], if released == Released::Behind { usize::MAX } else { 0 })
}

/// The largest record that leaves neither the goal nor the ring's end at a place that no record can reach.
fn size_towards(goal: usize, end: usize) -> usize {
    let leaves = |size: usize, left: usize| size == left || size + SMALLEST <= left;
    let reaches = |size: &usize| leaves(*size, goal) && leaves(*size, end);
    (SMALLEST..=LARGEST).rev().step_by(8).find(reaches).unwrap_or(SMALLEST)
}
