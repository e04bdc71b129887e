//! One log pipe of one worker.

use super::{
    tail::Tail,
    watch::{drained, watch},
};
use crate::log::worker::{Lines, Origin, write};
use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::{Errno, read, retry_on_intr},
};
use std::{
    future::Future as _,
    io,
    os::fd::OwnedFd,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};
use tokio::{
    io::unix::AsyncFd,
    time::{Sleep, sleep_until},
};

/// How much is read at once, so that a worker that talks without end cannot keep the supervisor from the others.
const CHUNK: usize = 16 << 10;

/// So much is read within…
const BUDGET: usize = 1 << 20;

/// …this time. Beyond it the worker has to wait for its reader, as in every pipe: to read and drop gigabytes would take a
/// core from the others.
const WINDOW: Duration = Duration::from_millis(100);

/// How much is still read from a worker that is gone: as much as a pipe holds by default (pipe(7)).
const LAST: usize = 64 << 10;

/// The reading end, and the line that is being read.
#[derive(Debug)]
pub(super) struct LogPipe {
    fd: AsyncFd<OwnedFd>,
    open: bool,
    lines: Lines,
    origin: Origin,
    /// What is left of the budget, and until when it holds.
    left: usize,
    window_end: Instant,
    /// Set once the budget is used up.
    pause: Option<Pin<Box<Sleep>>>,
}

impl LogPipe {
    pub(super) fn new(fd: OwnedFd, origin: Origin) -> io::Result<Self> {
        fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
        Ok(Self {
            fd: watch(fd)?,
            open: true,
            lines: Lines::new(Instant::now()),
            origin,
            left: 0,
            window_end: Instant::now(),
            pause: None,
        })
    }

    /// Ready when there is something to read, and it may be read.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.open {
            return Poll::Pending;
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        // An error is found again, and handled, by the read.
        drop(ready!(self.fd.poll_read_ready(cx)));
        Poll::Ready(())
    }

    /// Reads what there is, up to a bound, and passes it on. Says how much it was.
    pub(super) fn pass_on(&mut self, tail: &mut Tail) -> usize {
        let mut chunk = [0; CHUNK];
        match retry_on_intr(|| read(&self.fd, &mut chunk)) {
            Ok(0) => {
                self.open = false;
                0
            }
            Ok(length) => {
                let origin = &self.origin;
                let now = Instant::now();
                self.lines.feed(&chunk[..length], now, |output| {
                    write(origin, &output);
                    tail.keep(origin.stream, &output);
                });
                self.spend(length, now);
                length
            }
            Err(Errno::AGAIN) => {
                drained(&self.fd);
                0
            }
            Err(error) => {
                tracing::warn!(
                    worker = self.origin.worker,
                    "its {} cannot be read any more: {error}",
                    self.origin.stream
                );
                self.open = false;
                0
            }
        }
    }

    fn spend(&mut self, bytes: usize, now: Instant) {
        if now >= self.window_end {
            self.left = BUDGET;
            self.window_end = now + WINDOW;
        }
        self.left = self.left.saturating_sub(bytes);
        if self.left == 0 {
            self.pause = Some(Box::pin(sleep_until(self.window_end.into())));
        }
    }

    /// Passes on what the worker said before it was gone. Descendants that have escaped it may hold the pipe open still:
    /// they are not waited for.
    pub(super) fn end(mut self, tail: &mut Tail) {
        let mut left = LAST;
        while self.open && left > 0 {
            match self.pass_on(tail) {
                0 => break,
                length => left = left.saturating_sub(length),
            }
        }
        self.lines.end(|output| {
            write(&self.origin, &output);
            tail.keep(self.origin.stream, &output);
        });
    }
}
