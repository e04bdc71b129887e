//! How far the maintenance of the table has come, and how much of the memory may be unused.

use super::line::{BodySlot, Place};

/// How much of the memory of the arena may be unused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Between two commits: bodies move when segments in use hold twice as much as is in use.
    Busy,
    /// While there is nothing else to do: a quarter may be unused.
    Idle,
}

impl Effort {
    /// The bytes of segments that may be in use for this number of bytes of bodies.
    pub(super) const fn allowed(self, bytes: usize) -> usize {
        match self {
            Self::Busy => bytes * 2,
            Self::Idle => bytes / 4 * 5,
        }
    }

    /// Bodies move out of segments of which less than this percentage is in use.
    pub(super) const fn share(self) -> usize {
        match self {
            Self::Busy => 50,
            Self::Idle => 85,
        }
    }
}

/// How far the maintenance has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Maintenance {
    /// The end of the used part of the arena when this process took over. What is behind it was counted when it was written.
    pub(super) taken_over: usize,
    /// The slots before this one are counted.
    pub(super) counted: u32,
    pub(super) done: bool,
    /// The next slot whose body may move.
    pub(super) next_slot: u32,
    /// The slots that were looked at in a row without one whose body moved.
    pub(super) unmoved: u32,
    /// The bytes that moved since the last commit of the analysis. Moving must end, whatever the sizes of the bodies.
    pub(super) moved: usize,
    /// The slots that the last commit changed, and the bytes that it wrote.
    pub(super) last_commit: (u32, usize),
}

impl Maintenance {
    pub(super) const fn new(end: usize) -> Self {
        Self {
            taken_over: end,
            counted: 0,
            done: end == 0,
            next_slot: 0,
            unmoved: 0,
            moved: 0,
            last_commit: (0, 0),
        }
    }

    /// A commit changed this number of slots and wrote this number of bytes.
    pub(super) const fn on_commit(&mut self, slots: u32, bytes: usize) {
        self.last_commit = (slots, bytes);
        (self.unmoved, self.moved) = (0, 0);
    }

    /// Whether a body that was in use is counted.
    pub(super) const fn is_counted(&self, slot: BodySlot, place: Place) -> bool {
        self.done || place.byte() >= self.taken_over || slot.0 < self.counted
    }
}
