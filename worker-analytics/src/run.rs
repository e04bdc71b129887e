//! An analytics process from start to exit: take the fds, say hello, stand by, activate, apply events.

use crate::{
    Analysis,
    control_events::{ControlEvent, ControlEvents},
    engine::{self, Engine, EngineError, EngineMemory, IncompatibleState},
    log, panic_hook,
    run_loop::{self, LoopError},
};
use bulkhead_proto::{
    shm::{segment::SegmentError, table::TableReader},
    wire::{
        control::{FromWorker, PROTOCOL, RecoveryHints},
        exit_code::EXIT_CONFIG,
    },
    worker::{
        fault,
        fds::{FdError, FdName, InheritedFds},
        link::{AnalyticsLink, LinkError},
        pipe::{PipeError, Receiver, Sender},
        settings::{Settings, SettingsError},
        signals, this_process,
    },
};
use std::{io, process::ExitCode, sync::Arc, time::Duration};

/// Why the process ends although the supervisor did not ask for it.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Fds(#[from] FdError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("cannot set up the control pipe and the signal handlers: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Pipe(#[from] PipeError),
    #[error(transparent)]
    IncompatibleState(#[from] IncompatibleState),
    #[error(transparent)]
    Loop(#[from] LoopError),
}

impl RunError {
    /// With `EXIT_CONFIG`, the supervisor does not start the worker again: the same error would come back.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Fds(_)
            | Self::Settings(_)
            | Self::Link(LinkError::Fd(_) | LinkError::Segment(SegmentError::Mismatch { .. }))
            | Self::IncompatibleState(_)
            | Self::Loop(LoopError::Engine(EngineError::IncompatibleState(_))) => EXIT_CONFIG,
            // A restart can help: a lack of memory or fds may be temporary.
            Self::Link(_) | Self::Io(_) | Self::Pipe(_) | Self::Loop(_) => 1,
        }
    }
}

/// Runs `analysis` as a worker of Bulkhead until the supervisor stops it. A program's whole `main` is this
/// call.
///
/// Call it first in `main`, before the program starts a thread or opens an fd. The exit code is 0 after an
/// orderly stop; 78 if the state table belongs to another analysis, or if no supervisor started the process;
/// 101 after a panic; and 1 after any other error.
pub fn run<A: Analysis>(analysis: A) -> ExitCode {
    let result = run_worker(analysis);
    if let Err(error) = &result {
        tracing::error!("{error}");
    }
    log::flush();
    result.map_or_else(|error| error.exit_code().into(), |()| ExitCode::SUCCESS)
}

fn run_worker<A: Analysis>(analysis: A) -> Result<(), RunError> {
    let (fds, settings) = (InheritedFds::from_env(), Settings::from_env());
    log::init(settings.as_ref().map_or("info", |settings| &settings.log));
    let (mut fds, settings) = (fds?, settings?);

    let control = Receiver::new(fds.take(FdName::ControlIn)?);
    let supervisor = Arc::new(Sender::new(fds.take(FdName::ControlOut)?));
    supervisor.set_nonblocking(true).map_err(io::Error::from)?;
    let backtraces = panic_hook::install(settings.generation, Arc::clone(&supervisor));
    let AnalyticsLink { events, producer, cursor, state, wake: wake_fd } = AnalyticsLink::open(&mut fds)?;
    let control_events = ControlEvents::open(control, wake_fd)?;

    engine::check_schema::<A>(&TableReader::new(&state).record().unwrap_or_default())?;
    supervisor.send(&FromWorker::Hello { protocol: PROTOCOL, build: build_info::<A>() })?;
    supervisor.send(&FromWorker::Ready)?;
    let Some(hints) = stand_by(&control_events)? else { return Ok(()) };

    this_process::register(Arc::clone(&cursor), settings.generation);
    if let Err(error) = signals::record_fault_signals() {
        tracing::warn!(
            "cannot install the fault signal handlers: {error}; \
             a crash report of this process will lack the signal's code and address"
        );
    }
    if let Err(error) = signals::on_abort_from_outside(move || backtraces.send_backtrace()) {
        tracing::warn!(
            "cannot install the SIGABRT handler: {error}; \
             the report of a hang of this process will lack a backtrace"
        );
    }
    let memory = EngineMemory { events, producer, cursor, state };
    let mut engine = Engine::activate(analysis, &settings, memory, hints).map_err(LoopError::from)?;
    run_loop::run_until_drained(
        &mut engine,
        &control_events,
        Duration::from_millis(settings.stop_timeout_ms),
    )?;
    Ok(())
}

/// Waits for activation. `None`: the process must exit instead.
fn stand_by(control_events: &ControlEvents) -> Result<Option<RecoveryHints>, PipeError> {
    loop {
        match control_events.wait_in_standby()? {
            ControlEvent::Activate(hints) => return Ok(Some(hints)),
            ControlEvent::Drain => return Ok(None),
            ControlEvent::Fault(kind) => fault::execute(kind),
            ControlEvent::Continue => {}
        }
    }
}

/// The name and version of this program and of its analysis, for people.
fn build_info<A: Analysis>() -> String {
    format!("{} {}, {} version {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), A::NAME, A::VERSION)
}
