//! The other process of a measurement: this program, started again.
//!
//! It says one byte on its standard output when it is ready, and one more when the last message has arrived. What the
//! messages themselves travel over is each transport's affair; standard input and output may be part of it.

use crate::{
    bare,
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

/// A peer that takes longer ends itself, in seconds: nothing here takes more than a few.
const BOUND: u32 = 60;

/// The first argument of a peer.
const MARK: &str = "peer";

/// What is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// A message's length, in bytes.
    pub(crate) size: usize,
    /// How many messages.
    pub(crate) count: u64,
}

/// Which way messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// All to the peer.
    Flow,
    /// One to the peer, and it back, one by one.
    Trips,
}

/// What a process is to be, other than the one that measures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// The other side of a transport.
    Peer(Task),
    /// The bare HTTP handler.
    Bare,
}

/// What a peer is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    pub(crate) transport: String,
    pub(crate) job: Job,
    pub(crate) load: Load,
}

/// What a peer is given along.
#[derive(Debug, Default)]
pub(crate) struct Luggage {
    pub(crate) stdin: Option<OwnedFd>,
    /// Its standard output; the default is a pipe to us.
    pub(crate) stdout: Option<OwnedFd>,
    /// Kept open under the same numbers.
    pub(crate) fds: Vec<OwnedFd>,
    pub(crate) env: Vec<(&'static str, String)>,
}

/// A running peer. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Peer {
    child: Child,
    /// What it says, unless its output was given along.
    said: Option<OwnedFd>,
}

impl Task {
    fn arguments(&self) -> [String; 5] {
        let job = if self.job == Job::Flow { "flow" } else { "trips" };
        let (size, count) = (self.load.size.to_string(), self.load.count.to_string());
        [MARK.to_owned(), self.transport.clone(), job.to_owned(), size, count]
    }

    fn parse(arguments: &[String]) -> Option<Self> {
        let [mark, transport, job, size, count] = arguments else { return None };
        let job = if job == "flow" { Job::Flow } else { Job::Trips };
        let load = Load { size: size.parse().ok()?, count: count.parse().ok()? };
        (mark == MARK).then(|| Self { transport: transport.clone(), job, load })
    }
}

/// What this process is to be, if it is not the one that measures.
#[must_use]
pub fn role() -> Option<Role> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match &arguments[..] {
        [mark] if mark == bare::MARK => Some(Role::Bare),
        peers => Task::parse(peers).map(Role::Peer),
    }
}

/// Plays a role, to its end.
///
/// # Errors
/// When the measurement breaks down.
pub fn play(role: &Role) -> anyhow::Result<()> {
    // Whatever happens to the one who started it, it does not stay behind.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let task = match role {
        Role::Bare => return bare::serve(),
        Role::Peer(task) => task,
    };
    alarm::set(BOUND);
    machine::pin(Side::Far)?;
    transport::find(&task.transport)?.peer(task.job, task.load)
}

/// Says the byte that stands for "ready" or "done".
pub(crate) fn say() -> anyhow::Result<()> {
    let said = rustix::io::write(io::stdout(), b".").context("cannot tell the measuring process")?;
    ensure!(said == 1, "nothing could be told to the measuring process");
    Ok(())
}

/// Waits for the byte that stands for "ready" or "done".
pub(crate) fn hear(from: impl AsFd) -> anyhow::Result<()> {
    match rustix::io::read(from, &mut [0u8; 1])? {
        1 => Ok(()),
        _ => bail!("the peer ended before it was done; it says why above"),
    }
}

impl Peer {
    /// Starts one; it is not ready yet.
    pub(crate) fn start(task: &Task, luggage: Luggage) -> anyhow::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.args(task.arguments()).envs(luggage.env);
        command.stdin(luggage.stdin.map_or_else(Stdio::null, Stdio::from));
        command.stdout(luggage.stdout.map_or_else(Stdio::piped, Stdio::from));
        command.preserved_fds(luggage.fds);
        let mut child =
            command.spawn().with_context(|| format!("cannot start a peer for {}", task.transport))?;
        let said = child.stdout.take().map(OwnedFd::from);
        Ok(Self { child, said })
    }

    /// Waits for its next word.
    pub(crate) fn hear(&self) -> anyhow::Result<()> {
        hear(self.said.as_ref().context("this peer's output goes elsewhere")?)
    }

    /// Fails if it has ended: for loops that would wait for it for ever.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the peer ended too early: {status}"),
        }
    }

    /// Waits for its orderly end.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        let status = self.child.wait()?;
        ensure!(status.success(), "the peer failed: {status}");
        Ok(())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // No error matters here: it may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_survives_the_command_line() {
        let task =
            Task { transport: "pipe".to_owned(), job: Job::Trips, load: Load { size: 64, count: 1_000 } };
        assert_eq!(Task::parse(&task.arguments()), Some(task));
        assert_eq!(Task::parse(&["--bench".to_owned()]), None);
    }
}
