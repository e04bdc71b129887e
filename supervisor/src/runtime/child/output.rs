//! One log pipe of one worker.

use super::output_tail::OutputTail;
use crate::{
    log::worker_output::{BYTES_PER_WINDOW, LineSplitter, Output, OutputOrigin, WINDOW, write_to_log},
    runtime::async_fd::{drained, watch},
};
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

/// Bytes per read, so that a worker with endless output cannot starve the others.
const CHUNK: usize = 16 << 10;

/// Interval at which excess output is discarded. Long enough not to occupy a core.
const DISCARD_INTERVAL: Duration = Duration::from_millis(1);

/// Bytes discarded at once: the maximum size of a pipe (pipe-max-size in proc(5)). Hardly any program writes
/// faster and has to wait.
const DISCARD_CHUNK: usize = 1 << 20;

/// Time from a dropped line to the line that counts it and those that follow, even if the worker writes nothing more.
const REPORT_DROPPED_AFTER: Duration = Duration::from_secs(1);

/// Bytes read from a worker that has exited: the default size of a pipe (pipe(7)).
const FINAL_READ: usize = 64 << 10;

/// The reading end, and the line being read.
#[derive(Debug)]
pub(in crate::runtime) struct LogPipe {
    fd: AsyncFd<OwnedFd>,
    open: bool,
    lines: LineSplitter,
    origin: OutputOrigin,
    /// Bytes left in the budget of the current window.
    budget: usize,
    window_end: Instant,
    /// Set once the budget is used up.
    pause: Option<Pin<Box<Sleep>>>,
    /// Set while dropped lines are not counted in the log yet.
    report_dropped: Option<Pin<Box<Sleep>>>,
    /// Where excess output is read to.
    discard_buffer: Vec<u8>,
}

impl LogPipe {
    pub(in crate::runtime) fn new(fd: OwnedFd, origin: OutputOrigin) -> io::Result<Self> {
        fcntl_setfl(&fd, fcntl_getfl(&fd)? | OFlags::NONBLOCK)?;
        Ok(Self {
            fd: watch(fd)?,
            open: true,
            lines: LineSplitter::new(Instant::now()),
            origin,
            budget: 0,
            window_end: Instant::now(),
            pause: None,
            report_dropped: None,
            discard_buffer: Vec::new(),
        })
    }

    /// Ready when there is something to read and the budget allows it, or when dropped lines are to be counted.
    pub(in crate::runtime) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.report_dropped.as_mut().is_some_and(|due| due.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(());
        }
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

    /// Reads what is available, up to a bound, and forwards it to the log; beyond the budget, discards it.
    /// Returns the number of bytes.
    pub(in crate::runtime) fn forward(&mut self, output_tail: &mut OutputTail) -> usize {
        let now = Instant::now();
        if self.report_dropped.take_if(|due| due.is_elapsed()).is_some() {
            self.lines.report_dropped(sink(&self.origin, output_tail));
        }
        let length = if self.budget == 0 && now < self.window_end {
            self.discard(DISCARD_CHUNK, output_tail, now)
        } else {
            let mut chunk = [0; CHUNK];
            let length = self.read(&mut chunk);
            self.lines.feed(&chunk[..length], now, sink(&self.origin, output_tail));
            self.charge_budget(length, now);
            length
        };
        if !self.lines.has_dropped() {
            self.report_dropped = None;
        } else if self.report_dropped.is_none() {
            self.report_dropped = Some(Box::pin(sleep_until((now + REPORT_DROPPED_AFTER).into())));
        }
        length
    }

    /// Reads and discards up to `most` bytes, and counts their lines. A line that began before is cut.
    fn discard(&mut self, max: usize, output_tail: &mut OutputTail, now: Instant) -> usize {
        let mut discard_buffer = mem::take(&mut self.discard_buffer);
        discard_buffer.resize(DISCARD_CHUNK, 0);
        let length = self.read(&mut discard_buffer[..max.min(DISCARD_CHUNK)]);
        self.lines.skip(&discard_buffer[..length], sink(&self.origin, output_tail));
        self.discard_buffer = discard_buffer;
        self.pause = Some(Box::pin(sleep_until((now + DISCARD_INTERVAL).into())));
        length
    }

