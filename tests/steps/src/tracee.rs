//! A child under ptrace(2): to its marks, and step by step between them.

use crate::child::TRACED;
use anyhow::{Context as _, Result, bail, ensure};
use bulkhead_proto::worker::fds::{FDS_VARIABLE, FdHandoff};
use command_fds::CommandFdExt as _;
use nix::{
    sys::{
        ptrace,
        signal::Signal,
        wait::{WaitStatus, waitpid},
    },
    unistd::Pid,
};
use std::{
    ffi::OsStr,
    path::Path,
    process::{Child, Command},
};

/// No operation takes that many instructions: beyond it, one loops.
const MOST_STEPS: usize = 5_000_000;

/// A child that is stopped whenever nobody waits for it. Killed when dropped; the kernel kills it with its tracer, too.
#[derive(Debug)]
pub struct Tracee {
    child: Child,
    pid: Pid,
}

/// Starts the child's program for a scenario, with what it inherits.
///
/// # Errors
/// When it cannot be started.
pub fn command(
    program: &Path,
    scenario: &str,
    bequest: FdHandoff,
    arguments: &[&OsStr],
    traced: bool,
) -> Result<Command> {
    let mut command = Command::new(program);
    command.arg(scenario).args(arguments).env(FDS_VARIABLE, bequest.variable());
    if traced {
        command.env(TRACED, "1");
    }
    command.preserved_fds(bequest.into_fds());
    Ok(command)
}

/// How a child was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// Behind one instruction.
    Stepped,
    /// By itself, at a mark.
    Marked,
    /// It left.
    Left(i32),
}

impl Tracee {
    /// Starts the child and lets it run to the first mark.
    ///
    /// # Errors
    /// When it does not come so far.
    pub fn start(program: &Path, scenario: &str, bequest: FdHandoff, arguments: &[&OsStr]) -> Result<Self> {
        let child = command(program, scenario, bequest, arguments, true)?.spawn()?;
        let tracee = Self { pid: Pid::from_raw(child.id().try_into()?), child };
        let stop = tracee.wait()?;
        ensure!(stop == Stop::Marked, "the child did not come to its mark: {stop:?}");
        ptrace::setoptions(tracee.pid, ptrace::Options::PTRACE_O_EXITKILL)?;
        Ok(tracee)
    }

    /// The child's pid.
    #[must_use]
    pub const fn pid(&self) -> Pid {
        self.pid
    }

    fn wait(&self) -> Result<Stop> {
        let status = waitpid(self.pid, None)?;
        if let WaitStatus::Exited(_, code) = status {
            return Ok(Stop::Left(code));
        }
        let WaitStatus::Stopped(_, signal @ (Signal::SIGTRAP | Signal::SIGSTOP)) = status else {
            bail!("the child was stopped by something else: {status:?}")
        };
        Ok(if signal == Signal::SIGTRAP { Stop::Stepped } else { Stop::Marked })
    }

    /// Carries out one instruction (a system call is one). False when that brought it to its mark.
    ///
    /// # Errors
    /// When it left, or was stopped by something else.
    pub fn step(&self) -> Result<bool> {
        ptrace::step(self.pid, None)?;
        match self.wait()? {
            Stop::Stepped => Ok(true),
            Stop::Marked => Ok(false),
            Stop::Left(code) => bail!("the child left in the midst of its steps, with {code}"),
        }
    }

    /// Steps to the next mark, and calls `each` with the number of steps so far. How many steps there were.
    ///
    /// # Errors
    /// When the child leaves or loops, or what `each` returns.
    pub fn step_through(&self, mut each: impl FnMut(usize) -> Result<()>) -> Result<usize> {
        for steps in 1..MOST_STEPS {
            if !self.step()? {
                return Ok(steps);
            }
            each(steps).with_context(|| format!("behind step {steps}"))?;
        }
        bail!("no mark within {MOST_STEPS} steps")
    }

    /// Lets it run from its last mark to its end.
    ///
    /// # Errors
    /// When it does not leave with 0.
    pub fn finish(self) -> Result<()> {
        ptrace::cont(self.pid, None)?;
        let stop = self.wait()?;
        ensure!(stop == Stop::Left(0), "the child did not leave well: {stop:?}");
        Ok(())
    }

    /// Kills it where it stands, and waits until it is gone.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Tracee {
    fn drop(&mut self) {
        // Both fail harmlessly when it was waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
