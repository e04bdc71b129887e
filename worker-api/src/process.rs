//! The worker process: takes the inherited fds, starts the HTTP server, handles control events, drains, exits.

use crate::{
    control_events::{ControlEvent, ControlEvents},
    handle::ApiHandle,
    http::{
        host::HostRule,
        limits::Limits,
        listener::Listener,
        origin::OriginRule,
        server::Server,
        service::{AccessRules, ApiService},
        token::BearerToken,
    },
    routes,
    stores::Stores,
    supervisor_client::SupervisorClient,
};
use axum::Router;
use bulkhead_proto::{
    wire::{
        control::{FromWorker, ToWorker},
        fault::FaultKind,
    },
    worker::{
        boot::{BootError, Inherited, WorkerError, say_hello},
        fault,
        fds::FdName,
        link::ApiLink,
        pipe::{Receiver, Sender},
        settings::Settings,
        token_file::TokenError,
    },
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{future::pending, io, os::fd::OwnedFd, sync::Arc, time::Duration};
use tokio::{runtime, task::JoinError, time::timeout};

/// Threads that serve HTTP. Two, for two cores: a third would only take CPU time from the analysis.
const HTTP_THREADS: usize = 2;

/// The share of the stop timeout that draining may use. The rest is for the exit.
const DRAIN_SHARE: (u32, u32) = (9, 10);

/// How long an induced fault is delayed if a handler has used the supervisor client, so that the response to the
/// request that asked for the fault is sent.
const LAST_ANSWER_TIMEOUT: Duration = Duration::from_millis(50);

/// How long blocking handlers may delay the exit.
const EXIT_TIMEOUT: Duration = Duration::from_millis(100);

/// Why the worker could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProcessError {
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("the accept task panicked: {0}")]
    AcceptStopped(#[from] JoinError),
}

impl From<io::Error> for ProcessError {
    fn from(error: io::Error) -> Self {
        Self::Boot(error.into())
    }
}

impl WorkerError for ProcessError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Boot(error) => error.exit_code(),
            // Each generation reads the token file again.
            Self::Token(_) | Self::AcceptStopped(_) => 1,
        }
    }
}

/// A worker that has taken all inherited fds and settings.
pub(crate) struct ApiProcess {
    settings: Settings,
    control: Receiver<ToWorker>,
    out: Arc<Sender<FromWorker>>,
    listener: OwnedFd,
    token: Option<BearerToken>,
    stores: Stores,
    link: ApiLink,
}

impl ApiProcess {
    /// Takes the inherited fds. Closes those that it does not need.
    pub(crate) fn new(inherited: Inherited) -> Result<Self, ProcessError> {
        let Inherited { mut fds, settings, control, supervisor: out, .. } = inherited;
        let listener = fds.take(FdName::Listener).map_err(BootError::from)?;
        let token = fds.take_optional(FdName::Token).map(BearerToken::read).transpose()?;
        let stores = Stores::take(&mut fds);
        let link = ApiLink::open(&mut fds, settings.slots()).map_err(BootError::from)?;
        raise_open_file_limit();
        Ok(Self { settings, control, out, listener, token, stores, link })
    }

