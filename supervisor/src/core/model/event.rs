//! Events: everything that can wake the supervisor.

use super::{Policy, PostMortem, Probe, QuarantineRequest};
use bulkhead_proto::wire::{
    control::{FromWorker, ToWorker},
    fault::FaultKind,
    ids::{Generation, Seq},
    role::Role,
};
use std::time::Duration;

/// One thing that happened. An event of a generation that is gone is ignored, so no event can come too late.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The first event: the runtime is ready to carry out actions.
    Boot,
    /// A spawn succeeded.
    Spawned {
        /// The generation that was ordered.
        generation: Generation,
        /// Its process id.
        pid: u32,
    },
    /// A spawn failed: there is no process, and no [`Event::Died`] will follow.
    SpawnFailed {
        /// The generation that was ordered.
        generation: Generation,
        /// The error, for people.
        error: String,
        /// Whether a retry cannot help: the program is missing or not executable.
        config: bool,
    },
    /// A worker sent a frame.
    Frame {
        /// The sender.
        generation: Generation,
        /// The frame.
        frame: FromWorker,
    },
    /// A worker sent bytes that are not a frame.
    BadFrame {
        /// The sender.
        generation: Generation,
        /// What is wrong with them.
        why: String,
    },
    /// A worker does not read: its control pipe was full.
    PipeFull {
        /// The receiver.
        generation: Generation,
        /// The frame that was dropped.
        frame: ToWorker,
    },
    /// Work is available again for the workers of this role: an event for the analysis, a connection for the
    /// API.
    WorkAvailable(Role),
    /// A probe was taken.
    Probed {
        /// The process that was probed.
        generation: Generation,
        /// The result.
        probe: Probe,
    },
    /// A process is gone: its group was killed, it was reaped, its pidfd is closed.
    Died {
        /// The generation.
        generation: Generation,
        /// What is known of it.
        post_mortem: Box<PostMortem>,
    },
    /// A client of the control socket sent a command. It is answered exactly once, possibly much later.
    Command {
        /// The client.
        client: ClientId,
        /// The command.
        command: Command,
    },
    /// A client disconnected before its answer. Its command is carried out all the same.
    ClientGone {
        /// The client.
        client: ClientId,
    },
    /// A new configuration is active. Workers that need a new process follow as commands.
    Configured {
        /// Delays and limits, and whether faults may be induced.
        policy: Policy,
        /// The configured workers. What their running processes were started with does not matter here.
        specs: Vec<WorkerSpec>,
    },
    /// The supervisor received a signal that stops it.
    StopSignal {
        /// The signal and its sender, as far as known, for the log.
        origin: String,
        /// Whether a key of the terminal sent it, so that a person repeats it on purpose.
        terminal: bool,
    },
    /// A [`super::Action::Quarantine`] was carried out, or failed.
    Quarantined {
        /// The request.
        request: QuarantineRequest,
        /// The error, for people.
        result: Result<(), String>,
    },
    /// A [`super::Action::StoreIsolated`] was carried out, or failed.
    IsolatedStored {
        /// The generation that asked for it.
        generation: Generation,
        /// The error, for people.
        result: Result<(), String>,
    },
    /// A [`super::Action::Release`] was carried out.
    Released {
        /// The events that are still in quarantine.
        kept: Vec<Seq>,
        /// The error, for people, if there are any.
        error: Option<String>,
    },
    /// A [`super::Action::Save`] was carried out, or failed.
    Saved {
        /// The error, for people.
        result: Result<(), String>,
    },
    /// The deadline of [`crate::core::next_deadline`] has passed. A tick at any other moment is harmless.
    Tick,
}

/// A connection of the control socket. The runtime never reuses a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, bincode::Encode, bincode::Decode)]
pub struct ClientId(pub u64);

/// What an operator may order. (`status` is answered by the runtime from [`crate::core::status()`].)
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Start the worker now, out of back-off and parking, and keep it running.
    Start(String),
    /// Stop the worker until it is started by command.
    Stop(String),
    /// Replace the worker by a new generation, out of back-off and parking. Starts a stopped worker.
    Restart(String),
    /// Induce a fault.
    Fault(String, FaultKind),
    /// Reload: the worker's settings changed. Like `Restart`, but a stopped worker stays stopped, and a
    /// worker that is being replaced is replaced once more.
    Replace(String),
    /// Reload: add this worker and start it.
    Add(WorkerSpec),
    /// Reload: stop the worker, then remove it.
    Remove(String),
}

impl Command {
    /// The name of the worker that the command concerns.
    #[must_use]
    pub fn worker(&self) -> &str {
        match self {
            Self::Start(name)
            | Self::Stop(name)
            | Self::Restart(name)
            | Self::Fault(name, _)
            | Self::Replace(name)
            | Self::Remove(name)
            | Self::Add(WorkerSpec { name, .. }) => name,
        }
    }
}

/// What the core needs to know of a configured worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerSpec {
    /// Its unique name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Time that it may take to drain.
    pub stop_timeout: Duration,
    /// Time without progress, while there is work, that counts as a hang. Plain workers are not watched.
    pub hang_timeout: Duration,
}
