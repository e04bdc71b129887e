//! An analytics process from start to exit: take the fds, say hello, stand by, activate, apply events.

use crate::{
    Analysis,
    control_events::{ControlEvent, ControlEvents},
    engine::{self, Engine, EngineError, EngineMemory, StateRefused},
    run_loop::{self, LoopError},
    supervisor_link::ControlPipes,
};
use bulkhead_proto::{
    shm::table::TableReader,
    wire::{control::RecoveryHints, exit_code::EXIT_CONFIG},
    worker::{
        boot::{self, BootError, Inherited, Program, WorkerError, say_hello},
        link::AnalyticsLink,
        panic_hook::FatalPanics,
        pipe::PipeError,
    },
};
use std::{process::ExitCode, rc::Rc, sync::Arc, time::Duration};

const PROGRAM: Program =
    Program { name: "bulkhead-analytics", log_targets: false, fatal_panics: FatalPanics::AnyThread };

/// Why the process ends although the supervisor did not ask for it.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error(transparent)]
    StateRefused(#[from] StateRefused),
    #[error(transparent)]
    Loop(#[from] LoopError),
}

impl WorkerError for RunError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Boot(error) => error.exit_code(),
            // The same error would come back.
            Self::StateRefused(_) | Self::Loop(LoopError::Engine(EngineError::IncompatibleState(_))) => {
                EXIT_CONFIG
            }
            Self::Loop(_) => 1,
        }
    }
}

/// Runs `analysis` as a worker of Bulkhead until the supervisor stops it. A program's whole `main` is this
/// call.
///
/// Call it first in `main`, before the program starts a thread or opens an fd. The exit code is 0 after an
/// orderly stop; 78 if the stored state does not fit the analysis, or if no supervisor started the process;
/// 101 after a panic; and 1 after any other error.
pub fn run<A: Analysis>(analysis: A) -> ExitCode {
    boot::run(PROGRAM, |inherited| run_worker(analysis, inherited))
}

fn run_worker<A: Analysis>(analysis: A, inherited: Inherited) -> Result<(), RunError> {
    let Inherited { mut fds, settings, control, supervisor, backtraces } = inherited;
    let link = AnalyticsLink::open(&mut fds, settings.slots()).map_err(BootError::from)?;
    let AnalyticsLink { events, producer, cursor, state, wake: wake_fd } = link;
    let control_events = Rc::new(ControlEvents::open(control, wake_fd).map_err(BootError::from)?);

    engine::check_stored_states(&analysis, &TableReader::new(&state, settings.slots()))?;
    say_hello(&supervisor, build_info::<A>())?;
    let Some(hints) = stand_by(&control_events).map_err(BootError::from)? else { return Ok(()) };

    boot::record_deaths(Arc::clone(&cursor), settings.generation, backtraces);
    let memory = EngineMemory { events, producer, cursor, state };
    let trial = hints.trial;
    let link =
        ControlPipes { supervisor: Arc::clone(&supervisor), control_events: Rc::clone(&control_events) };
    let mut engine = Engine::activate(analysis, &settings, memory, hints, link).map_err(LoopError::from)?;
    let stop_timeout = Duration::from_millis(settings.stop_timeout_ms);
    let ended = match trial {
        Some(trial) => run_loop::run_trial(&mut engine, trial, &control_events, &supervisor),
        None => run_loop::run_until_drained(&mut engine, &control_events, stop_timeout),
    };
    match ended {
        Ok(()) | Err(LoopError::Engine(EngineError::Interrupted)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Waits for activation. `None`: the process must exit instead.
fn stand_by(control_events: &ControlEvents) -> Result<Option<RecoveryHints>, PipeError> {
    control_events.wait_until(|event| {
        let ControlEvent::Activate(hints) = event else { return None };
        Some(hints)
    })
}

/// The name and version of this program and of its analysis, for people.
fn build_info<A: Analysis>() -> String {
    format!("{} {}, {} version {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), A::NAME, A::VERSION)
}
