//! Answers HTTP requests while the API is stopped or parked: 503, so that no client waits without an answer.
//!
//! While a generation of the API starts, or will start soon, nothing is answered here: connections wait for it. No
//! request is parsed, so nothing that a client sends can matter.

use crate::{
    core::{DesiredState, GenerationState, State},
    display::format_count,
};
use rustix::net::{AddressFamily, sockopt::socket_domain};
use std::{
    fmt, io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
    time::{sleep, timeout},
};

/// The most connections that are answered at once; further ones wait.
const MAX_CONNECTIONS: usize = 64;

/// How long a connection may take: to send the begin of a request, and to read the answer.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause after a failed accept(2), which fails while file descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why no API serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Absence {
    /// By command.
    Stopped,
    /// It died too often.
    Parked,
}

impl Absence {
    fn of_api(state: &State) -> Option<Self> {
        let api = state.worker("api").filter(|_| state.refusal().is_none())?;
        match (&api.main, &api.successor) {
            (GenerationState::Parked { .. }, GenerationState::Stopped) => Some(Self::Parked),
            (GenerationState::Stopped, GenerationState::Stopped) if api.desired == DesiredState::Stopped => {
                Some(Self::Stopped)
            }
            (
                GenerationState::Live(_)
                | GenerationState::Backoff { .. }
                | GenerationState::Stopped
                | GenerationState::Parked { .. },
                _,
            ) => None,
        }
    }

    /// The whole answer. `Retry-After` is the time after which a parked worker is tried again.
    fn response(self) -> String {
        let body = format!(
            r#"{{"type":"urn:bulkhead:problem:unavailable","title":"Temporarily unavailable","status":503,"detail":"the API is {self}; see `bulkhead status`"}}"#
        );
        format!(
            "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 15\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "stopped",
            Self::Parked => "parked",
        })
    }
}

/// Accepts connections in place of the API, while there is none.
#[derive(Debug)]
pub(super) struct StandIn {
    listener: OwnedFd,
    serving: Option<Serving>,
}

#[derive(Debug)]
struct Serving {
    absence: Absence,
    answered: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl StandIn {
    pub(super) const fn new(listener: OwnedFd) -> Self {
        Self { listener, serving: None }
    }

    /// Begins or ends to answer, as the state of the API requires.
    pub(super) fn arm(&mut self, state: &State) {
        let absence = Absence::of_api(state);
        if absence == self.serving.as_ref().map(|serving| serving.absence) {
            return;
        }
        // A connection that is being answered has a task of its own.
        if let Some(Serving { absence, answered, task }) = self.serving.take() {
            task.abort();
            let answered = answered.load(Ordering::Relaxed);
            if answered > 0 {
                let shown = format_count(usize::try_from(answered).unwrap_or(usize::MAX), "connection");
                tracing::info!(answered, "{shown} got 503 while the API was {absence}");
            }
        }
        self.serving = absence.and_then(|absence| {
            let serving = self.serve(absence);
            serving.map_err(|error| tracing::warn!("clients of the {absence} API must wait: {error}")).ok()
        });
    }

    fn serve(&self, absence: Absence) -> io::Result<Serving> {
        let fd = self.listener.try_clone()?;
        rustix::io::ioctl_fionbio(&fd, true)?;
        let listener = if socket_domain(&fd)? == AddressFamily::UNIX {
            Listening::Unix(UnixListener::from_std(fd.into())?)
        } else {
            Listening::Tcp(TcpListener::from_std(fd.into())?)
        };
        let answered = Arc::new(AtomicU64::new(0));
        let answers = Answers { absence, listener, answered: Arc::clone(&answered) };
        Ok(Serving { absence, answered, task: tokio::spawn(answers.run()) })
    }
}

enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Answers connections until its task ends.
struct Answers {
    absence: Absence,
    listener: Listening,
    answered: Arc<AtomicU64>,
}

impl Answers {
    async fn run(self) {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
            if self.accept(permit).await.is_err() {
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    async fn accept(&self, permit: OwnedSemaphorePermit) -> io::Result<()> {
        match &self.listener {
            Listening::Tcp(listener) => self.begin(listener.accept().await?.0, permit),
            Listening::Unix(listener) => self.begin(listener.accept().await?.0, permit),
        }
        Ok(())
    }

    fn begin<S>(&self, stream: S, permit: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let absence = self.absence;
        if self.answered.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!("clients connect while the API is {absence}: each request gets 503");
        }
        drop(tokio::spawn(async move {
            let _permit = permit;
            // What goes wrong concerns this client only.
            let _ = timeout(CONNECTION_TIMEOUT, answer(stream, absence)).await;
        }));
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, absence: Absence) -> io::Result<()> {
    let mut bytes = [0; 4096];
    // Some clients regard an answer before their request as an error.
    if stream.read(&mut bytes).await? == 0 {
        return Ok(());
    }
    stream.write_all(absence.response().as_bytes()).await?;
    stream.shutdown().await?;
    // If bytes were left unread, the kernel would reset the connection, and the client might not see the answer.
    while stream.read(&mut bytes).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_the_body_is_right() {
        for absence in [Absence::Stopped, Absence::Parked] {
            let response = absence.response();
            let (head, body) = response.split_once("\r\n\r\n").unwrap();
            assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
            let problem: serde_json::Value = serde_json::from_str(body).unwrap();
            assert_eq!(problem["status"], 503);
        }
    }

    #[tokio::test]
    async fn a_client_gets_the_answer_after_it_has_sent_something() {
        let (mut client, server) = tokio::io::duplex(1 << 16);
        let answering = tokio::spawn(answer(server, Absence::Stopped));
        client.write_all(b"POST /v1/events HTTP/1.1\r\n").await.unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("the API is stopped"), "{text}");
        drop(client);
        answering.await.unwrap().unwrap();
    }
}
