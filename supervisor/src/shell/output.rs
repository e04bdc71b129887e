//! One log pipe of one worker.

use super::{
    tail::Tail,
    watch::{drained, watch},
};
use crate::log::worker_output::{BYTES_PER_WINDOW, LineSplitter, Output, OutputOrigin, WINDOW, write_to_log};
use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::{Errno, ioctl_fionread, read, retry_on_intr},
    pipe::fcntl_setpipe_size,
};
use std::{
    future::Future as _,
    io, mem,
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

/// A flood is thrown away so often: seldom enough not to take a core from the others, and…
const PACE: Duration = Duration::from_millis(1);

/// …so much at once: as much as a pipe may hold (pipe-max-size in proc(5)), so that hardly anybody writes fast enough to have
/// to wait.
const FLOOD: usize = 1 << 20;

/// How much is still read from a worker that is gone: as much as a pipe holds by default (pipe(7)).
const LAST: usize = 64 << 10;

/// The reading end, and the line that is being read.
#[derive(Debug)]
pub(super) struct LogPipe {
    fd: AsyncFd<OwnedFd>,
    open: bool,
    lines: LineSplitter,
    origin: OutputOrigin,
    /// What is left of the budget, and until when it holds.
    left: usize,
    window_end: Instant,
    /// Set once the budget is used up.
    pause: Option<Pin<Box<Sleep>>>,
    /// Where a flood is thrown away.
    bin: Vec<u8>,
}

impl LogPipe {
    pub(super) fn new(fd: OwnedFd, origin: OutputOrigin) -> io::Result<Self> {
        fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
        Ok(Self {
            fd: watch(fd)?,
            open: true,
            lines: LineSplitter::new(Instant::now()),
            origin,
            left: 0,
            window_end: Instant::now(),
            pause: None,
            bin: Vec::new(),
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

    /// Reads what there is, up to a bound, and passes it on; or throws it away, beyond the budget. Says how much it was.
    pub(super) fn pass_on(&mut self, tail: &mut Tail) -> usize {
        let now = Instant::now();
        if self.left == 0 && now < self.window_end {
            return self.throw_away(FLOOD, tail, now);
        }
        let mut chunk = [0; CHUNK];
        let length = self.read(&mut chunk);
        self.lines.feed(&chunk[..length], now, sink(&self.origin, tail));
        self.spend(length, now);
        length
    }

    /// Reads up to so much of a flood, and counts its lines; the end of one that began before is cut off.
    fn throw_away(&mut self, most: usize, tail: &mut Tail, now: Instant) -> usize {
        let mut bin = mem::take(&mut self.bin);
        bin.resize(FLOOD, 0);
        let length = self.read(&mut bin[..most.min(FLOOD)]);
        self.lines.skip(&bin[..length], sink(&self.origin, tail));
        self.bin = bin;
        self.pause = Some(Box::pin(sleep_until((now + PACE).into())));
        length
    }

    /// What is there now; nothing at the end.
    fn read(&mut self, into: &mut [u8]) -> usize {
        match retry_on_intr(|| read(&self.fd, &mut *into)) {
            Ok(0) => {
                self.open = false;
                0
            }
            Ok(length) => length,
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
            if self.left > 0 {
                // The flood is over.
                self.bin = Vec::new();
            }
            self.left = BYTES_PER_WINDOW;
            self.window_end = now + WINDOW;
        }
        self.left = self.left.saturating_sub(bytes);
        if self.left == 0 {
            // Where it is refused, its writer may have to wait a little.
            let _ = fcntl_setpipe_size(&self.fd, FLOOD);
        }
    }

    /// Passes on what the worker said before it was gone. Descendants that have escaped it may hold the pipe open still:
    /// they are not waited for.
    pub(super) fn end(mut self, tail: &mut Tail) {
        // Of a flood, the last lines.
        let there = ioctl_fionread(&self.fd).map_or(0, |there| usize::try_from(there).unwrap_or(usize::MAX));
        if let Some(flood) = there.checked_sub(LAST).filter(|flood| *flood > 0) {
            self.throw_away(flood, tail, Instant::now());
        }
        (self.left, self.window_end) = (BYTES_PER_WINDOW, Instant::now() + WINDOW);
        let mut left = LAST;
        while self.open && left > 0 {
            match self.pass_on(tail) {
                0 => break,
                length => left = left.saturating_sub(length),
            }
        }
        self.lines.finish(sink(&self.origin, tail));
    }
}

/// Where output goes: to the log, and to what is kept for a report.
fn sink(origin: &OutputOrigin, tail: &mut Tail) -> impl FnMut(Output) {
    move |output| {
        write_to_log(origin, &output);
        tail.keep(origin.stream, &output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::capture::capture_lines;
    use bulkhead_proto::ids::Generation;
    use std::{fs::File, future::poll_fn, io::Write as _, thread};

    #[test]
    fn a_flood_is_taken_in_whole_and_each_of_its_lines_is_passed_on_or_counted() {
        const LINES: usize = 1 << 20;
        let (from, to) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let writer = thread::spawn(move || File::from(to).write_all(&b"sixteen bytes..\n".repeat(LINES)));
        let mut tail = Tail::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let logged = capture_lines(|| {
            runtime.block_on(async {
                let origin =
                    OutputOrigin { worker: "loud".into(), generation: Generation(1), stream: "stdout" };
                let mut pipe = LogPipe::new(from, origin).unwrap();
                while pipe.open {
                    poll_fn(|cx| pipe.poll_readable(cx)).await;
                    pipe.pass_on(&mut tail);
                }
                pipe.end(&mut tail);
            });
        });
        writer.join().unwrap().unwrap();
        let passed_on = logged.iter().filter(|line| line.to_json().contains("sixteen bytes..")).count();
        let (kept, dropped) = tail.into_lines();
        assert_eq!(passed_on as u64 + dropped, LINES as u64);
        assert!(!kept.is_empty() && dropped > 0, "{dropped}");
    }
}
