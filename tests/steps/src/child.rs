//! The child process: takes its fds, executes one scenario, and stops itself before and after the part that
//! the parent steps through.

use crate::scenarios;
use anyhow::{Context as _, Result};
use bulkhead_proto::worker::fds::InheritedFds;
use nix::{
    sys::{
        ptrace,
        signal::{Signal, kill},
    },
    unistd::getpid,
};
use std::{env, ffi::OsString};

/// Set when the parent traces the child. Without it, the child runs without stops.
pub const TRACED: &str = "BULKHEAD_STEPS_TRACED";

/// The part of a scenario that the parent steps through.
#[derive(Debug)]
pub struct Region {
    traced: bool,
    /// The arguments after the scenario's name.
    pub arguments: Vec<OsString>,
}

impl Region {
    /// Executes the region between two stops. The result is dropped after the second stop.
    ///
    /// # Errors
    /// When the child cannot stop itself, or the error of `execute`.
    pub fn run<T>(&self, execute: impl FnOnce() -> Result<T>) -> Result<T> {
        self.stop_at_boundary()?;
        let result = execute();
        self.stop_at_boundary()?;
        result
    }

    fn stop_at_boundary(&self) -> Result<()> {
        if self.traced {
            kill(getpid(), Signal::SIGSTOP)?;
        }
        Ok(())
    }
}

/// The child's `main`.
///
/// # Errors
/// When the scenario is unknown or fails.
pub fn main() -> Result<()> {
    let traced = env::var_os(TRACED).is_some();
    if traced {
        ptrace::traceme()?;
    }
    let mut arguments = env::args_os().skip(1);
    let name = arguments.next().and_then(|name| name.into_string().ok()).context("no scenario given")?;
    let scenario = scenarios::find(&name).with_context(|| format!("unknown scenario {name:?}"))?;
    let mut fds = InheritedFds::from_env()?;
    scenario.execute(&mut fds, &Region { traced, arguments: arguments.collect() })
}
