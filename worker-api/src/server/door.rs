//! Where connections come in.

use super::{
    Phase,
    line::Line,
    places::{Origin, Place, Places, TooMany},
    pulse::{Answer, Turn},
};
use crate::{
    front::Front,
    limits::{Limits, MAX_HEAD},
    listener::{Accepted, Listener, Stream},
};
use axum::{extract::Request, http::StatusCode, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, io, pin::pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::sleep,
};

/// How long to wait before accepting again when there are no more fds or no more memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many idle connections are closed at once to make room for others.
const MAX_EVICTED: usize = 64;

/// How many that are refused at once learn why; more are closed without a word.
const MAX_REFUSALS: usize = 64;

/// How long one that is refused may take to say what it wants.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

pub(super) struct Door {
    listener: Listener,
    pub(super) places: Arc<Places>,
    refusals: Arc<Semaphore>,
    front: Arc<Front>,
    limits: Limits,
    http: http1::Builder,
    phase: watch::Receiver<Phase>,
    /// Connections cannot be accepted, and that was logged.
    in_trouble: bool,
}

/// How a connection is received.
pub(super) enum Welcome {
    /// Its requests are answered.
    Served(Place),
    /// Its first request is refused, whatever it is.
    Refused(Place, OwnedSemaphorePermit),
}

impl Door {
    pub(super) fn new(
        listener: Listener,
        front: Arc<Front>,
        limits: Limits,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let mut http = http1::Builder::new();
        // No `pipeline_flush`: it answers a client that pipelines and never reads into memory without bound.
        // No `header_read_timeout`: the line watches more than heads.
        // `max_buf_size` alone lets a head pass that comes faster than its beginning is looked at.
        http.max_header_size(MAX_HEAD).max_buf_size(MAX_HEAD).header_read_timeout(None);
        Self {
            listener,
            places: Arc::new(Places::new(limits)),
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
            front,
            limits,
            http,
            phase,
            in_trouble: false,
        }
    }

    pub(super) async fn run(mut self) {
        let mut phase = self.phase.clone();
        let mut leaving = pin!(phase.wait_for(|phase| *phase != Phase::Serving));
        loop {
            let accepted = tokio::select! {
                biased;
                _ = &mut leaving => return,
                accepted = self.listener.accept() => accepted,
            };
            let Accepted { stream, address } = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.places.turn();
                    self.pause(&error).await;
                    continue;
                }
            };
            self.in_trouble = false;
            let origin = address.and_then(Origin::of);
            let place = tokio::select! {
                biased;
                place = self.places.find(origin) => place,
                // It is ours now, and must not be lost.
                _ = &mut leaving => return self.admit(stream, Welcome::Served(self.places.take(origin))),
            };
            match place {
                Ok(place) => self.admit(stream, Welcome::Served(place)),
                Err(TooMany) => {
                    if let Ok(refusal) = Arc::clone(&self.refusals).try_acquire_owned() {
                        self.admit(stream, Welcome::Refused(self.places.take(None), refusal));
                    }
                }
            }
        }
    }

    /// After an error of accept(2): makes room for what was lacking, if it was not about the one connection alone.
    async fn pause(&mut self, error: &io::Error) {
        if is_of_one_connection(error) {
            return;
        }
        if !self.in_trouble {
            tracing::warn!(%error, "cannot accept connections; idle ones are closed, and it is tried again and again");
        }
        self.in_trouble = true;
        for _ in 0..MAX_EVICTED {
            if !self.places.evict() {
                break;
            }
        }
        sleep(ACCEPT_PAUSE).await;
    }

    fn admit(&self, stream: Stream, welcome: Welcome) {
        match stream {
            Stream::Tcp(stream) => self.serve(stream, welcome),
            Stream::Unix(stream) => self.serve(stream, welcome),
        }
    }

    pub(super) fn serve<S>(&self, stream: S, welcome: Welcome)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (place, refusal, limits) = match welcome {
            Welcome::Served(place) => (place, None, self.limits),
            Welcome::Refused(place, refusal) => {
                (place, Some(refusal), Limits { idle: REFUSAL_TIME, head: REFUSAL_TIME, ..self.limits })
            }
        };
        let (front, pulse, refused) = (Arc::clone(&self.front), Arc::clone(place.pulse()), refusal.is_some());
        let service = service_fn(move |request: Request<Incoming>| {
            let (front, turn) = (Arc::clone(&front), Turn::begin(&pulse));
            async move {
                let response: Response =
                    if refused { front.refuse(&request) } else { front.answer(request).await };
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    turn.upgrade();
                }
                Ok::<_, Infallible>(response.map(|body| Answer { body, _turn: turn }))
            }
        });
        let line = Line::new(stream, Arc::clone(place.pulse()), limits);
        let connection = self.http.serve_connection(TokioIo::new(line), service).with_upgrades();
        let mut phase = self.phase.clone();
        let number = place.number();
        let task = tokio::spawn(async move {
            let _held = (place, refusal);
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
        self.places.seat(number, task.abort_handle());
    }
}

/// Whether an error of accept(2) is about the connection that was to be accepted, not about accepting.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
