//! Accepts connections and serves each in its own task.

use super::{
    conn_limits::{AddressGroup, ConnLimits, ConnPermit, TooManyFromAddress},
    conn_state::{ConnPhase, ConnSnapshot, ConnState, RequestGuard},
    limits::{Limits, MAX_HEAD},
    listener::Listener,
    service::ApiService,
    timed_stream::TimedStream,
};
use axum::{extract::Request, http::StatusCode, response::Response};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, io, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep, sleep_until},
};

/// The pause before the next accept(2) after one failed for lack of fds or memory.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// The most idle connections that are closed at once when accept(2) fails for lack of fds or memory.
const MAX_EVICTIONS: usize = 64;

/// The most connections that may be refused with a 429 response at once. Further ones are closed without a response.
const MAX_REFUSALS: usize = 64;

/// How long a connection that will be refused may take to send its request head.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a connection of a draining server may be idle since its last request. A client that sends one more request
/// learns from the response (`Connection: close`) to reconnect: with frequent requests, it never sends one on a
/// connection that is being closed.
const KEEP_ALIVE_GRACE: Duration = Duration::from_secs(2);

/// The phase of the server, as each connection sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerPhase {
    Serving,
    /// New connections are not accepted. Each response closes its connection; see also [`KEEP_ALIVE_GRACE`].
    Draining,
}

pub(super) struct Acceptor {
    listener: Listener,
    pub(super) conn_limits: Arc<ConnLimits>,
    refusals: Arc<Semaphore>,
    service: Arc<ApiService>,
    limits: Limits,
    http: http1::Builder,
    phase: watch::Receiver<ServerPhase>,
    /// The last accept(2) failed. Then a further failure is not logged again.
    accept_failing: bool,
}

impl Acceptor {
    pub(super) fn new(
        listener: Listener,
        service: Arc<ApiService>,
        limits: Limits,
        phase: watch::Receiver<ServerPhase>,
    ) -> Self {
        let mut http = http1::Builder::new();
        // No `pipeline_flush`: with it, responses to a client that pipelines and never reads fill memory without bound.
        // No `header_read_timeout`: `TimedStream` has the timeouts of all phases, not of heads alone.
        // `max_buf_size` alone accepts a longer head if it arrives before hyper has parsed its beginning.
        http.max_header_size(MAX_HEAD).max_buf_size(MAX_HEAD).header_read_timeout(None);
        Self {
            listener,
            conn_limits: Arc::new(ConnLimits::new(limits, Arc::clone(service.counters()))),
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
            service,
            limits,
            http,
            phase,
            accept_failing: false,
        }
    }

    pub(super) async fn run(mut self) {
        let mut phase = self.phase.clone();
        let mut draining = pin!(phase.wait_for(|phase| *phase != ServerPhase::Serving));
        loop {
            let accepted = tokio::select! {
                biased;
                _ = &mut draining => return,
                accepted = self.listener.accept() => accepted,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.conn_limits.note_accept_progress();
                    self.back_off(&error).await;
                    continue;
                }
            };
            self.accept_failing = false;
            let group = address.and_then(AddressGroup::of);
            let permit = tokio::select! {
                biased;
                permit = self.conn_limits.acquire(group) => permit,
                // The connection is already accepted: serve it, or its request would be lost.
                _ = &mut draining => {
                    return self.serve(stream, self.conn_limits.acquire_over_limit(group), None);
                }
            };
            match permit {
                Ok(permit) => self.serve(stream, permit, None),
                Err(TooManyFromAddress) => {
                    self.count_refused();
                    if let Ok(refusal) = Arc::clone(&self.refusals).try_acquire_owned() {
                        self.serve(stream, self.conn_limits.acquire_over_limit(None), Some(refusal));
                    }
                }
            }
        }
    }

    fn count_refused(&self) {
        let limit = self.limits.per_address;
        self.service.counters().refused.count(|connections| {
            tracing::warn!(
                connections,
                "connections refused since the last such line: {connections}; their address has {limit} already \
                 (api.max_connections_per_address)"
            );
        });
    }

    /// Handles an error of accept(2). If fds or memory are short, closes idle connections and waits.
    async fn back_off(&mut self, error: &io::Error) {
        if concerns_one_connection(error) {
            return;
        }
        if !self.accept_failing {
            tracing::warn!(%error, "cannot accept connections: closing idle ones and retrying");
        }
        self.accept_failing = true;
        for _ in 0..MAX_EVICTIONS {
            if !self.conn_limits.evict_one() {
                break;
            }
        }
        sleep(ACCEPT_BACKOFF).await;
    }

    /// Serves a connection in a task of its own. With a `refusal`, its first request is refused with 429.
    pub(super) fn serve<S>(&self, stream: S, permit: ConnPermit, refusal: Option<OwnedSemaphorePermit>)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (service, state, refused) =
            (Arc::clone(&self.service), Arc::clone(permit.state()), refusal.is_some());
        let mut limits = self.limits;
        if refused {
            (limits.idle, limits.head) = (REFUSAL_TIMEOUT, REFUSAL_TIMEOUT);
        }
        let hyper_service = service_fn(move |request: Request<Incoming>| {
            let (service, guard) = (Arc::clone(&service), RequestGuard::begin(&state));
            async move {
                let response: Response =
                    if refused { service.refuse(&request) } else { service.handle(request).await };
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    guard.upgrade();
                }
                // The body holds the guard until it is written.
                let hold_guard = move |error: axum::Error| {
                    let _ = &guard;
                    error
                };
                Ok::<_, Infallible>(response.map(|body| body.map_err(hold_guard)))
            }
        });
        let stream =
            TimedStream::new(stream, Arc::clone(permit.state()), limits, Arc::clone(self.service.counters()));
        let connection = self.http.serve_connection(TokioIo::new(stream), hyper_service).with_upgrades();
        let mut phase = self.phase.clone();
        drop(tokio::spawn(async move {
            let (permit, _refusal) = (permit, refusal);
            let mut connection = pin!(connection);
            tokio::select! {
                biased;
                // A connection error (a reset, an incomplete head) concerns its client only.
                _ = connection.as_mut() => return,
                () = permit.state().evicted() => return,
                () = wait_to_close(permit.state(), &mut phase) => {}
            }
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }));
    }
}

/// Waits until the server drains and the connection has been idle for [`KEEP_ALIVE_GRACE`].
async fn wait_to_close(state: &ConnState, phase: &mut watch::Receiver<ServerPhase>) {
    // An error means that the server was dropped.
    let _ = phase.wait_for(|phase| *phase == ServerPhase::Draining).await;
    loop {
        let ConnSnapshot { phase, since } = state.snapshot();
        let idle_since = if phase == ConnPhase::Idle { since } else { Instant::now() };
        let deadline = idle_since + KEEP_ALIVE_GRACE;
        if deadline <= Instant::now() {
            return;
        }
        sleep_until(deadline).await;
    }
}

/// Whether an error of accept(2) concerns one connection only, not the ability to accept.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
