//! A child under ptrace(2): runs to its stops, and is single-stepped between them.

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

/// More instructions than any operation takes. A child that exceeds it is in a loop.
const MAX_STEPS: usize = 5_000_000;

/// A child that is stopped except while the parent waits for it. It is killed when dropped, and the kernel
/// kills it when its tracer dies.
#[derive(Debug)]
pub struct Tracee {
    child: Child,
    pid: Pid,
}

/// The command that starts the child's program for a scenario, with the fds that it inherits.
///
/// # Errors
/// When it cannot be prepared.
pub fn command(
    program: &Path,
    scenario: &str,
    fds: FdHandoff,
    arguments: &[&OsStr],
    traced: bool,
) -> Result<Command> {
    let mut command = Command::new(program);
    command.arg(scenario).args(arguments).env(FDS_VARIABLE, fds.variable());
    if traced {
        command.env(TRACED, "1");
    }
    command.preserved_fds(fds.into_fds());
    Ok(command)
}

/// Why a child stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// After one instruction.
    Stepped,
    /// By its own SIGSTOP, at the beginning or the end of its region.
    AtBoundary,
    /// The child exited.
    Exited(i32),
}

impl Tracee {
    /// Starts the child and lets it run to the beginning of its region.
    ///
    /// # Errors
    /// When the child does not reach its region.
    pub fn start(program: &Path, scenario: &str, fds: FdHandoff, arguments: &[&OsStr]) -> Result<Self> {
        let child = command(program, scenario, fds, arguments, true)?.spawn()?;
        let tracee = Self { pid: Pid::from_raw(child.id().try_into()?), child };
        let stop = tracee.wait()?;
        ensure!(stop == Stop::AtBoundary, "the child did not reach its region: {stop:?}");
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
            return Ok(Stop::Exited(code));
        }
        let WaitStatus::Stopped(_, signal @ (Signal::SIGTRAP | Signal::SIGSTOP)) = status else {
            bail!("the child stopped for another reason: {status:?}")
        };
        Ok(if signal == Signal::SIGTRAP { Stop::Stepped } else { Stop::AtBoundary })
    }

    /// Executes one instruction (a system call counts as one). Returns false when the child has reached the
    /// end of its region.
    ///
    /// # Errors
    /// When the child exits or stops for another reason.
    pub fn step(&self) -> Result<bool> {
        ptrace::step(self.pid, None)?;
        match self.wait()? {
            Stop::Stepped => Ok(true),
            Stop::AtBoundary => Ok(false),
            Stop::Exited(code) => bail!("the child exited within its region with code {code}"),
        }
    }

    /// Steps to the end of the region, and calls `each` with the number of steps so far. Returns the number of steps.
    ///
    /// # Errors
    /// When the child exits or loops, or the error of `each`.
    pub fn step_through(&self, mut each: impl FnMut(usize) -> Result<()>) -> Result<usize> {
        for steps in 1..MAX_STEPS {
            if !self.step()? {
                return Ok(steps);
            }
            each(steps).with_context(|| format!("after step {steps}"))?;
        }
        bail!("the region did not end within {MAX_STEPS} steps")
    }

    /// Lets the child run from the end of its region to its exit.
    ///
    /// # Errors
    /// When its exit code is not 0.
    pub fn finish(self) -> Result<()> {
        ptrace::cont(self.pid, None)?;
        let stop = self.wait()?;
        ensure!(stop == Stop::Exited(0), "the child did not exit with 0: {stop:?}");
        Ok(())
    }

    /// Kills the child at its current instruction, and waits until it is gone.
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
        // Both calls fail without harm if the child was already reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
