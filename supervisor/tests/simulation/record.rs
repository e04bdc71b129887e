//! What the checker records about each generation, and the commands it has seen.

use crate::checker::Clocks;
use bulkhead_proto::wire::{control::Phase, role::Role};
use bulkhead_supervisor::core::{self, DesiredState};

/// One generation, from its `Spawn` action on.
#[derive(Clone, Debug)]
pub(crate) struct GenerationRecord {
    pub(crate) worker: usize,
    pub(crate) role: Role,
    /// It was started while another generation was active that nothing was to replace.
    pub(crate) is_standby: bool,
    pub(crate) phase: Phase,
    pub(crate) ready: bool,
    /// The process announced another protocol version.
    pub(crate) wrong_protocol: bool,
    pub(crate) died: bool,
    /// When the spawn was ordered. This time and the next two are on the simulation's clock.
    pub(crate) spawn_ordered_at: u64,
    pub(crate) activated_at: Option<u64>,
    /// When the process was first asked to stop.
    pub(crate) stop_requested_at: Option<u64>,
    /// The number of the last ping that was sent.
    pub(crate) last_ping: u64,
    /// When SIGABRT was sent.
    pub(crate) aborted_at: Option<u64>,
    /// When the process group was killed, on the supervisor's clock.
    pub(crate) killed_at: Option<u64>,
    /// It tries one event and commits nothing.
    pub(crate) is_trial: bool,
    /// It was ordered not to apply the events of isolated series.
    pub(crate) isolates: bool,
    /// Its request to store events of isolated series is not answered.
    pub(crate) storing_isolated: bool,
    /// A command or an ordered fault asked the process to stop or to die.
    pub(crate) exit_requested: bool,
}

impl GenerationRecord {
    pub(crate) fn new(worker: usize, role: Role, spawn_ordered_at: u64) -> Self {
        Self {
            worker,
            role,
            is_standby: false,
            phase: Phase::Spawned,
            ready: false,
            wrong_protocol: false,
            died: false,
            spawn_ordered_at,
            activated_at: None,
            stop_requested_at: None,
            last_ping: 0,
            aborted_at: None,
            killed_at: None,
            is_trial: false,
            isolates: false,
            storing_isolated: false,
            exit_requested: false,
        }
    }

    pub(crate) fn request_stop(&mut self, sim: u64) {
        self.stop_requested_at.get_or_insert(sim);
    }

    pub(crate) fn record_kill(&mut self, now: Clocks) {
        self.stop_requested_at.get_or_insert(now.sim);
        self.killed_at.get_or_insert(now.mono);
    }

    /// No stop was requested from the process. An analysis stays active until it is dead, because it may still
    /// write.
    pub(crate) fn is_active(&self) -> bool {
        match self.role {
            Role::Analytics => self.activated_at.is_some(),
            Role::Api => self.activated_at.is_some() && self.stop_requested_at.is_none(),
            Role::Plain => true,
        }
    }

    pub(crate) fn is_starting(&self) -> bool {
        !self.ready && self.stop_requested_at.is_none()
    }
}

/// The kind of a command, without the name of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommandKind {
    Start,
    Stop,
    Restart,
    Fault,
    Replace,
    Add,
    Remove,
}

impl CommandKind {
    /// The desired state that the command sets, if it sets one.
    pub(crate) fn desired_state(self) -> Option<DesiredState> {
        match self {
            Self::Start | Self::Restart | Self::Add => Some(DesiredState::Running),
            Self::Stop => Some(DesiredState::Stopped),
            Self::Remove => Some(DesiredState::Removed),
            Self::Fault | Self::Replace => None,
        }
    }

    /// Whether the command asks the existing generations to stop.
    pub(crate) fn outdates(self) -> bool {
        match self {
            Self::Stop | Self::Restart | Self::Replace | Self::Remove => true,
            Self::Start | Self::Fault | Self::Add => false,
        }
    }
}

/// A command to a worker that exists.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IssuedCommand {
    pub(crate) client: u64,
    pub(crate) worker: usize,
    pub(crate) command: CommandKind,
}

impl IssuedCommand {
    pub(crate) fn new(client: u64, command: &core::Command, names: &[String]) -> Option<Self> {
        let worker = names.iter().position(|name| name == command.worker())?;
        let command = match command {
            core::Command::Start(_) => CommandKind::Start,
            core::Command::Stop(_) => CommandKind::Stop,
            core::Command::Restart(_) => CommandKind::Restart,
            core::Command::Fault(..) => CommandKind::Fault,
            core::Command::Replace(_) => CommandKind::Replace,
            core::Command::Add(_) => CommandKind::Add,
            core::Command::Remove(_) => CommandKind::Remove,
        };
        Some(Self { client, worker, command })
    }
}
