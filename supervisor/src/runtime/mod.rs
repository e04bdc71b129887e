//! The runtime around [`crate::core`]: turns file descriptors, signals and deadlines into events, and carries actions
//! out. All I/O is here.
//!
//! The runtime never waits for a worker, and never reads an event's payload.

mod async_fd;
mod blocking;
mod blocking_task;
mod child;
mod clock;
mod commands;
mod configuration;
mod control_plane;
mod effects;
mod event_loop;
mod probes;
mod published;
mod quarantine;
mod recovery;
mod reload;
mod signals;
mod socket_files;
mod socket_watch;
mod stand_in;
mod status;
mod storage;

use crate::{
    config::{Config, Source, WorkerConfig},
    core::{Identity, State, WorkerSpec},
    log::Log,
    store::high_water::Numbers,
    sys::listen_fds,
};
use anyhow::Context as _;
use child::{orphans, spawn};
use event_loop::Supervisor;
use signals::Signals;
use std::path::PathBuf;
use tokio::sync::mpsc;

/// Number of commands that may wait to be handled.
const REQUEST_QUEUE: usize = 16;

/// What a run starts with.
pub struct Start {
    /// The configuration.
    pub config: Config,
    /// The origin of the configuration.
    pub source: Source,
    /// The path of `--config`: a reload looks there first.
    pub config_path: Option<PathBuf>,
    /// The path of the control socket.
    pub socket: PathBuf,
    /// The log.
    pub log: Log,
}

/// Runs the service until it is stopped. Returns the exit code.
///
/// # Errors
/// If the service cannot start.
pub fn run(start: Start) -> anyhow::Result<u8> {
    let inherited = listen_fds::take(&env_var)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // First: a signal must not end this process without a word in the log.
        let mut signals = Signals::register().context("cannot handle signals")?;
        spawn::set_cloexec_inherited();
        spawn::forbid_core_dumps();
        let preexisting = orphans::become_subreaper();
        let (request_sender, mut requests) = mpsc::channel(REQUEST_QUEUE);
        let mut supervisor = Supervisor::open(start, inherited, request_sender, preexisting)?;
        Ok(supervisor.run_loop(&mut signals, &mut requests).await)
    })
}

fn env_var(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The state before the first event.
fn initial_state(config: &Config, next: Numbers) -> State {
    let now = clock::now();
    let identity = Identity {
        pid: std::process::id(),
        next_generation: next.generation,
        next_crash: next.crash,
        seed: now.unix_ms ^ (u64::from(std::process::id()) << 32),
    };
    State::new(config.policy.clone(), specs(config), identity, now)
}

/// What the core needs to know of the configured workers.
fn specs(config: &Config) -> Vec<WorkerSpec> {
    config.workers.iter().map(spec).collect()
}

fn spec(worker: &WorkerConfig) -> WorkerSpec {
    let WorkerConfig { ref name, role, stop_timeout, hang_timeout, .. } = *worker;
    WorkerSpec { name: name.clone(), role, stop_timeout, hang_timeout }
}
