//! A client connection with one timeout per phase: idle, head, body, write.
//!
//! hyper has a timeout for heads only. It has none for a client that never reads its response.

use super::{
    conn_state::{ConnPhase, ConnSnapshot, ConnState},
    framing::Framing,
    limits::{BODY_PROGRESS, Limits},
};
use crate::counters::Counters;
use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// How long the server continues to read after it has closed its side of a connection whose client is still sending.
/// Without this, the kernel would send a reset, which may discard the last response before the client reads it.
const LINGERING_CLOSE: Duration = Duration::from_secs(1);

/// A connection's socket with its timeouts.
pub(super) struct TimedStream<S> {
    stream: S,
    state: Arc<ConnState>,
    limits: Limits,
    framing: Framing,
    /// Bytes of the body since it last made progress: [`BODY_PROGRESS`] bytes are progress.
    piece_bytes: usize,
    /// Not reset when a deadline moves later, only when it fires: most requests end before, and cost no timer
    /// operation.
    timer: Pin<Box<Sleep>>,
    counters: Arc<Counters>,
    /// A timeout has expired: it is counted once.
    expired: bool,
    /// Set when our side is shut down. Until this instant, bytes from the client are read and discarded.
    linger_until: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> TimedStream<S> {
    pub(super) fn new(stream: S, state: Arc<ConnState>, limits: Limits, counters: Arc<Counters>) -> Self {
        Self {
            stream,
            state,
            limits,
            framing: Framing::new(),
            piece_bytes: 0,
            timer: Box::pin(sleep_until(Instant::now() + limits.idle)),
            counters,
            expired: false,
            linger_until: None,
        }
    }

    /// Updates the connection state from bytes that the client sent.
    ///
    /// # Errors
    /// When the connection was evicted.
    fn on_read(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        if bytes.is_empty() || self.state.phase() == ConnPhase::Upgraded {
            return Ok(());
        }
        let (messages, was_in_body) = (self.framing.messages(), self.framing.in_body());
        let length = bytes.len();
        self.framing.feed(bytes);
        self.state.set_received(self.framing.messages());
        let may_continue = if self.framing.in_body() {
            let piece_bytes = self.piece_bytes.saturating_add(length);
            self.piece_bytes = if piece_bytes < BODY_PROGRESS { piece_bytes } else { 0 };
            was_in_body && piece_bytes < BODY_PROGRESS
                || self.state.response_pending()
                || self.state.enter(ConnPhase::ReadingBody)
        } else if self.framing.messages() != messages {
            self.piece_bytes = 0;
            self.state.enter(ConnPhase::Responding)
        } else if self.framing.in_head() && self.state.phase() == ConnPhase::Idle {
            self.state.enter(ConnPhase::ReadingHead)
        } else {
            true
        };
        if may_continue { Ok(()) } else { Err(io::ErrorKind::ConnectionAborted.into()) }
    }

    /// When the timeout of the current phase expires; `None` while the server does not wait for the client.
    fn deadline(&self) -> Option<Instant> {
        let ConnSnapshot { phase, since } = self.state.snapshot();
        let timeout = match phase {
            ConnPhase::Idle => self.limits.idle,
            ConnPhase::ReadingHead => self.limits.head,
            ConnPhase::ReadingBody | ConnPhase::WriteBlocked => self.limits.stall,
            ConnPhase::Responding | ConnPhase::Upgraded | ConnPhase::Evicted => return None,
        };
        Some(since + timeout)
    }

    /// Pending until the timeout of the current phase expires; then an error.
    ///
    /// The timer is also armed while the server does not wait for the client, because that phase may end without
    /// another poll.
    fn poll_timeout<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let deadline = self.deadline();
        if let Some(deadline) = deadline
            && deadline < self.timer.deadline()
        {
            self.timer.as_mut().reset(deadline);
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                self.count_expired();
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.timer.as_mut().reset(deadline.unwrap_or(now + self.limits.idle));
        }
    }

    fn count_expired(&mut self) {
        if std::mem::replace(&mut self.expired, true) {
            return;
        }
        if self.state.phase() == ConnPhase::Idle {
            return self.counters.idle_closed.count();
        }
        let stall = self.limits.stall;
        self.counters.slow_closed.count(|connections| {
            tracing::info!(
                connections,
                "connections that were closed because their clients sent or read nothing for {stall:?} within a request, since the \
                 last such line: {connections}"
            );
        });
    }

    /// Updates the connection state after a write: `WriteBlocked` while the client does not read.
    fn on_written<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let phase = self.state.phase();
        match (&written, phase) {
            (Poll::Ready(_), ConnPhase::WriteBlocked) => {
                self.state.unblock();
                written
            }
            // An upgraded connection no longer speaks HTTP: it has no timeouts, and its bytes are not parsed.
            (Poll::Ready(_), _) | (Poll::Pending, ConnPhase::Upgraded) => written,
            (Poll::Pending, ConnPhase::WriteBlocked) => self.poll_timeout(cx),
            (Poll::Pending, _) => {
                self.state.enter(ConnPhase::WriteBlocked);
                self.poll_timeout(cx)
            }
        }
    }

    /// Reads and discards until the client closes its side or `until` is reached.
    fn poll_lingering_close(&mut self, cx: &mut Context<'_>, until: Instant) -> Poll<io::Result<()>> {
        let mut discarded = [0; 4096];
        self.timer.as_mut().reset(until);
        loop {
            let mut bytes = ReadBuf::new(&mut discarded);
            match Pin::new(&mut self.stream).poll_read(cx, &mut bytes) {
                Poll::Ready(Ok(())) if !bytes.filled().is_empty() && Instant::now() < until => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return self.timer.as_mut().poll(cx).map(Ok),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TimedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => Poll::Ready(self.on_read(&mut buffer.filled_mut()[before..])),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.poll_timeout(cx),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TimedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.on_written(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.on_written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let until = if let Some(until) = self.linger_until {
            until
        } else {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            let until = Instant::now() + LINGERING_CLOSE;
            self.linger_until = Some(until);
            until
        };
        if self.framing.in_head() || self.framing.in_body() {
            self.poll_lingering_close(cx, until)
        } else {
            Poll::Ready(Ok(()))
        }
    }
}
