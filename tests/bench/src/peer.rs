//! The other process of a measurement: this program, started again.
//!
//! The peer writes one byte to its standard output when it is ready, and one more when the last message has
//! arrived. Each transport chooses how messages travel; standard input and output may be part of it.

use crate::{
    bare_handler,
    machine::{self, Side},
    transport,
};
use anyhow::{Context, bail, ensure};
use command_fds::CommandFdExt;
use nix::unistd::alarm;
use rustix::process::{Signal, set_parent_process_death_signal};
use std::{
    env, io,
    os::fd::{AsFd, OwnedFd},
    process::{Child, Command, Stdio},
};

/// The time limit of a peer, in seconds. A measurement takes only a few; a peer that exceeds the limit exits.
const TIME_LIMIT_S: u32 = 60;

/// The first argument of a peer.
const ARGUMENT: &str = "peer";

/// The messages of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Workload {
    /// The length of a message, in bytes.
    pub(crate) size: usize,
    /// The number of messages.
    pub(crate) count: u64,
}

/// The directions in which the messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// All messages go to the peer.
    Stream,
    /// Each message goes to the peer and back before the next one.
    RoundTrips,
}

/// The role of a process that this program starts for a measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HelperRole {
    /// The other side of a transport.
    Peer(Task),
    /// The bare HTTP handler.
    BareHandler,
}

/// What a peer has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub(crate) transport: String,
    pub(crate) direction: Direction,
    pub(crate) workload: Workload,
}

/// What a peer inherits.
#[derive(Debug, Default)]
pub(crate) struct PeerSetup {
    pub(crate) stdin: Option<OwnedFd>,
    /// The standard output; by default a pipe to the measuring process.
    pub(crate) stdout: Option<OwnedFd>,
    /// Kept open under the same numbers.
    pub(crate) fds: Vec<OwnedFd>,
    pub(crate) env: Vec<(&'static str, String)>,
}

/// A running peer. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    /// The pipe from its standard output, unless the output was set.
    output: Option<OwnedFd>,
}

impl Task {
    fn arguments(&self) -> [String; 5] {
        let direction = if self.direction == Direction::Stream { "flow" } else { "trips" };
        let (size, count) = (self.workload.size.to_string(), self.workload.count.to_string());
        [ARGUMENT.to_owned(), self.transport.clone(), direction.to_owned(), size, count]
    }

    fn parse(arguments: &[String]) -> Option<Self> {
        let [first, transport, direction, size, count] = arguments else { return None };
        let direction = if direction == "flow" { Direction::Stream } else { Direction::RoundTrips };
        let workload = Workload { size: size.parse().ok()?, count: count.parse().ok()? };
        (first == ARGUMENT).then(|| Self { transport: transport.clone(), direction, workload })
    }
}

/// The role of this process; `None` for the measuring process.
#[must_use]
pub fn role() -> Option<HelperRole> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match &arguments[..] {
        [first] if first == bare_handler::ARGUMENT => Some(HelperRole::BareHandler),
        peers => Task::parse(peers).map(HelperRole::Peer),
    }
}

/// Runs a role until it ends.
///
/// # Errors
/// When the measurement fails.
pub fn run_role(role: &HelperRole) -> anyhow::Result<()> {
    // The peer must not outlive the measuring process.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let task = match role {
        HelperRole::BareHandler => return bare_handler::serve(),
        HelperRole::Peer(task) => task,
    };
    alarm::set(TIME_LIMIT_S);
    machine::pin(Side::Far)?;
    transport::find(&task.transport)?.peer(task.direction, task.workload)
}

/// Writes the byte that means "ready" or "done".
pub(crate) fn signal() -> anyhow::Result<()> {
    let written = rustix::io::write(io::stdout(), b".").context("cannot signal the measuring process")?;
    ensure!(written == 1, "the signal to the measuring process was not written");
    Ok(())
}

/// Waits for the byte that means "ready" or "done".
pub(crate) fn wait_for_signal(from: impl AsFd) -> anyhow::Result<()> {
    match rustix::io::read(from, &mut [0u8; 1])? {
        1 => Ok(()),
        _ => bail!("the peer exited before it was done; its error is above"),
    }
}

impl Peer {
    /// Starts a peer. It is not ready yet.
    pub(crate) fn start(task: &Task, setup: PeerSetup) -> anyhow::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.args(task.arguments()).envs(setup.env);
        command.stdin(setup.stdin.map_or_else(Stdio::null, Stdio::from));
        command.stdout(setup.stdout.map_or_else(Stdio::piped, Stdio::from));
        command.preserved_fds(setup.fds);
        let mut child =
            command.spawn().with_context(|| format!("cannot start a peer for {}", task.transport))?;
        let output = child.stdout.take().map(OwnedFd::from);
        Ok(Self { child, output })
    }

    /// Waits for the next byte of the peer.
    pub(crate) fn wait_for_signal(&self) -> anyhow::Result<()> {
        wait_for_signal(self.output.as_ref().context("the output of this peer is not piped")?)
    }

    /// Fails if the peer has exited. For loops that would otherwise wait without end.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the peer exited too early: {status}"),
        }
    }

    /// Waits until the peer exits with success.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        let status = self.child.wait()?;
        ensure!(status.success(), "the peer failed: {status}");
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The process may already have exited, so errors do not matter.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_survives_the_command_line() {
        let task = Task {
            transport: "pipe".to_owned(),
            direction: Direction::RoundTrips,
            workload: Workload { size: 64, count: 1_000 },
        };
        assert_eq!(Task::parse(&task.arguments()), Some(task));
        assert_eq!(Task::parse(&["--bench".to_owned()]), None);
    }
}
