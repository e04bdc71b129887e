//! Where generations are kept in the state.

use super::{GenerationState, State};
use bulkhead_proto::words::Role;

/// One of a worker's two places for a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum WorkerSlot {
    Main,
    Successor,
}

/// The place of one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) struct WorkerSlotId {
    pub(in crate::core) worker: WorkerId,
    pub(in crate::core) slot: WorkerSlot,
}

/// A worker's place in [`State::workers`]. Holds for one turn: at its end, removed workers are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) struct WorkerId(pub(in crate::core) u8);

impl State {
    /// Every worker, in the order of the configuration.
    pub(in crate::core) fn worker_ids(&self) -> impl Iterator<Item = WorkerId> + use<> {
        (0..u8::try_from(self.workers.len()).unwrap_or(u8::MAX)).map(WorkerId)
    }

    /// Every place of every worker.
    pub(in crate::core) fn slot_ids(&self) -> impl Iterator<Item = WorkerSlotId> + use<> {
        self.worker_ids().flat_map(|id| {
            [
                WorkerSlotId { worker: id, slot: WorkerSlot::Main },
                WorkerSlotId { worker: id, slot: WorkerSlot::Successor },
            ]
        })
    }

    /// The places of the workers of a role.
    pub(in crate::core) fn slot_ids_of(&self, role: Role) -> Vec<WorkerSlotId> {
        self.slot_ids().filter(|slot_id| self.role(slot_id.worker) == role).collect()
    }

    pub(in crate::core) fn role(&self, worker: WorkerId) -> Role {
        self.workers[usize::from(worker.0)].role
    }

    /// What is at that place; nothing, if it is the empty place of a successor.
    pub(in crate::core) fn slot(&self, slot_id: WorkerSlotId) -> Option<&GenerationState> {
        let worker = &self.workers[usize::from(slot_id.worker.0)];
        match slot_id.slot {
            WorkerSlot::Main => Some(&worker.main),
            WorkerSlot::Successor => worker.successor.as_ref(),
        }
    }
}
