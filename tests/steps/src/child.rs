//! The child: takes its fds, carries out one scenario, and stops before and behind the part that is to be stepped through.

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

/// Set when the parent traces the child; without it, the child runs through.
pub const TRACED: &str = "BULKHEAD_STEPS_TRACED";

/// The part of a scenario that is stepped through.
#[derive(Debug)]
pub struct Region {
    traced: bool,
    /// What the scenario was told besides its name.
    pub arguments: Vec<OsString>,
}

impl Region {
    /// Carries out that part. Its result is dropped behind it.
    ///
    /// # Errors
    /// When the child cannot stop itself, or what `act` returns.
    pub fn run<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        self.mark()?;
        let done = act();
        self.mark()?;
        done
    }

    fn mark(&self) -> Result<()> {
        if self.traced {
            kill(getpid(), Signal::SIGSTOP)?;
        }
        Ok(())
    }
}

/// The child's `main`.
///
/// # Errors
/// When the scenario is unknown, or fails.
pub fn main() -> Result<()> {
    let traced = env::var_os(TRACED).is_some();
    if traced {
        ptrace::traceme()?;
    }
    let mut arguments = env::args_os().skip(1);
    let name = arguments.next().and_then(|name| name.into_string().ok()).context("which scenario?")?;
    let scenario = scenarios::find(&name).with_context(|| format!("no scenario {name:?}"))?;
    let mut fds = InheritedFds::from_env()?;
    scenario.act(&mut fds, &Region { traced, arguments: arguments.collect() })
}
