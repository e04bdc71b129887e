//! Slots: where the state holds the generations of a worker.

use super::{GenerationState, Process, State};
use bulkhead_proto::wire::{ids::Generation, role::Role};

/// One of the two slots of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum WorkerSlot {
    Main,
    Successor,
}

/// The slot of one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) struct WorkerSlotId {
    pub(in crate::core) worker: WorkerId,
    pub(in crate::core) slot: WorkerSlot,
}

/// The index of a worker in [`State::workers`]. Valid within one transition: removed workers are deleted at
/// its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) struct WorkerId(pub(in crate::core) u8);

impl State {
    /// Whether this generation belongs to a worker of this role, and was activated.
    #[must_use]
    pub fn is_activated(&self, role: Role, generation: Generation) -> bool {
        self.slot_ids_of(role).into_iter().any(|slot_id| {
            self.process(slot_id)
                .is_some_and(|process| process.generation == generation && process.activated.is_some())
        })
    }

    /// All workers, in the order of the configuration.
    pub(in crate::core) fn worker_ids(&self) -> impl Iterator<Item = WorkerId> + use<> {
        (0..u8::try_from(self.workers.len()).unwrap_or(u8::MAX)).map(WorkerId)
    }

    /// All slots of all workers.
    pub(in crate::core) fn slot_ids(&self) -> impl Iterator<Item = WorkerSlotId> + use<> {
        self.worker_ids().flat_map(|id| [id.main(), id.successor()])
    }

    /// The slots of the workers with this role.
    pub(in crate::core) fn slot_ids_of(&self, role: Role) -> Vec<WorkerSlotId> {
        self.slot_ids().filter(|slot_id| self.role(slot_id.worker) == role).collect()
    }

    pub(in crate::core) fn role(&self, worker: WorkerId) -> Role {
        self.workers[usize::from(worker.0)].role
    }

    /// The content of a slot; `None` for an empty successor slot.

    pub(in crate::core) fn slot(&self, slot_id: WorkerSlotId) -> &GenerationState {
        self.workers[usize::from(slot_id.worker.0)].slot(slot_id.slot)
    }

    pub(in crate::core) fn slot_mut(&mut self, slot_id: WorkerSlotId) -> &mut GenerationState {
        self.workers[usize::from(slot_id.worker.0)].slot_mut(slot_id.slot)
    }

    pub(in crate::core) fn process(&self, slot_id: WorkerSlotId) -> Option<&Process> {
        self.slot(slot_id).process()
    }
}

impl WorkerId {
    pub(in crate::core) const fn main(self) -> WorkerSlotId {
        WorkerSlotId { worker: self, slot: WorkerSlot::Main }
    }

    pub(in crate::core) const fn successor(self) -> WorkerSlotId {
        WorkerSlotId { worker: self, slot: WorkerSlot::Successor }
    }
}