    /// Reads what is available; 0 at the end of the pipe.
    fn read(&mut self, into: &mut [u8]) -> usize {
        if !self.open {
            return 0;
        }
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
                    "cannot read its {} any more: {error}",
                    self.origin.stream
                );
                self.open = false;
                0
            }
        }
    }

    fn charge_budget(&mut self, bytes: usize, now: Instant) {
        if now >= self.window_end {
            if self.budget > 0 {
                // The output rate is back below the budget.
                self.discard_buffer = Vec::new();
            }
            self.budget = BYTES_PER_WINDOW;
            self.window_end = now + WINDOW;
        }
        self.budget = self.budget.saturating_sub(bytes);
        if self.budget == 0 {
            // If the kernel refuses, the writer may have to wait a little.
            let _ = fcntl_setpipe_size(&self.fd, DISCARD_CHUNK);
        }
    }

    /// Forwards what the worker wrote before it exited. Escaped descendants may still hold the pipe open;
    /// they are not waited for.
    pub(in crate::runtime) fn end(mut self, output_tail: &mut OutputTail) {
        // Keep the last lines of excess output.
        let available =
            ioctl_fionread(&self.fd).map_or(0, |available| usize::try_from(available).unwrap_or(usize::MAX));
        if let Some(excess) = available.checked_sub(FINAL_READ).filter(|excess| *excess > 0) {
            self.discard(excess, output_tail, Instant::now());
        }
        (self.budget, self.window_end) = (BYTES_PER_WINDOW, Instant::now() + WINDOW);
        let mut left = FINAL_READ;
        while self.open && left > 0 {
            match self.forward(output_tail) {
                0 => break,
                length => left = left.saturating_sub(length),
            }
        }
        self.lines.finish(sink(&self.origin, output_tail));
    }
}

/// Where output goes: to the log, and to the tail for a crash report.
fn sink(origin: &OutputOrigin, output_tail: &mut OutputTail) -> impl FnMut(Output) {
    move |output| {
        write_to_log(origin, &output);
        output_tail.keep(origin.stream, &output);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{LogLine, test_capture::capture_lines};
    use bulkhead_proto::wire::ids::Generation;
    use std::{fs::File, future::poll_fn, io::Write as _, thread};

    /// Reads a pipe with `forward`. Returns the lines of the log.
    fn forward_from(
        from: OwnedFd,
        forward: impl AsyncFnOnce(LogPipe, &mut OutputTail),
    ) -> (Vec<LogLine>, OutputTail) {
        let mut output_tail = OutputTail::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let logged = capture_lines(|| {
            runtime.block_on(async {
                let origin =
                    OutputOrigin { worker: "loud".into(), generation: Generation(1), stream: "stdout" };
                let pipe = LogPipe::new(from, origin).unwrap();
                forward(pipe, &mut output_tail).await;
            });
        });
        (logged, output_tail)
    }

    #[test]
    fn dropped_lines_are_counted_although_nothing_more_is_written() {
        const LINES: usize = 100_000;
        let (from, to) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let to = File::from(to);
        let mut writer = to.try_clone().unwrap();
        let writing = thread::spawn(move || writer.write_all(&b"x\n".repeat(LINES)));
        let (logged, _) = forward_from(from, async |mut pipe, output_tail| {
            // The pipe stays open, and nothing more is written.
            let mut left = 2 * LINES;
            while left > 0 || pipe.report_dropped.is_some() {
                poll_fn(|cx| pipe.poll_readable(cx)).await;
                left -= pipe.forward(output_tail);
            }
        });
        drop(to);
        writing.join().unwrap().unwrap();
        let dropped = logged.iter().filter_map(|line| {
            let text = line.to_json();
            let (before, _) = text.split_once(" lines dropped")?;
            before.rsplit('"').next()?.parse::<usize>().ok()
        });
        let dropped: usize = dropped.sum();
        let forwarded = logged.iter().filter(|line| line.to_json().contains("\"message\":\"x\"")).count();
        assert!(dropped > 0);
        assert_eq!(forwarded + dropped, LINES);
    }

    #[test]
    fn every_line_of_excess_output_is_forwarded_or_counted() {
        const LINES: usize = 1 << 20;
        let (from, to) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let writer = thread::spawn(move || File::from(to).write_all(&b"sixteen bytes..\n".repeat(LINES)));
        let (logged, output_tail) = forward_from(from, async |mut pipe, output_tail| {
            while pipe.open {
                poll_fn(|cx| pipe.poll_readable(cx)).await;
                pipe.forward(output_tail);
            }
            pipe.end(output_tail);
        });
        writer.join().unwrap().unwrap();
        let forwarded = logged.iter().filter(|line| line.to_json().contains("sixteen bytes..")).count();
        let (kept, dropped) = output_tail.into_lines();
        assert_eq!(forwarded as u64 + dropped, LINES as u64);
        assert!(!kept.is_empty() && dropped > 0, "{dropped}");
    }
}
