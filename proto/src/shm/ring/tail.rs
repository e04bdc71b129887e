//! The producer's page: where the ring ends, in two slots flipped by one release store.

use super::TRIES;
use crate::{
    shm::{
        access::{ReadWords, WriteWords, index},
        sync::{Ordering, Site, at, fence},
    },
    wire::ids::{Position, Seq},
};

/// The producer's page, in words.
pub const PRODUCER_WORDS: usize = 512;

/// The lock of the page stands first ([`super::lock`]), on a cache line of its own.
pub(super) const LOCK: usize = 0;
/// The flip's number; its lowest bit names the slot.
const FLIP: usize = 8;
/// The two slots. They share the flip's cache line: a line from the other core is what a look costs, and it is one line.
/// It is full: so how many events were accepted is no word of a slot, but follows from the next seq and [`GAPS`].
const SLOTS: usize = 9;
const SLOT_WORDS: usize = 3;
/// How many seqs before the next one no event was ever given: set before any worker is started, and never again.
const GAPS: usize = SLOTS + 2 * SLOT_WORDS;
const _: () = assert!(FLIP / 8 == GAPS / 8, "flip, slots and gaps are one cache line");

/// The end of the ring, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Where the next record will begin.
    pub head: Position,
    /// The seq that the next event will have.
    pub next_seq: Seq,
    /// How many events were ever accepted.
    pub accepted: u64,
    /// How many requests with a key were ever accepted.
    pub keyed: u64,
}

impl Tail {
    /// Of a ring that never held an event.
    pub const EMPTY: Self = Self { head: Position(0), next_seq: Seq(1), accepted: 0, keyed: 0 };

    /// The seq of the last event that was accepted; 0 if none ever was.
    #[must_use]
    pub const fn last_seq(&self) -> Seq {
        Seq(self.next_seq.0.saturating_sub(1))
    }
}

fn slot(flip: u64) -> usize {
    SLOTS + SLOT_WORDS * index(flip & 1)
}

pub(super) fn flip_of(page: &impl ReadWords, order: Ordering) -> u64 {
    page.load(FLIP, order)
}

/// The tail that the flip of that number published. Torn when the owner is two flips further: the caller checks.
pub(super) fn tail_of(page: &impl ReadWords, flip: u64) -> Tail {
    if flip == 0 {
        return Tail::EMPTY;
    }
    let slot = slot(flip);
    let next_seq = page.load(slot + 1, Ordering::Relaxed);
    let gaps = page.load(GAPS, Ordering::Relaxed);
    Tail {
        head: Position(page.load(slot, Ordering::Relaxed)),
        next_seq: Seq(next_seq),
        accepted: next_seq.saturating_sub(1).saturating_sub(gaps),
        keyed: page.load(slot + 2, Ordering::Relaxed),
    }
}

/// Publishes a tail as flip number `flip`: the only point at which events become accepted. `accepted` must have moved as
/// `next_seq` did.
pub(super) fn publish(page: &impl WriteWords, flip: u64, tail: Tail) {
    let slot = slot(flip);
    // A reader that sees any of the three stores below must also see that the flip before this one was published,
    // or it would take a half-written slot for the one that it wanted.
    fence(Site::TailOverwrite, Ordering::Release);
    page.store(slot, tail.head.0, Ordering::Relaxed);
    page.store(slot + 1, tail.next_seq.0, Ordering::Relaxed);
    page.store(slot + 2, tail.keyed, Ordering::Relaxed);
    page.store(FLIP, flip, at(Site::TailPublish, Ordering::Release));
}

/// Reads the tail while its owner may be moving it. None when the owner moved it at every single try.
#[must_use]
pub fn read_tail(page: &impl ReadWords) -> Option<Tail> {
    for _ in 0..TRIES {
        let flip = flip_of(page, at(Site::TailRead, Ordering::Acquire));
        let tail = tail_of(page, flip);
        fence(Site::TailRecheck, Ordering::Acquire);
        if flip_of(page, Ordering::Relaxed) == flip {
            return Some(tail);
        }
    }
    None
}

/// Sets the tail of a ring that nobody uses yet, gaps included: when a snapshot is restored.
pub fn set_tail(page: &impl WriteWords, tail: Tail) {
    let flip = flip_of(page, Ordering::Relaxed).wrapping_add(1).max(1);
    page.store(GAPS, tail.last_seq().0.saturating_sub(tail.accepted), Ordering::Relaxed);
    publish(page, flip, tail);
}
