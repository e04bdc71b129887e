//! Accepting and serving connections, and ending that without losing a request.
//!
//! On hyper itself, not on `axum::serve` (no header timeout, no bounded stop) and not on `axum-server`, which
//! - drops unanswered a connection that it accepted in the instant of its graceful stop: a hand-over between two
//!   generations must not cost a request;
//! - limits connections only after it accepted them: ours wait in the backlog, for this generation or the next.

use crate::{
    front::Front,
    listener::{Listener, Stream},
};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, io, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::{JoinError, JoinHandle},
    time::{Instant, sleep, timeout_at},
};

/// How many connections are served at once; more wait in the backlog. Each costs an fd and some 20 KiB at least.
const MAX_CONNECTIONS: usize = 4096;

/// How long a client may take for a request's head, the idle time before it included.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait before accepting again when there are no more fds or no more memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a leaving server keeps idle connections, hoping that each makes one more request and learns from its
/// answer (`Connection: close`) to go elsewhere. Closing at once would cross with requests that are on their way.
const LINGER: Duration = Duration::from_millis(250);

/// What connections are told about the server's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Accept no more.
    Lingering,
    /// Close what is idle.
    Closing,
}

/// A server at work.
#[derive(Debug)]
pub(crate) struct Server {
    front: Arc<Front>,
    /// Every connection, and the door, holds a receiver: when there are none left, all is over.
    phase: watch::Sender<Phase>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Begins to accept and to serve.
    pub(crate) fn start(listener: Listener, front: Front) -> Self {
        let front = Arc::new(front);
        let (phase, watched) = watch::channel(Phase::Serving);
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let door = Door { listener, places, front: Arc::clone(&front), phase: watched };
        Self { front, phase, accepting: tokio::spawn(door.run()) }
    }

    /// Resolves if accepting ends, which it does only by a panic.
    pub(crate) async fn broken(&mut self) -> JoinError {
        loop {
            if let Err(error) = (&mut self.accepting).await {
                return error;
            }
        }
    }

    /// Stops accepting at once, answers what is on its way, and comes back when all connections have ended or `budget`
    /// is used up. Says how many connections were left.
    pub(crate) async fn drain(self, budget: Duration) -> usize {
        let start = Instant::now();
        self.front.leave();
        // No one left to tell is as good as told.
        let _ = self.phase.send(Phase::Lingering);
        if timeout_at(start + LINGER.min(budget), self.phase.closed()).await.is_err() {
            let _ = self.phase.send(Phase::Closing);
            let _ = timeout_at(start + budget, self.phase.closed()).await;
        }
        self.phase.receiver_count()
    }
}

/// Where connections come in.
struct Door {
    listener: Listener,
    places: Arc<Semaphore>,
    front: Arc<Front>,
    phase: watch::Receiver<Phase>,
}

impl Door {
    async fn run(mut self) {
        let mut http = http1::Builder::new();
        // No `pipeline_flush`: it answers a client that pipelines and never reads into memory without bound.
        http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
        let mut phase = self.phase.clone();
        let mut leaving = pin!(phase.wait_for(|phase| *phase != Phase::Serving));
        loop {
            let accepted = tokio::select! {
                biased;
                _ = &mut leaving => return,
                accepted = self.next() => accepted,
            };
            match accepted {
                Ok((Stream::Tcp(stream), place)) => self.admit(&http, stream, place),
                Ok((Stream::Unix(stream), place)) => self.admit(&http, stream, place),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections; trying again shortly");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// A place first, then a connection: who finds no place stays in the backlog.
    async fn next(&mut self) -> io::Result<(Stream, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(io::Error::other)?;
        Ok((self.listener.accept().await?, place))
    }

    fn admit<S>(&self, http: &http1::Builder, stream: S, place: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let front = Arc::clone(&self.front);
        let service = service_fn(move |request| {
            let front = Arc::clone(&front);
            async move { Ok::<_, Infallible>(front.answer(request).await) }
        });
        let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
        let mut phase = self.phase.clone();
        tokio::spawn(async move {
            let _place = place;
            let mut connection = pin!(connection);
            tokio::select! {
                biased;
                // How a connection ends (a reset, a header that never came) is its client's affair.
                _ = connection.as_mut() => return,
                _ = phase.wait_for(|phase| *phase == Phase::Closing) => {}
            }
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        });
    }
}

/// Whether an error of accept(2) is about the connection that was to be accepted, not about accepting.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests;
