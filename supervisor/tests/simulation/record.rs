//! What the judge writes down.

use crate::judge::Moment;
use bulkhead_proto::wire::{control::Phase, role::Role};
use bulkhead_supervisor::core::{self, DesiredState};

/// One generation, from its `Spawn` on.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) worker: usize,
    pub(crate) role: Role,
    pub(crate) phase: Phase,
    pub(crate) ready: bool,
    /// It speaks another protocol.
    pub(crate) foreign: bool,
    pub(crate) died: bool,
    /// When its spawn was ordered; this and the next two on the simulation's clock.
    pub(crate) ordered: u64,
    pub(crate) activated: Option<u64>,
    /// When it was first asked to leave.
    pub(crate) asked: Option<u64>,
    /// The last ping that it was sent.
    pub(crate) pinged: u64,
    /// When it got SIGABRT.
    pub(crate) aborted: Option<u64>,
    /// When its group was killed, on the supervisor's clock.
    pub(crate) killed: Option<u64>,
    /// It was asked to leave, or ordered to die, by what somebody wanted.
    pub(crate) wanted_gone: bool,
}

impl Record {
    pub(crate) fn new(worker: usize, role: Role, ordered: u64) -> Self {
        Self {
            worker,
            role,
            phase: Phase::Spawned,
            ready: false,
            foreign: false,
            died: false,
            ordered,
            activated: None,
            asked: None,
            pinged: 0,
            aborted: None,
            killed: None,
            wanted_gone: false,
        }
    }

    pub(crate) fn ask(&mut self, lived: u64) {
        self.asked.get_or_insert(lived);
    }

    pub(crate) fn kill(&mut self, now: Moment) {
        self.asked.get_or_insert(now.lived);
        self.killed.get_or_insert(now.mono);
    }

    /// Nobody has asked it to leave. The analysis is active until it is dead: it may still write.
    pub(crate) fn is_active(&self) -> bool {
        match self.role {
            Role::Analytics => self.activated.is_some(),
            Role::Api => self.activated.is_some() && self.asked.is_none(),
            Role::Plain => true,
        }
    }

    pub(crate) fn is_starting(&self) -> bool {
        !self.ready && self.asked.is_none()
    }
}

/// A command without its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Start,
    Stop,
    Restart,
    Fault,
    Replace,
    Add,
    Remove,
}

impl Command {
    /// What it makes wanted.
    pub(crate) fn target(self) -> Option<DesiredState> {
        match self {
            Self::Start | Self::Restart | Self::Add => Some(DesiredState::Running),
            Self::Stop => Some(DesiredState::Stopped),
            Self::Remove => Some(DesiredState::Removed),
            Self::Fault | Self::Replace => None,
        }
    }

    /// Whether it asks the generations so far to leave.
    pub(crate) fn dismisses(self) -> bool {
        match self {
            Self::Stop | Self::Restart | Self::Replace | Self::Remove => true,
            Self::Start | Self::Fault | Self::Add => false,
        }
    }
}

/// A command to a worker that exists.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operator {
    pub(crate) client: u64,
    pub(crate) worker: usize,
    pub(crate) command: Command,
}

impl Operator {
    pub(crate) fn new(client: u64, command: &core::Command, names: &[String]) -> Option<Self> {
        let worker = names.iter().position(|known| known == command.worker())?;
        let command = match command {
            core::Command::Start(_) => Command::Start,
            core::Command::Stop(_) => Command::Stop,
            core::Command::Restart(_) => Command::Restart,
            core::Command::Fault(..) => Command::Fault,
            core::Command::Replace(_) => Command::Replace,
            core::Command::Add(_) => Command::Add,
            core::Command::Remove(_) => Command::Remove,
        };
        Some(Self { client, worker, command })
    }
}
