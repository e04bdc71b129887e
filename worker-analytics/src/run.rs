//! The life of an analysis process, top to bottom.

use crate::{
    Analysis,
    engine::{self, Engine, Fatal, Memory},
    inbox::{Inbox, Wake},
    last_words, log,
    version::Foreign,
    work::{self, Broken},
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

/// Why a process ends without being asked to.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Fds(#[from] FdError),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("cannot listen to the supervisor and to signals: {0}")]
    Inbox(#[from] io::Error),
    #[error(transparent)]
    Pipe(#[from] PipeError),
    #[error(transparent)]
    Foreign(#[from] Foreign),
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl Failure {
    /// The supervisor does not try again when the configuration is wrong.
    fn code(&self) -> u8 {
        match self {
            Self::Fds(_)
            | Self::Settings(_)
            | Self::Link(LinkError::Fd(_) | LinkError::Segment(SegmentError::Mismatch { .. }))
            | Self::Foreign(_)
            | Self::Broken(Broken::Work(Fatal::Foreign(_))) => EXIT_CONFIG,
            // A lack of memory or fds may pass.
            Self::Link(_) | Self::Inbox(_) | Self::Pipe(_) | Self::Broken(_) => 1,
        }
    }
}

/// Runs an analysis as a worker of Bulkhead, until the supervisor lets it go: the whole `main` of a program of yours.
///
/// To be called first of all in `main`, before any thread or fd exists. The exit code is 0 after an orderly end, 78 when
/// the state is another analysis's or the process was not started by a supervisor, else 1; 101 after a panic.
pub fn run<A: Analysis>(analysis: A) -> ExitCode {
    let ended = live(analysis);
    if let Err(failure) = &ended {
        tracing::error!("{failure}");
    }
    log::flush();
    ended.map_or_else(|failure| failure.code().into(), |()| ExitCode::SUCCESS)
}

fn live<A: Analysis>(analysis: A) -> Result<(), Failure> {
    let (fds, settings) = (InheritedFds::from_env(), Settings::from_env());
    log::init(settings.as_ref().map_or("info", |settings| &settings.log));
    let (mut fds, settings) = (fds?, settings?);

    let control = Receiver::new(fds.take(FdName::ControlIn)?);
    let supervisor = Arc::new(Sender::new(fds.take(FdName::ControlOut)?));
    supervisor.set_nonblocking(true).map_err(io::Error::from)?;
    let whereabouts = last_words::install(settings.generation, Arc::clone(&supervisor));
    let AnalyticsLink { events, producer, cursor, state, wake: bell } = AnalyticsLink::open(&mut fds)?;
    let inbox = Inbox::open(control, bell)?;

    engine::check_version::<A>(&TableReader::new(&state).record().unwrap_or_default())?;
    supervisor.send(&FromWorker::Hello { protocol: PROTOCOL, build: build::<A>() })?;
    supervisor.send(&FromWorker::Ready)?;
    let Some(care) = stand_by(&inbox)? else { return Ok(()) };

    this_process::register(Arc::clone(&cursor), settings.generation);
    if let Err(error) = signals::record_fault_signals() {
        tracing::warn!("the code and address of a signal will not be known: {error}");
    }
    if let Err(error) = signals::on_abort_from_outside(move || whereabouts.tell()) {
        tracing::warn!("where it hangs, should it hang, will not be known: {error}");
    }
    let memory = Memory { events, producer, cursor, state };
    let mut engine = Engine::activate(analysis, &settings, memory, care).map_err(Broken::from)?;
    work::work(&mut engine, &inbox, Duration::from_millis(settings.stop_timeout_ms))?;
    Ok(())
}

/// Waits to become active. None when it shall leave instead.
fn stand_by(inbox: &Inbox) -> Result<Option<RecoveryHints>, PipeError> {
    loop {
        match inbox.stand_by()? {
            Wake::Activate(care) => return Ok(Some(care)),
            Wake::Drain => return Ok(None),
            Wake::Fault(kind) => fault::execute(kind),
            Wake::Work => {}
        }
    }
}

/// Name and version of this program, for people.
fn build<A: Analysis>() -> String {
    format!("{} {}, {} version {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), A::NAME, A::VERSION)
}
