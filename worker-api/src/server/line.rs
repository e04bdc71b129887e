//! The line to a client: it knows what it waits for, and not for ever.
//!
//! hyper has a timeout for heads alone, and none for a client that never reads its answer.

use super::{
    framing::Framing,
    pulse::{Phase, Pulse},
};
use crate::limits::{Limits, PIECE};
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

/// How long a connection that we end is still listened to when its client has more to say: closed at once, the system
/// would answer with a reset, which may overtake our last answer.
const LISTEN_ON: Duration = Duration::from_secs(1);

/// A connection's socket, watched.
pub(super) struct Line<S> {
    stream: S,
    pulse: Arc<Pulse>,
    limits: Limits,
    framing: Framing,
    /// Bytes of a body since its last piece.
    progress: usize,
    /// Set again only when it has gone off: most requests end long before, and cost no timer.
    alarm: Pin<Box<Sleep>>,
    /// We have said that we will say no more; until then our client is listened to.
    hung_up: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    pub(super) fn new(stream: S, pulse: Arc<Pulse>, limits: Limits) -> Self {
        let alarm = Box::pin(sleep_until(Instant::now() + limits.idle));
        Self { stream, pulse, limits, framing: Framing::new(), progress: 0, alarm, hung_up: None }
    }

    /// Takes note of what the client sent.
    ///
    /// # Errors
    /// When the connection's place was given away.
    fn heard(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        if bytes.is_empty() || self.pulse.phase() == Phase::Upgraded {
            return Ok(());
        }
        let (messages, was_in_body) = (self.framing.messages(), self.framing.in_body());
        let length = bytes.len();
        self.framing.follow(bytes);
        self.pulse.came(self.framing.messages());
        let entered = if self.framing.in_body() {
            let progress = self.progress.saturating_add(length);
            self.progress = if progress < PIECE { progress } else { 0 };
            was_in_body && progress < PIECE || self.pulse.owes() || self.pulse.enter(Phase::Body)
        } else if self.framing.messages() != messages {
            self.progress = 0;
            self.pulse.enter(Phase::Answering)
        } else if self.framing.in_head() && self.pulse.phase() == Phase::Idle {
            self.pulse.enter(Phase::Head)
        } else {
            true
        };
        if entered { Ok(()) } else { Err(io::ErrorKind::ConnectionAborted.into()) }
    }

    /// When the client's time is up, if it is waited for.
    fn due(&self) -> Option<Instant> {
        let beat = self.pulse.beat();
        let patience = match beat.phase() {
            Phase::Idle => self.limits.idle,
            Phase::Head => self.limits.head,
            Phase::Body | Phase::Blocked => self.limits.stall,
            Phase::Answering | Phase::Upgraded | Phase::Evicted => return None,
        };
        Some(self.pulse.after(beat, patience))
    }

    /// Pending until the client's time is up, which is an error.
    ///
    /// The alarm is set also while nobody is waited for: that phase may end without a further call.
    fn lose_patience<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let due = self.due();
        if let Some(due) = due
            && due < self.alarm.deadline()
        {
            self.alarm.as_mut().reset(due);
        }
        loop {
            ready!(self.alarm.as_mut().poll(cx));
            let now = Instant::now();
            if due.is_some_and(|due| due <= now) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.alarm.as_mut().reset(due.unwrap_or(now + self.limits.idle));
        }
    }

    /// Takes note of whether the client took what was written.
    fn spoken<T>(&mut self, cx: &mut Context<'_>, taken: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let phase = self.pulse.phase();
        match (&taken, phase) {
            (Poll::Ready(_), Phase::Blocked) => {
                self.pulse.unblock();
                taken
            }
            // What no longer speaks HTTP has its own patience, and nothing of it is to be understood.
            (Poll::Ready(_), _) | (Poll::Pending, Phase::Upgraded) => taken,
            (Poll::Pending, Phase::Blocked) => self.lose_patience(cx),
            (Poll::Pending, _) => {
                self.pulse.enter(Phase::Blocked);
                self.lose_patience(cx)
            }
        }
    }

    /// Listens until the client hangs up as well, or has been listened to for long enough.
    fn listen_on(&mut self, cx: &mut Context<'_>, until: Instant) -> Poll<io::Result<()>> {
        let mut bin = [0; 4096];
        self.alarm.as_mut().reset(until);
        loop {
            let mut bytes = ReadBuf::new(&mut bin);
            match Pin::new(&mut self.stream).poll_read(cx, &mut bytes) {
                Poll::Ready(Ok(())) if !bytes.filled().is_empty() && Instant::now() < until => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return self.alarm.as_mut().poll(cx).map(Ok),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Line<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, into) {
            Poll::Ready(Ok(())) => Poll::Ready(self.heard(&mut into.filled_mut()[before..])),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.lose_patience(cx),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Line<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.spoken(cx, taken)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.spoken(cx, taken)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let until = if let Some(until) = self.hung_up {
            until
        } else {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            let until = Instant::now() + LISTEN_ON;
            self.hung_up = Some(until);
            until
        };
        if self.framing.in_head() || self.framing.in_body() {
            self.listen_on(cx, until)
        } else {
            Poll::Ready(Ok(()))
        }
    }
}
