//! The worker's life, from its start to its exit.

use crate::{
    bulkhead::Bulkhead,
    desk::Desk,
    folders::Folders,
    front::Front,
    inbox::{Inbox, Wake},
    limits::Limits,
    listener::Listener,
    log::Log,
    panic, routes,
    server::Server,
    token::{Secret, TokenError},
};
use axum::Router;
use bulkhead_proto::{
    shm::segment::SegmentError,
    wire::{
        control::{FromWorker, PROTOCOL, ToWorker},
        exit_code::EXIT_CONFIG,
        fault::FaultKind,
    },
    worker::{
        fault,
        fds::{FdError, FdName, InheritedFds},
        link::{ApiLink, LinkError},
        pipe::{PipeError, Sender, Sent},
        settings::{Settings, SettingsError},
    },
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{future::pending, io, os::fd::OwnedFd, process::ExitCode, sync::Arc, time::Duration};
use tokio::{runtime, task::JoinError, time::timeout};

/// Threads that serve HTTP. Two, for two cores: a third only takes the core from the analysis.
const HTTP_THREADS: usize = 2;

/// The part of the stop timeout that draining may use up; the rest is for leaving.
const DRAIN_SHARE: (u32, u32) = (9, 10);

/// How long a death that was asked for over HTTP is put off, so that the answer to that very request gets out.
const LAST_ANSWER: Duration = Duration::from_millis(50);

/// How long handlers that block may hold up the exit.
const EXIT_PATIENCE: Duration = Duration::from_millis(100);

/// Why the worker could not start or go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Fds(#[from] FdError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Pipe(#[from] PipeError),
    #[error("the supervisor was gone before it could be greeted")]
    Ungreeted,
    #[error("cannot set up: {0}")]
    Io(#[from] io::Error),
    #[error("accepting connections ended: {0}")]
    Broken(#[from] JoinError),
}

impl Failure {
    /// What cannot get better by trying again exits with [`EXIT_CONFIG`].
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Settings(_)
            | Self::Fds(_)
            | Self::Link(LinkError::Fd(_) | LinkError::Segment(SegmentError::Mismatch { .. })) => {
                ExitCode::from(EXIT_CONFIG)
            }
            // A lack of memory or fds may pass, and each generation reads the token file anew.
            Self::Link(_)
            | Self::Token(_)
            | Self::Pipe(_)
            | Self::Ungreeted
            | Self::Io(_)
            | Self::Broken(_) => ExitCode::FAILURE,
        }
    }
}

/// A worker that has taken all that it was given.
pub(crate) struct Worker {
    settings: Settings,
    log: Log,
    control: OwnedFd,
    out: Arc<Sender<FromWorker>>,
    listener: OwnedFd,
    token: Option<Secret>,
    folders: Folders,
    link: ApiLink,
}

impl Worker {
    /// Takes over what the supervisor left in environment and fd table; what was not taken is closed at the end.
    pub(crate) fn boot() -> Result<Self, Failure> {
        let mut inherited = InheritedFds::from_env()?;
        let settings = Settings::from_env()?;
        let log = Log::start(&settings.log);
        let control = inherited.take(FdName::ControlIn)?;
        let out = Arc::new(Sender::new(inherited.take(FdName::ControlOut)?));
        // Handlers send on it: a supervisor that is stopped must not stop them.
        out.set_nonblocking(true).map_err(io::Error::from)?;
        panic::install(Arc::clone(&out), log.clone());
        let listener = inherited.take(FdName::Listener)?;
        let token = inherited.take_optional(FdName::Token).map(Secret::read).transpose()?;
        let folders = Folders::take(&mut inherited);
        let link = ApiLink::open(&mut inherited)?;
        allow_many_fds();
        Ok(Self { settings, log, control, out, listener, token, folders, link })
    }

    /// Serves until told to leave.
    pub(crate) fn run(self, own: Router<Bulkhead>) -> Result<(), Failure> {
        let log = self.log.clone();
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(HTTP_THREADS)
            .thread_name("http")
            .enable_all()
            .build()?;
        let outcome = runtime.block_on(self.live(own));
        runtime.shutdown_timeout(EXIT_PATIENCE);
        log.flush();
        outcome
    }

