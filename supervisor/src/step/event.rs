//! Everything that can wake the supervisor.

use super::{suspects::Charge, vigil::Look};
use bulkhead_proto::{
    shm::cursor::SignalInfo,
    wire::{
        control::{FromWorker, ToWorker},
        fault::FaultKind,
        ids::{Generation, Seq},
    },
};

/// One thing that happened. Events of generations that are gone are ignored, so none can come too late.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The first event of a supervisor's life: the shell is ready to carry actions out.
    Boot,
    /// `Spawn` was carried out.
    Spawned {
        /// The generation that was asked for.
        generation: Generation,
        /// Its process.
        pid: u32,
    },
    /// `Spawn` could not be carried out: there is no process, and no [`Event::Died`] will come.
    SpawnFailed {
        /// The generation that was asked for.
        generation: Generation,
        /// Why, for people.
        error: String,
        /// Trying again cannot help: the program is missing or not executable.
        config: bool,
    },
    /// A worker sent a frame.
    Frame {
        /// The sender.
        generation: Generation,
        /// What it says.
        frame: FromWorker,
    },
    /// A worker sent bytes that are no frame.
    BadFrame {
        /// The sender.
        generation: Generation,
        /// What is wrong with them.
        why: String,
    },
    /// A worker does not read: its control pipe had no room.
    PipeFull {
        /// The receiver.
        generation: Generation,
        /// What could not be sent, and was dropped.
        frame: ToWorker,
    },
    /// There is work again for the workers of this role: for the analysis an event, for the API a connection.
    Rung(bulkhead_proto::wire::role::Role),
    /// `Look` was carried out.
    Looked {
        /// Whom it was at.
        generation: Generation,
        /// What was seen.
        look: Look,
    },
    /// A process is gone: its group was killed, it was reaped, its pidfd closed.
    Died {
        /// Which one.
        generation: Generation,
        /// How.
        exit: Exit,
        /// What shared memory told about it before it was reaped.
        post_mortem: PostMortem,
    },
    /// A client of the control socket wants something. Answered exactly once, maybe much later.
    Command {
        /// Who asks.
        client: ClientId,
        /// What for.
        command: Command,
    },
    /// A client has left without waiting for its answer. Its command is carried out all the same.
    Left {
        /// Who.
        client: ClientId,
    },
    /// The configuration was read again: this is in force from here on. What needs another process comes as commands.
    Configured {
        /// Delays and limits, and whether faults may be induced.
        policy: super::Policy,
        /// The workers that there shall be; what their processes were started with does not matter here.
        specs: Vec<Spec>,
    },
    /// SIGTERM or SIGINT to the supervisor.
    StopSignal {
        /// Which one, and who sent it, as far as that is known: for the log.
        origin: String,
    },
    /// `SetAside` was carried out, or failed for this reason.
    SetAside {
        /// What was to be stored.
        charge: Charge,
        /// The reason of a failure, for people.
        result: Result<(), String>,
    },
    /// `Save` was carried out, or failed for this reason.
    Saved {
        /// The reason of a failure, for people.
        result: Result<(), String>,
    },
    /// The deadline that [`super::next_deadline`] named has passed (or any other moment: harmless).
    Tick,
}

/// A connection of the control socket. Never reused by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, bincode::Encode, bincode::Decode)]
pub struct ClientId(pub u64);

/// What an operator may ask for. (`status` is answered by the shell from [`super::status`].)
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Want it running, and start it now: leaves back-off and parking.
    Start(String),
    /// Want it stopped, until it is started by command.
    Stop(String),
    /// Replace it by a new generation; leaves back-off and parking. Starts it when it was stopped.
    Restart(String),
    /// Let it die in this way.
    Fault(String, FaultKind),
    /// A reload: what it was started with has changed. As `Restart`, but one that shall not run stays as it is, and one
    /// that is being replaced is replaced once more.
    Replace(String),
    /// A reload: have this worker too, and start it.
    Add(Spec),
    /// A reload: let it leave, then forget it.
    Remove(String),
}

impl Command {
    /// The name of the worker that it is about.
    #[must_use]
    pub fn worker(&self) -> &str {
        match self {
            Self::Start(name)
            | Self::Stop(name)
            | Self::Restart(name)
            | Self::Fault(name, _)
            | Self::Replace(name)
            | Self::Remove(name)
            | Self::Add(Spec { name, .. }) => name,
        }
    }
}

/// How a process ended, from `waitid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It left with this exit code.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The signal's number.
        number: i32,
        /// Whether a core was dumped.
        core: bool,
    },
    /// It is gone, but nobody could tell how.
    Unknown,
}

/// What shared memory told about a dead process. Written by it, so only as true as it was;
/// the shell has checked the ranges: `committed <= head`, `committed < in_hand <= head`, likewise `committing`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PostMortem {
    /// The event that was being applied, or whose series was being loaded.
    pub in_hand: Option<Seq>,
    /// Whether its series was being loaded.
    pub loading: bool,
    /// The last event of a commit that was under way.
    pub committing: Option<Seq>,
    /// The signal of a fault, as its handler noted it.
    pub signalled: Option<SignalInfo>,
    /// The last event that is part of the state.
    pub committed: Seq,
    /// The last event that was accepted.
    pub head: Seq,
    /// Its last words.
    pub panic: Option<Panic>,
    /// The memory that it was refused and, as far as can be told, did not get over.
    pub refused: Option<Refusal>,
    /// Whether the kernel has killed for want of memory meanwhile.
    pub out_of_memory: bool,
}

/// Memory that a process was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// So much more was wanted, in bytes: the process's own word.
    pub bytes: u64,
    /// Its `memory_limit`, in bytes.
    pub limit: Option<u64>,
}

/// A panic, as the worker told it. Texts of any length; cut where they are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, bincode::Encode, bincode::Decode)]
pub struct Panic {
    /// Its message.
    pub message: String,
    /// `file:line:column`.
    pub location: String,
    /// The thread's name.
    pub thread: String,
}

/// What the heart needs to know of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its name, unique.
    pub name: String,
    /// Its role.
    pub role: bulkhead_proto::wire::role::Role,
    /// How long it may take to drain.
    pub stop_timeout: std::time::Duration,
    /// So long without progress while there is work is a hang; plain workers are not watched.
    pub hang_timeout: std::time::Duration,
}
