//! All that the supervisor knows: complete, so that a successor could go on from it, and bounded, so that it fits the ledger.

use super::{
    event::{ClientId, Panic, Spec},
    policy::{MAX_NAME, MAX_WORKERS, Policy},
    renewal::Renewal,
    suspects::Suspicion,
    time::{Millis, Now},
    vigil::{Pings, Vigil},
};
use bincode::{Decode, Encode};
use bulkhead_proto::wire::{
    cause::Cause,
    fault::FaultKind,
    ids::{CrashId, Generation, Seq},
    role::Role,
    status::CrashRow,
    text::cut,
};
use std::time::Duration;

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
    pub course: Course,
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
pub enum Course {
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

/// A worker's place in [`State::workers`]. Holds for one turn: at its end, removed workers are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WorkerId(pub(super) u8);

/// What the operator wants of a worker. Changed by commands and reloads alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Wanted {
    /// It shall run.
    Running,
    /// It shall not.
    Stopped,
    /// It is no longer in the configuration: forgotten once its last process is gone.
    Removed,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Worker {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// How long it may take to drain.
    pub stop_timeout: Duration,
    /// So long without progress while there is work is a hang; plain workers are not watched.
    pub hang_timeout: Duration,
    /// What it shall be.
    pub wanted: Wanted,
    /// What it is.
    pub main: Is,
    /// The generation that shall replace it, during a restart; takes the main place when the old one is gone.
    pub successor: Option<Is>,
    /// It shall be replaced: set until a newer generation runs, or has died in the attempt.
    pub renewal: Option<Renewal>,
    /// Its last generation; 0 before the first.
    pub generation: Generation,
    /// When that one was spawned.
    pub started: Millis,
    /// Likewise, Unix milliseconds.
    pub started_ms: u64,
    /// How often it was started again after the first time.
    pub restarts: u64,
    /// Its deaths without progress.
    pub tally: Tally,
    /// What it may have died of; of the analysis alone.
    pub suspicion: Suspicion,
    /// Its last death.
    pub last_crash: Option<CrashRow>,
    /// Who waits for the end of a command; at most [`super::policy::MAX_WAITING`].
    pub waiting: Vec<Waiter>,
}

/// What one generation's place is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Is {
    /// No process, and none is to come.
    Stopped,
    /// Spawned (or about to be), not ready.
    Starting {
        /// The process.
        process: Process,
        /// It must be ready by then.
        deadline: Millis,
    },
    /// Ready; not activated, because its predecessor is not gone yet.
    Standby {
        /// The process.
        process: Process,
    },
    /// Activated (plain workers: spawned).
    Running {
        /// The process.
        process: Process,
    },
    /// On its way out.
    Stopping {
        /// The process.
        process: Process,
        /// Why.
        why: Why,
        /// How far the escalation is.
        stage: Stage,
        /// When it goes on; `None` once it cannot.
        deadline: Option<Millis>,
        /// When it began.
        since: Millis,
    },
    /// No process; started when the time has come, and its turn.
    Backoff {
        /// Not before then.
        until: Millis,
    },
    /// No process; died too often without progress.
    Parked {
        /// Tried again then; `None`: only by command.
        probe: Option<Millis>,
    },
}

/// One generation's process: there is one, or the shell is about to spawn it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Process {
    /// Its generation.
    pub generation: Generation,
    /// Its pid, once spawned.
    pub pid: Option<u32>,
    /// When its spawn was ordered.
    pub started: Millis,
    /// Likewise, Unix milliseconds.
    pub started_ms: u64,
    /// Whether it has said hello.
    pub greeted: bool,
    /// When it was activated.
    pub activated: Option<Millis>,
    /// The panic that it told of, cut.
    pub panic: Option<Panic>,
    /// The last fault that it was ordered to die of.
    pub fault: Option<Induced>,
    /// Whether it is watched; once it was activated.
    pub vigil: Vigil,
    /// What it was asked, and answered; an API alone.
    pub pings: Pings,
}

/// A fault on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Induced {
    /// Which.
    pub kind: FaultKind,
    /// A death later than this is not its effect; none, if it lasts until the death.
    pub until: Option<Millis>,
}

/// Why a process is on its way out.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Why {
    /// An operator, or the supervisor's own end, asked it to leave.
    Asked(Asked),
    /// It did what it must not do.
    Condemned {
        /// `Handshake`, `Protocol` or `Hang`.
        cause: Cause,
        /// What it did, cut.
        detail: String,
        /// Whether the next generation might do better.
        retry: bool,
    },
}

