//! How a worker begins and ends: it takes what it has inherited, starts its log, says hello, works, and exits.

use super::{
    fds::{FdError, FdName, InheritedFds},
    link::LinkError,
    log,
    panic_hook::{self, BacktraceSender, FatalPanics},
    pipe::{PipeError, Receiver, Sender, Sent},
    settings::{Settings, SettingsError},
    signals, this_process,
};
use crate::{
    shm::segment::{ReadWrite, SegmentError},
    wire::{
        control::{FromWorker, MAX_TEXT, PROTOCOL, ToWorker},
        exit_code::EXIT_CONFIG,
        ids::Generation,
        text::cut,
    },
};
use std::{fmt::Display, io, process::ExitCode, sync::Arc};

/// How the program of a worker differs from others.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The name of the program, for errors before the log is started.
    pub name: &'static str,
    /// Whether lines of the log name the module that logs them.
    pub log_targets: bool,
    /// Which panics end the process.
    pub fatal_panics: FatalPanics,
}

/// An error that ends a worker.
pub trait WorkerError: Display {
    /// [`EXIT_CONFIG`] if another start cannot help, otherwise 1.
    fn exit_code(&self) -> u8;
}

/// Why a worker could not begin.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The settings cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The inherited fds cannot be used.
    #[error(transparent)]
    Fds(#[from] FdError),
    /// The shared memory cannot be used.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The control pipes cannot be used.
    #[error(transparent)]
    Pipe(#[from] PipeError),
    /// The supervisor does not read.
    #[error("the supervisor closed the control pipe before the worker could send its hello")]
    SupervisorGone,
    /// Another system call failed.
    #[error("cannot set up the worker: {0}")]
    Io(#[from] io::Error),
}

impl WorkerError for BootError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_)
            | Self::Fds(_)
            | Self::Link(LinkError::Fd(_) | LinkError::Segment(SegmentError::Mismatch { .. })) => EXIT_CONFIG,
            // A lack of memory or fds may pass.
            Self::Link(_) | Self::Pipe(_) | Self::SupervisorGone | Self::Io(_) => 1,
        }
    }
}

/// What a worker has inherited from the supervisor.
#[derive(Debug)]
pub struct Inherited {
    /// The inherited fds, except those of the control pipes.
    pub fds: InheritedFds,
    /// The settings.
    pub settings: Settings,
    /// The frames from the supervisor. Non-blocking.
    pub control: Receiver<ToWorker>,
    /// The frames to the supervisor. Non-blocking: a stopped supervisor must not block a panic hook or a request.
    pub supervisor: Arc<Sender<FromWorker>>,
    /// Sends backtraces to the supervisor.
    pub backtraces: Arc<BacktraceSender>,
}

impl Inherited {
    fn take(program: Program) -> Result<Self, BootError> {
        let (mut fds, settings) = (InheritedFds::from_env()?, Settings::from_env()?);
        log::start(&settings.log, program.log_targets);
        let control = Receiver::new(fds.take(FdName::ControlIn)?);
        let supervisor = Arc::new(Sender::new(fds.take(FdName::ControlOut)?));
        control.set_nonblocking(true).map_err(PipeError::from)?;
        supervisor.set_nonblocking(true).map_err(PipeError::from)?;
        let backtraces = panic_hook::install(program.fatal_panics, Arc::clone(&supervisor));
        Ok(Self { fds, settings, control, supervisor, backtraces })
    }
}

/// Runs a worker: takes what it has inherited, and passes it to `work`. `main` returns the result: 0 if `work` succeeded,
/// 101 after a fatal panic, otherwise the exit code of the error.
///
/// Call it first in `main`, before the program starts a thread or opens an fd.
pub fn run<E: WorkerError>(program: Program, work: impl FnOnce(Inherited) -> Result<(), E>) -> ExitCode {
    if let Err(error) = signals::ignore_unexpected_signals() {
        eprintln!("{}: unexpected signals may end this process: {error}", program.name);
    }
    let inherited = match Inherited::take(program) {
        Ok(inherited) => inherited,
        Err(error) => {
            // Without settings there is no log.
            eprintln!("{}: {error}", program.name);
            return error.exit_code().into();
        }
    };
    let supervisor = Arc::clone(&inherited.supervisor);
    let outcome = work(inherited);
    if let Err(error) = &outcome {
        tracing::error!("{error}");
        let error = cut(&error.to_string(), MAX_TEXT).to_owned();
        // The pipe is non-blocking: if it is full, the line in the log must suffice.
        let _ = supervisor.send(&FromWorker::Failed { error });
    }
    log::flush();
    outcome.map_or_else(|error| error.exit_code().into(), |()| ExitCode::SUCCESS)
}

/// Says that this worker can be activated. `build`: name and version of the program, for people.
///
/// # Errors
/// If the supervisor does not read.
pub fn say_hello(supervisor: &Sender<FromWorker>, build: String) -> Result<(), BootError> {
    for frame in [FromWorker::Hello { protocol: PROTOCOL, build }, FromWorker::Ready] {
        match supervisor.send(&frame)? {
            Sent::Done => {}
            Sent::Full | Sent::Closed => return Err(BootError::SupervisorGone),
        }
    }
    Ok(())
}

/// From now on, this process records on its cursor page what it dies of, and sends a backtrace when another process aborts
/// it because it hangs. Call it on activation.
pub fn record_deaths(page: Arc<ReadWrite>, generation: Generation, backtraces: Arc<BacktraceSender>) {
    this_process::register(page, generation);
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
}
