//! Slots: where the state holds the generations of a worker.

/// One of the slots of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum WorkerSlot {
    Main,
    Successor,
    Standby,
}

/// The slot of one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) struct WorkerSlotId {
    pub(in crate::core) worker: WorkerId,
    pub(in crate::core) slot: WorkerSlot,
}

/// The index of a worker in [`super::State::workers`]. Valid within one transition: removed workers are deleted at
/// its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) struct WorkerId(pub(in crate::core) u8);

impl WorkerId {
    pub(in crate::core) const fn main(self) -> WorkerSlotId {
        WorkerSlotId { worker: self, slot: WorkerSlot::Main }
    }

    pub(in crate::core) const fn successor(self) -> WorkerSlotId {
        WorkerSlotId { worker: self, slot: WorkerSlot::Successor }
    }

    pub(in crate::core) const fn standby(self) -> WorkerSlotId {
        WorkerSlotId { worker: self, slot: WorkerSlot::Standby }
    }
}
