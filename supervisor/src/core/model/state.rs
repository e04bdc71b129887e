//! The complete state of the supervisor. It is bounded, so that it fits the ledger.

use super::{
    GenerationState, Millis, Now, Policy, Process, Worker, WorkerId, WorkerSlotId, WorkerSpec,
    policy::MAX_WORKERS,
};
use bincode::{Decode, Encode};
use bulkhead_proto::wire::{
    ids::{CrashId, Generation},
    role::Role,
};

/// The state. Its encoding is smaller than [`State::MAX_BYTES`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct State {
    /// Settings from the configuration.
    pub policy: Policy,
    /// The supervisor's own pid.
    pub pid: u32,
    /// Start time, Unix milliseconds.
    pub started_ms: u64,
    /// What the supervisor as a whole is doing.
    pub phase: SupervisorPhase,
    /// Time of the signal that began the orderly stop.
    pub stopping_since: Option<Millis>,
    /// Plain workers wait until then for the API to start; `None` once they need not wait.
    pub plain_wait: Option<Millis>,
    /// The workers in the order of the configuration, later additions at the end; at most [`MAX_WORKERS`].
    pub workers: Vec<Worker>,
    /// The next unused generation number. The runtime reserves numbers on disk before it carries out a spawn.
    pub next_generation: Generation,
    /// The next unused crash report number; reserved in the same way.
    pub next_crash: CrashId,
    /// State of the random generator for back-off jitter.
    pub jitter: u64,
}

/// What the supervisor as a whole is doing.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum SupervisorPhase {
    /// Before [`super::Event::Boot`].
    New,
    /// Normal operation.
    Up,
    /// Stopping the workers of this role. The roles before it are done.
    Stopping(Role),
    /// All workers are gone or given up; the runtime is saving.
    Saving {
        /// The supervisor exits then, saved or not.
        deadline: Millis,
    },
    /// Stopped: no event changes anything any more.
    Gone,
}

impl State {
    /// Maximum size of the encoded state, in bytes.
    pub const MAX_BYTES: usize = 200 * 1024;

    /// The state before [`super::Event::Boot`]: all workers are desired, none is started. Workers beyond
    /// [`MAX_WORKERS`] are ignored and long names are cut; the configuration refuses both.
    #[must_use]
    pub fn new(policy: Policy, specs: Vec<WorkerSpec>, identity: Identity, now: Now) -> Self {
        Self {
            policy,
            pid: identity.pid,
            started_ms: now.unix_ms,
            phase: SupervisorPhase::New,
            stopping_since: None,
            plain_wait: None,
            workers: specs.into_iter().take(MAX_WORKERS).map(|spec| Worker::new(&spec)).collect(),
            next_generation: identity.next_generation,
            next_crash: identity.next_crash,
            jitter: identity.seed,
        }
    }
}

/// What distinguishes this run of the supervisor from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Process id of the supervisor.
    pub pid: u32,
    /// The first unused generation number; at least 1.
    pub next_generation: Generation,
    /// The first unused crash report number; at least 1.
    pub next_crash: CrashId,
    /// Seed for the jitter. Any number; it should differ from run to run.
    pub seed: u64,
}

impl State {
    /// Whether this generation belongs to a worker of this role, and was activated.
    #[must_use]
    pub fn is_activated(&self, role: Role, generation: Generation) -> bool {
        self.find(generation).is_some_and(|slot_id| {
            let activated = self.process(slot_id).and_then(|process| process.activated);
            self.role(slot_id.worker) == role && activated.is_some()
        })
    }

    /// The slot of a generation's process, if it still has one.
    pub(in crate::core) fn find(&self, generation: Generation) -> Option<WorkerSlotId> {
        let is_of = |process: &Process| process.generation == generation;
        self.slot_ids().find(|slot_id| self.process(*slot_id).is_some_and(is_of))
    }

    /// All workers, in the order of the configuration.
    pub(in crate::core) fn worker_ids(&self) -> impl Iterator<Item = WorkerId> + use<> {
        (0..u8::try_from(self.workers.len()).unwrap_or(u8::MAX)).map(WorkerId)
    }

    /// All slots of all workers.
    pub(in crate::core) fn slot_ids(&self) -> impl Iterator<Item = WorkerSlotId> + use<> {
        self.worker_ids().flat_map(|id| [id.main(), id.successor(), id.standby()])
    }

    /// The slots of the workers with this role.
    pub(in crate::core) fn slot_ids_of(&self, role: Role) -> Vec<WorkerSlotId> {
        self.slot_ids().filter(|slot_id| self.role(slot_id.worker) == role).collect()
    }

    pub(in crate::core) fn role(&self, worker: WorkerId) -> Role {
        self.workers[usize::from(worker.0)].role
    }

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