/// On whose behalf a process was asked to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Asked {
    /// `stop`.
    Stop,
    /// `restart`.
    Restart,
    /// What it was started with has changed.
    Reload,
    /// It is no longer in the configuration.
    Remove,
    /// The supervisor is stopping.
    Shutdown,
}

/// How far the escalation of a stop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Stage {
    /// Asked by `Drain` and end of file.
    Drain,
    /// Got SIGABRT, to leave a trace of its hang.
    Abort,
    /// Got SIGTERM.
    Term,
    /// Got SIGKILL, with its group.
    Kill,
    /// Not gone even so: nobody waits for it any more.
    GivenUp,
}

/// Deaths without progress: what back-off and parking go by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Tally {
    /// When; only those within the policy's period, at most its limit.
    pub recent: Vec<Millis>,
    /// How many in a row: the exponent of the back-off.
    pub streak: u32,
    /// The generation that runs is a parked worker's probe: if it dies without progress too, it is parked again.
    pub probing: bool,
    /// The last event that was committed at its last death.
    pub committed: Seq,
    /// The last event that was accepted at its last death.
    pub head: Seq,
}

/// A client that waits for the end of its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Waiter {
    /// Who.
    pub client: ClientId,
    /// For what.
    pub goal: Goal,
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Goal {
    /// No process is left.
    Stopped,
    /// A generation later than this one runs. Failed as soon as such a one has died.
    Running {
        /// The last generation that does not count.
        after: Generation,
    },
    /// Likewise, and this one and all before it are gone: nobody goes by what they were started with any more.
    Replaced {
        /// The last generation that is out of date.
        after: Generation,
    },
}

impl State {
    /// The most bytes that an encoded state takes.
    pub const MAX_BYTES: usize = 200 * 1024;

    /// The state of a supervisor before [`super::Event::Boot`]: everything is wanted, nothing is there.
    /// Workers beyond [`MAX_WORKERS`] are left out and names are cut: the configuration refuses both.
    #[must_use]
    pub fn new(policy: Policy, specs: Vec<Spec>, identity: Identity, now: Now) -> Self {
        Self {
            policy,
            pid: identity.pid,
            started_ms: now.unix_ms,
            course: Course::New,
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

impl Worker {
    pub(super) fn new(spec: &Spec) -> Self {
        Self {
            name: cut(&spec.name, MAX_NAME).to_owned(),
            role: spec.role,
            stop_timeout: spec.stop_timeout,
            hang_timeout: spec.hang_timeout,
            wanted: Wanted::Running,
            main: Is::Stopped,
            successor: None,
            renewal: None,
            generation: Generation(0),
            started: Millis(0),
            started_ms: 0,
            restarts: 0,
            tally: Tally::default(),
            suspicion: Suspicion::default(),
            last_crash: None,
            waiting: Vec::new(),
        }
    }
}

impl Worker {
    /// The generation at work, if there is one: the successor, once it is activated, for its predecessor is leaving.
    #[must_use]
    pub fn running(&self) -> Option<&Process> {
        [self.successor.as_ref(), Some(&self.main)].into_iter().flatten().find_map(|is| match is {
            Is::Running { process } => Some(process),
            Is::Stopped
            | Is::Starting { .. }
            | Is::Standby { .. }
            | Is::Stopping { .. }
            | Is::Backoff { .. }
            | Is::Parked { .. } => None,
        })
    }
}

impl Process {
    pub(super) const fn new(generation: Generation, now: Now) -> Self {
        Self {
            generation,
            pid: None,
            started: now.mono,
            started_ms: now.unix_ms,
            greeted: false,
            activated: None,
            panic: None,
            fault: None,
            vigil: Vigil::Resting,
            pings: Pings::NONE,
        }
    }
}

impl Is {
    pub(super) const fn process_mut(&mut self) -> Option<&mut Process> {
        match self {
            Self::Starting { process, .. }
            | Self::Standby { process }
            | Self::Running { process }
            | Self::Stopping { process, .. } => Some(process),
            Self::Stopped | Self::Backoff { .. } | Self::Parked { .. } => None,
        }
    }

    /// Whether it is at work.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        match self {
            Self::Running { .. } => true,
            Self::Stopped
            | Self::Starting { .. }
            | Self::Standby { .. }
            | Self::Stopping { .. }
            | Self::Backoff { .. }
            | Self::Parked { .. } => false,
        }
    }

    /// The process, in the states that have one.
    #[must_use]
    pub const fn process(&self) -> Option<&Process> {
        match self {
            Self::Starting { process, .. }
            | Self::Standby { process }
            | Self::Running { process }
            | Self::Stopping { process, .. } => Some(process),
            Self::Stopped | Self::Backoff { .. } | Self::Parked { .. } => None,
        }
    }
}
