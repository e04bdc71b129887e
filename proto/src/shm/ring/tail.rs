//! The producer's page: where the ring ends, in two slots. One release store makes a slot the current one.

use super::TRIES;
use crate::{
    shm::{
        access::{ReadWords, WriteWords, index},
        sync::{Ordering, Site, at, fence},
    },
    wire::ids::{Position, Seq},
};

/// The seqs that a batch got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The seq of the first event.
    pub first: Seq,
    /// The seq of the last event.
    pub last: Seq,
}

/// The size of the page, in words.
pub const PRODUCER_WORDS: usize = 512;

/// The lock of the page ([`super::lock`]), on a cache line of its own.
pub(super) const LOCK: usize = 0;
/// The version of the tail. Its lowest bit selects the slot.
const VERSION: usize = 8;
/// The two slots. They share the cache line of the version, so that a reader on another core fetches one line. That line is
/// full: the number of accepted events is not stored, but follows from the next seq and [`GAPS`].
const SLOTS: usize = 9;
const SLOT_WORDS: usize = 3;
/// The number of seqs before the next one that were never given to an event. Set before any worker is started, and not
/// changed afterwards.
const GAPS: usize = SLOTS + 2 * SLOT_WORDS;
const _: () = assert!(VERSION / 8 == GAPS / 8, "version, slots and gaps are one cache line");

/// The end of the ring at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Where the next record will begin.
    pub head: Position,
    /// The seq of the next event.
    pub next_seq: Seq,
    /// The number of events that were ever accepted.
    pub accepted: u64,
    /// The number of keyed requests that were ever accepted.
    pub keyed: u64,
}

impl Tail {
    /// The tail of a ring that never held an event.
    pub const EMPTY: Self = Self { head: Position(0), next_seq: Seq(1), accepted: 0, keyed: 0 };

    /// The seq of the last accepted event; 0 if there is none.
    #[must_use]
    pub const fn last_seq(&self) -> Seq {
        Seq(self.next_seq.0.saturating_sub(1))
    }
}

fn slot(version: u64) -> usize {
    SLOTS + SLOT_WORDS * index(version & 1)
}

pub(super) fn version_of(page: &impl ReadWords, order: Ordering) -> u64 {
    page.load(VERSION, order)
}

/// The tail of version `version`. Torn if the owner has published two more versions: the caller must check.
pub(super) fn tail_of(page: &impl ReadWords, version: u64) -> Tail {
    if version == 0 {
        return Tail::EMPTY;
    }
    let slot = slot(version);
    let next_seq = page.load(slot + 1, Ordering::Relaxed);
    let gaps = page.load(GAPS, Ordering::Relaxed);
    Tail {
        head: Position(page.load(slot, Ordering::Relaxed)),
        next_seq: Seq(next_seq),
        accepted: next_seq.saturating_sub(1).saturating_sub(gaps),
        keyed: page.load(slot + 2, Ordering::Relaxed),
    }
}

/// Publishes a tail as version `version`: the only point at which events are accepted. `accepted` must have advanced as
/// much as `next_seq`.
pub(super) fn publish(page: &impl WriteWords, version: u64, tail: Tail) {
    let slot = slot(version);
    // A reader that sees any of the three stores below must also see that the previous version was published. Otherwise it
    // would take a half-written slot for the slot that it wanted.
    fence(Site::TailOverwrite, Ordering::Release);
    page.store(slot, tail.head.0, Ordering::Relaxed);
    page.store(slot + 1, tail.next_seq.0, Ordering::Relaxed);
    page.store(slot + 2, tail.keyed, Ordering::Relaxed);
    page.store(VERSION, version, at(Site::TailPublish, Ordering::Release));
}

/// Reads the tail while its owner may be moving it. `None` if the owner moved it at every try.
#[must_use]
pub fn read_tail(page: &impl ReadWords) -> Option<Tail> {
    for _ in 0..TRIES {
        let version = version_of(page, at(Site::TailRead, Ordering::Acquire));
        let tail = tail_of(page, version);
        fence(Site::TailRecheck, Ordering::Acquire);
        if version_of(page, Ordering::Relaxed) == version {
            return Some(tail);
        }
    }
    None
}

/// Sets the tail, gaps included, of a ring that is not in use yet: when a snapshot is restored.
pub fn set_tail(page: &impl WriteWords, tail: Tail) {
    let version = version_of(page, Ordering::Relaxed).wrapping_add(1).max(1);
    page.store(GAPS, tail.last_seq().0.saturating_sub(tail.accepted), Ordering::Relaxed);
    publish(page, version, tail);
}
