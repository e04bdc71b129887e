//! All that the supervisor knows: complete, so that a successor could go on from it, and bounded, so that it fits the ledger.

use super::{Millis, Now, Policy, Worker, WorkerSpec, policy::MAX_WORKERS};
use bincode::{Decode, Encode};
use bulkhead_proto::{
    ids::{CrashId, Generation},
    words::Role,
};

/// The whole state. Encoded, it takes less than [`State::MAX_BYTES`].
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct State {
    /// From the configuration.
    pub policy: Policy,
    /// The supervisor's own pid.
    pub pid: u32,
    /// When it started, Unix milliseconds.
    pub started_ms: u64,
    /// The supervisor's own course.
    pub phase: SupervisorPhase,
    /// Plain workers wait for the API until then, but no longer; `None` once they need not wait.
    pub plain_wait: Option<Millis>,
    /// The workers, in the order of the configuration, those that were added later last; at most [`MAX_WORKERS`].
    pub workers: Vec<Worker>,
    /// The next generation to be given out.
    /// The shell reserves numbers on disk before it carries out a `Spawn`.
    pub next_generation: Generation,
    /// The next crash report's number; reserved likewise.
    pub next_crash: CrashId,
    /// The seed of the next jitter.
    pub jitter: u64,
}

/// What the supervisor as a whole is about.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum SupervisorPhase {
    /// Not booted.
    New,
    /// At work.
    Up,
    /// Stopping the workers of this role; those before it in the order are gone.
    Stopping(Role),
    /// All workers are gone (or given up); saving.
    Saving {
        /// It leaves then, saved or not.
        deadline: Millis,
    },
    /// Nothing happens any more.
    Gone,
}

impl State {
    /// The most bytes that an encoded state takes.
    pub const MAX_BYTES: usize = 200 * 1024;

    /// The state of a supervisor before [`super::Event::Boot`]: everything is wanted, nothing is there.
    /// Workers beyond [`MAX_WORKERS`] are left out and names are cut: the configuration refuses both.
    #[must_use]
    pub fn new(policy: Policy, specs: Vec<WorkerSpec>, identity: Identity, now: Now) -> Self {
        Self {
            policy,
            pid: identity.pid,
            started_ms: now.unix_ms,
            phase: SupervisorPhase::New,
            plain_wait: None,
            workers: specs.into_iter().take(MAX_WORKERS).map(|spec| Worker::new(&spec)).collect(),
            next_generation: identity.next_generation,
            next_crash: identity.next_crash,
            jitter: identity.seed,
        }
    }
}

/// What sets one supervisor apart from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its pid.
    pub pid: u32,
    /// The first generation that was never given out; at least 1.
    pub next_generation: Generation,
    /// The first crash report's number that was never given out; at least 1.
    pub next_crash: CrashId,
    /// For the jitter: any number, better not always the same.
    pub seed: u64,
}
