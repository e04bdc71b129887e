//! One worker process: its pidfd, its control pipes, its log pipes.

use super::{output::LogPipe, output_tail::OutputTail};
use crate::{
    core::{Evidence, ExitStatus, Stack, WorkerSignal},
    runtime::{
        async_fd::{drained, watch},
        probes::threads::{self, Sample},
    },
    sys::wait::wait_with_usage,
};
use bulkhead_proto::{
    wire::control::{FromWorker, MAX_BACKTRACE, ToWorker},
    worker::pipe::{PipeError, Received, Receiver, Sender, Sent},
};
use rustix::{
    io::Errno,
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, getpgid, kill_process_group,
        pidfd_open, pidfd_send_signal, waitid,
    },
};
use std::{
    collections::HashSet,
    fs::File,
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::io::unix::AsyncFd;

/// The supervisor's ends of a worker's control pipes.
#[derive(Debug)]
pub(in crate::runtime) struct Control {
    from: Option<AsyncFd<Receiver<FromWorker>>>,
    to: Option<Sender<ToWorker>>,
}

/// One process. Dropping it neither kills nor reaps it.
#[derive(Debug)]
pub(in crate::runtime) struct Child {
    pid: Pid,
    pidfd: AsyncFd<OwnedFd>,
    control: Control,
    output: Vec<LogPipe>,
    memory_limit: Option<u64>,
    /// The name of a plain worker.
    pub(super) plain_worker: Option<String>,
    /// Whether its exit is not reported yet, because processes that it started may still stop in order.
    pub(super) waits_for_descendants: bool,
    /// The processes outside its group that were asked to stop.
    pub(super) asked: HashSet<Pid>,
    /// Its last output lines.
    output_tail: OutputTail,
    /// The stack of its panic. The executable is opened at `Hello`, when any wrapper has exec'ed the real worker.
    stack: Stack,
    /// The sample of its last probe.
    last_sample: Option<Sample>,
    /// What its threads were doing when it was found hanging.
    thread_dump: Vec<String>,
}

/// What can happen to a child.
#[derive(Debug)]
pub(in crate::runtime) enum ChildEvent {
    /// It sent a frame.
    Frame(FromWorker),
    /// It sent bytes that are not a frame.
    BadFrame(String),
    /// It wrote to the log pipe with this index.
    Output(usize),
    /// It has exited, and waits to be reaped.
    Exited,
}

impl Control {
    /// For a worker that knows nothing of Bulkhead.
    pub(in crate::runtime) const fn none() -> Self {
        Self { from: None, to: None }
    }

    /// Makes both ends non-blocking.
    pub(in crate::runtime) fn new(from: Receiver<FromWorker>, to: Sender<ToWorker>) -> io::Result<Self> {
        from.set_nonblocking(true)?;
        to.set_nonblocking(true)?;
        Ok(Self { from: Some(watch(from)?), to: Some(to) })
    }

    /// The next frame, if there is one.
    fn receive(&mut self) -> Option<ChildEvent> {
        match self.from.as_ref()?.get_ref().recv() {
            Ok(Received::Frame(frame)) => Some(ChildEvent::Frame(frame)),
            Ok(Received::Empty) => None,
            Ok(Received::Closed) => {
                // A worker may close its end and continue; the pidfd shows its exit.
                self.from = None;
                None
            }
            Err(PipeError::Bad(error)) => Some(ChildEvent::BadFrame(error.to_string())),
            Err(PipeError::Io(error)) => {
                self.from = None;
                Some(ChildEvent::BadFrame(format!("cannot be read: {error}")))
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ChildEvent> {
        loop {
            let Some(from) = &self.from else { return Poll::Pending };
            // An error is found again, and handled, by the read.
            drop(ready!(from.poll_read_ready(cx)));
            match self.receive() {
                Some(event) => return Poll::Ready(event),
                None => {
                    if let Some(from) = &self.from {
                        drained(from);
                    }
                }
            }
        }
    }
}

impl Child {
    /// Takes over a process that was just spawned and is not reaped yet.
    pub(in crate::runtime) fn new(
        pid: Pid,
        control: Control,
        output: Vec<LogPipe>,
        memory_limit: Option<u64>,
        plain_worker: Option<String>,
    ) -> io::Result<Self> {
        let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        Ok(Self {
            pid,
            pidfd: watch(pidfd)?,
            control,
            output,
            memory_limit,
            plain_worker,
            waits_for_descendants: false,
            asked: HashSet::new(),
            output_tail: OutputTail::default(),
            stack: Stack::default(),
            last_sample: None,
            thread_dump: Vec::new(),
        })
    }

    /// Its process id.
    pub(in crate::runtime) const fn pid(&self) -> Pid {
        self.pid
    }

    /// Its limit of private memory in bytes, if there is one.
    pub(in crate::runtime) const fn memory_limit(&self) -> Option<u64> {
        self.memory_limit
    }

    /// The next event. After the exit, only that: [`Self::drain_frames`] reads the rest.
    pub(in crate::runtime) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ChildEvent> {
        if !self.waits_for_descendants && self.pidfd.poll_read_ready(cx).is_ready() {
            return Poll::Ready(ChildEvent::Exited);
        }
        if let Poll::Ready(event) = self.control.poll(cx) {
            self.keep_for_report(&event);
            return Poll::Ready(event);
        }
        let readable = |pipe: &mut LogPipe| pipe.poll_readable(cx).is_ready();
        match self.output.iter_mut().position(readable) {
            Some(index) => Poll::Ready(ChildEvent::Output(index)),
            None => Poll::Pending,
        }
    }

    /// Forwards the output of this log pipe to the log.
    pub(in crate::runtime) fn forward(&mut self, index: usize) {
        if let Some(pipe) = self.output.get_mut(index) {
            pipe.forward(&mut self.output_tail);
        }
    }

    /// Sends a frame. Never blocks.
    pub(in crate::runtime) fn send(&self, frame: &ToWorker) -> Result<Sent, PipeError> {
        self.control.to.as_ref().map_or(Ok(Sent::Closed), |to| to.send(frame))
    }

    /// Closes the pipe towards the process.
    pub(in crate::runtime) fn close_control(&mut self) {
        self.control.to = None;
    }

    /// Processor time that was available to the process since the last call; zero at first.
    pub(in crate::runtime) fn cpu_available(&mut self) -> Duration {
        let now = threads::sample(self.pid);
        let cpu_available = self.last_sample.as_ref().map(|before| now.cpu_available_since(before));
        self.last_sample = Some(now);
        cpu_available.unwrap_or_default()
    }

    /// Records what its threads are doing, and returns a description.
    pub(in crate::runtime) fn dump_threads(&mut self) -> String {
        self.thread_dump = threads::describe(self.pid);
        self.thread_dump.join("; ")
    }

    /// Sends a signal. It cannot reach another process: the pid is not reaped before [`Self::reap`].
    pub(in crate::runtime) fn signal(&self, signal: WorkerSignal, group: bool) -> Result<(), Errno> {
        match signal {
            WorkerSignal::Stop => self.deliver(Signal::STOP, group),
            WorkerSignal::Abort => {
                self.deliver(Signal::ABORT, group)?;
                self.deliver(Signal::CONT, group)
            }
            WorkerSignal::Term => {
                self.deliver(Signal::TERM, group)?;
                // A stopped process handles it only when it continues.
                self.deliver(Signal::CONT, group)
            }
            WorkerSignal::Kill => self.deliver(Signal::KILL, group),
        }
    }

    fn deliver(&self, signal: Signal, group: bool) -> Result<(), Errno> {
        if group {
            // The pid of the leader is the number of the group, which exists at least until the leader is
            // reaped.
            match kill_process_group(self.pid, signal) {
                // Once is enough: some programs take a second SIGTERM for an order to give up their work.
                Ok(()) if getpgid(Some(self.pid)) == Ok(self.pid) => return Ok(()),
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(error),
            }
        }
        match pidfd_send_signal(&self.pidfd, signal) {
            Err(Errno::SRCH) => Ok(()),
            sent => sent,
        }
    }

    /// Frames that are still in the pipe: at most as many as it holds, because the writer is gone.
    pub(in crate::runtime) fn drain_frames(&mut self) -> Vec<FromWorker> {
        const MAX_QUEUED_FRAMES: usize = 16;
        let events: Vec<_> = std::iter::from_fn(|| self.control.receive()).take(MAX_QUEUED_FRAMES).collect();
        events.iter().for_each(|event| self.keep_for_report(event));
        // The process is gone: a bad frame has no consequence.
        let frame = |event| if let ChildEvent::Frame(frame) = event { Some(frame) } else { None };
        events.into_iter().filter_map(frame).collect()
    }

    /// Keeps what only the crash report needs.
    fn keep_for_report(&mut self, event: &ChildEvent) {
        match event {
            ChildEvent::Frame(FromWorker::Hello { .. }) if self.stack.program.is_none() => {
                // Without it, a backtrace has no names.
                let program = File::open(format!("/proc/{}/exe", self.pid.as_raw_nonzero()));
                self.stack.program = program.ok().map(Arc::new);
            }
            ChildEvent::Frame(FromWorker::Backtrace { frames }) => {
                self.stack.frames = frames.iter().copied().take(MAX_BACKTRACE).collect();
            }
            ChildEvent::Frame(_) | ChildEvent::BadFrame(_) | ChildEvent::Output(_) | ChildEvent::Exited => {}
        }
    }

    /// Whether it has exited with code 0.
    pub(super) fn has_succeeded(&self) -> bool {
        self.exit_status().ok().flatten().and_then(|status| status.exit_status()) == Some(0)
    }

    /// How it has exited. It is not reaped: the number of its group stays its own.
    fn exit_status(&self) -> Result<Option<WaitIdStatus>, Errno> {
        waitid(
            WaitId::PidFd(self.pidfd.as_fd()),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT,
        )
    }

    /// Reaps a process that has exited: kills the rest of its group, forwards its last output, and returns how
    /// it ended and what it used. Its pid may belong to another process afterwards.
    pub(in crate::runtime) fn reap(mut self) -> (ExitStatus, Evidence) {
        let status = self.exit_status();
        let _ = kill_process_group(self.pid, Signal::KILL);
        for pipe in self.output {
            pipe.end(&mut self.output_tail);
        }
        let resources = wait_with_usage(self.pid).ok().flatten();
        let (output, output_dropped) = self.output_tail.into_lines();
        let exit = match status {
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => ExitStatus::Code(code),
                (None, Some(number)) => ExitStatus::Signal { number, core: status.dumped() },
                (None, None) => ExitStatus::Unknown,
            },
            Ok(None) | Err(_) => ExitStatus::Unknown,
        };
        let Self { thread_dump, stack, .. } = self;
        (exit, Evidence { event: None, resources, output, output_dropped, thread_dump, stack })
    }
}