    async fn live(self, own: Router<Bulkhead>) -> Result<(), Failure> {
        let Self { settings, control, out, listener, token, folders, link, .. } = self;
        let budget = Duration::from_millis(settings.stop_timeout_ms) * DRAIN_SHARE.0 / DRAIN_SHARE.1;
        let mut inbox = Inbox::new(control)?;
        let listener = Listener::new(listener)?;
        let desk = Arc::new(Desk::new(Arc::clone(&out)));
        let generation = settings.generation;
        let open_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let limits = Limits::new(&settings.limits, open_files);
        let bulkhead = Bulkhead::new(link, settings, token, folders, Arc::clone(&desk), Arc::clone(&out));
        let front = Front::new(routes::router(own, bulkhead.clone()), generation, &limits);

        greet(&out)?;
        let mut ready = Some((listener, front));
        let mut server = None;
        let why = loop {
            let wake = tokio::select! {
                wake = inbox.next() => wake,
                error = broken(&mut server) => return Err(error.into()),
            };
            match wake {
                Wake::Frame(ToWorker::Activate(_)) => {
                    let start = |(listener, front)| Server::start(listener, front, limits);
                    server = ready.take().map(start).or(server);
                }
                Wake::Frame(ToWorker::Ping(number)) => {
                    if let Some(server) = &server {
                        server.pong(number, Arc::clone(&out));
                    }
                }
                Wake::Frame(ToWorker::Answer { id, outcome }) => desk.answer(id, outcome),
                Wake::Frame(ToWorker::Replay(seq)) => {
                    drop(tokio::spawn(bulkhead.clone().replay_for_the_operator(seq)));
                }
                Wake::Frame(ToWorker::Fault(kind)) => die(kind, &mut inbox, &desk).await,
                Wake::Frame(ToWorker::Drain) => break "the supervisor asks for it",
                Wake::Terminate => break "SIGTERM",
                Wake::Closed(why) => break why,
            }
        };
        if let Some(server) = server {
            drain(server, budget, why, &mut inbox, &desk).await;
        }
        Ok(())
    }
}

/// Says hello, and that we could serve at once.
fn greet(out: &Sender<FromWorker>) -> Result<(), Failure> {
    let build = concat!("bulkhead-api ", env!("CARGO_PKG_VERSION")).to_owned();
    for frame in [FromWorker::Hello { protocol: PROTOCOL, build }, FromWorker::Ready] {
        match out.send(&frame)? {
            Sent::Done => {}
            Sent::Full | Sent::Closed => return Err(Failure::Ungreeted),
        }
    }
    Ok(())
}

async fn broken(server: &mut Option<Server>) -> JoinError {
    match server {
        Some(server) => server.broken().await,
        None => pending().await,
    }
}

async fn drain(server: Server, budget: Duration, why: &str, inbox: &mut Inbox, desk: &Desk) {
    tracing::info!(why, "draining");
    let left = tokio::select! {
        left = server.drain(budget) => left,
        () = pass_answers_on(inbox, desk) => 0,
    };
    match left {
        0 => tracing::info!("drained"),
        left => tracing::warn!(connections = left, "drained, but for connections that did not end in time"),
    }
}

/// Requests in flight may still wait for the supervisor's word. Never ends.
async fn pass_answers_on(inbox: &mut Inbox, desk: &Desk) {
    loop {
        match inbox.next().await {
            Wake::Frame(ToWorker::Answer { id, outcome }) => desk.answer(id, outcome),
            Wake::Frame(ToWorker::Fault(kind)) => fault::execute(kind),
            // Who leaves is not watched: it has its time.
            Wake::Frame(
                ToWorker::Activate(_) | ToWorker::Replay(_) | ToWorker::Ping(_) | ToWorker::Drain,
            )
            | Wake::Terminate => {}
            Wake::Closed(_) => pending().await,
        }
    }
}

/// Carries a fault out on this very thread.
async fn die(kind: FaultKind, inbox: &mut Inbox, desk: &Desk) {
    if desk.was_used() {
        let _ = timeout(LAST_ANSWER, pass_answers_on(inbox, desk)).await;
    }
    fault::execute(kind)
}

/// Lifts the soft limit of open files to the hard one: the customary 1,024 is less than the connections we serve.
fn allow_many_fds() {
    let limit = getrlimit(Resource::Nofile);
    let lifted = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, lifted) {
        tracing::warn!(%error, "the limit of open files could not be lifted; connections may have to wait");
    }
}