    /// Serves until the supervisor or SIGTERM stops the worker.
    pub(crate) fn run(self, user_routes: Router<ApiHandle>) -> Result<(), ProcessError> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(HTTP_THREADS)
            .thread_name("http")
            .enable_all()
            .build()?;
        let outcome = runtime.block_on(self.serve(user_routes));
        runtime.shutdown_timeout(EXIT_TIMEOUT);
        outcome
    }

    async fn serve(self, user_routes: Router<ApiHandle>) -> Result<(), ProcessError> {
        let Self { settings, control, out, listener, token, stores, link } = self;
        let drain_timeout = Duration::from_millis(settings.stop_timeout_ms) * DRAIN_SHARE.0 / DRAIN_SHARE.1;
        let mut events = ControlEvents::new(control)?;
        let listener = Listener::new(listener)?;
        let supervisor = Arc::new(SupervisorClient::new(Arc::clone(&out)));
        let generation = settings.generation;
        let open_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let limits = Limits::new(&settings.limits, open_files);
        let access = AccessRules {
            hosts: HostRule::new(&settings.access.allowed_hosts, listener.is_loopback()),
            origins: OriginRule::new(&settings.access.cors_origins, token.is_some()),
        };
        if let Ok(configured) = usize::try_from(settings.limits.max_connections)
            && limits.connections < configured
        {
            tracing::warn!(
                "api.max_connections is {configured}, but the limit of open files ({open_files}) allows {} connections: raise it \
                 (LimitNOFILE= of systemd, ulimit -n)",
                limits.connections
            );
        }
        let api = ApiHandle::new(link, settings, token, stores, Arc::clone(&supervisor));
        let service = ApiService::new(
            routes::router(user_routes, api.clone()),
            generation,
            &limits,
            access,
            Arc::clone(api.counters()),
        );

        say_hello(&out, concat!("bulkhead-api ", env!("CARGO_PKG_VERSION")).to_owned())?;
        let mut ready = Some((listener, service));
        let mut server = None;
        let why = loop {
            let event = tokio::select! {
                event = events.next() => event,
                error = accept_failed(&mut server) => return Err(error.into()),
            };
            match event {
                ControlEvent::Frame(ToWorker::Activate(_)) => {
                    let start = |(listener, service)| Server::start(listener, service, limits);
                    server = ready.take().map(start).or(server);
                }
                ControlEvent::Frame(ToWorker::Ping(number)) => {
                    if let Some(server) = &server {
                        server.answer_ping(number, Arc::clone(&out));
                    }
                }
                ControlEvent::Frame(ToWorker::Answer { id, outcome }) => supervisor.complete(id, outcome),
                ControlEvent::Frame(ToWorker::Replay(seq)) => {
                    drop(tokio::spawn(api.clone().replay_for_operator(seq)));
                }
                ControlEvent::Frame(ToWorker::Fault(kind)) => {
                    induce_fault(kind, &mut events, &supervisor).await;
                }
                // For the analysis.
                ControlEvent::Frame(ToWorker::IsolatedStored) => {}
                ControlEvent::Frame(ToWorker::Drain) => break "the supervisor requested it",
                ControlEvent::Terminate(signal) => break signal,
                ControlEvent::Closed(why) => break why,
            }
        };
        if let Some(server) = server {
            drain(server, drain_timeout, why, &mut events, &supervisor).await;
        }
        Ok(())
    }
}

async fn accept_failed(server: &mut Option<Server>) -> JoinError {
    match server {
        Some(server) => server.accept_failed().await,
        None => pending().await,
    }
}

async fn drain(
    server: Server,
    drain_timeout: Duration,
    why: &str,
    events: &mut ControlEvents,
    supervisor: &SupervisorClient,
) {
    tracing::info!(why, "draining");
    let left = tokio::select! {
        left = server.drain(drain_timeout) => left,
        () = forward_answers(events, supervisor) => 0,
    };
    match left {
        0 => tracing::info!("drained"),
        left => tracing::warn!(connections = left, "drained, but some connections did not end in time"),
    }
}

/// Forwards outcomes to the requests in flight that wait for the supervisor. Never returns.
async fn forward_answers(events: &mut ControlEvents, supervisor: &SupervisorClient) {
    loop {
        match events.next().await {
            ControlEvent::Frame(ToWorker::Answer { id, outcome }) => supervisor.complete(id, outcome),
            ControlEvent::Frame(ToWorker::Fault(kind)) => fault::execute(kind),
            // A draining worker is not pinged: the stop timeout bounds its time.
            ControlEvent::Frame(
                ToWorker::Activate(_)
                | ToWorker::Replay(_)
                | ToWorker::Ping(_)
                | ToWorker::IsolatedStored
                | ToWorker::Drain,
            )
            | ControlEvent::Terminate(_) => {}
            ControlEvent::Closed(_) => pending().await,
        }
    }
}

/// Carries out a fault on this thread.
async fn induce_fault(kind: FaultKind, events: &mut ControlEvents, supervisor: &SupervisorClient) {
    if supervisor.was_used() {
        let _ = timeout(LAST_ANSWER_TIMEOUT, forward_answers(events, supervisor)).await;
    }
    fault::execute(kind)
}

/// Raises the soft limit of open files to the hard limit: the usual 1,024 is less than the connection limit.
fn raise_open_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of open files: new connections may have to wait");
    }
}
