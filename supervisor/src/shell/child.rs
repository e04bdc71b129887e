//! One live process: its pidfd, its control pipes, its log pipes.

use super::{
    output::LogPipe,
    tail::Tail,
    threads::{self, Sample},
    watch::{drained, watch},
};
use crate::{
    step::{Exit, Signal},
    store::crashes::ExitArtifacts,
};
use bulkhead_proto::{
    control::{FromWorker, ToWorker},
    pipe::{PipeError, Received, Receiver, Sender, Sent},
    reap::reap,
    trace::MAX_FRAMES,
};
use rustix::{
    io::Errno,
    process::{
        Pid, PidfdFlags, WaitId, WaitIdOptions, kill_process_group, pidfd_open, pidfd_send_signal, waitid,
    },
};
use std::{
    fs::File,
    io,
    os::fd::{AsFd as _, OwnedFd},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::io::unix::AsyncFd;

/// The supervisor's ends of a worker's control pipes.
#[derive(Debug)]
pub(super) struct Control {
    from: Option<AsyncFd<Receiver<FromWorker>>>,
    to: Option<Sender<ToWorker>>,
}

/// One live process. Dropping it neither ends nor reaps it.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    pidfd: AsyncFd<OwnedFd>,
    control: Control,
    output: Vec<LogPipe>,
    memory_limit: Option<u64>,
    /// Its last lines.
    tail: Tail,
    /// Its program, as it was when it said hello: by then one that was started by another has taken its place.
    program: Option<File>,
    /// Where it panicked.
    backtrace: Vec<u64>,
    /// When it was last looked at.
    seen: Option<Sample>,
    /// What its threads were doing when it was found hanging.
    living: Vec<String>,
}

/// What a process has to tell.
#[derive(Debug)]
pub(super) enum Stir {
    /// It said something.
    Frame(FromWorker),
    /// It said something that is no frame.
    BadFrame(String),
    /// It wrote to a log pipe: the one of that index.
    Output(usize),
    /// It is gone, and waits to be buried.
    Gone,
}

impl Control {
    /// Of a worker that knows nothing of Bulkhead.
    pub(super) const fn none() -> Self {
        Self { from: None, to: None }
    }

    /// Makes both ends non-blocking.
    pub(super) fn new(from: Receiver<FromWorker>, to: Sender<ToWorker>) -> io::Result<Self> {
        from.set_nonblocking(true)?;
        to.set_nonblocking(true)?;
        Ok(Self { from: Some(watch(from)?), to: Some(to) })
    }

    /// The next frame, if there is one.
    fn receive(&mut self) -> Option<Stir> {
        match self.from.as_ref()?.get_ref().recv() {
            Ok(Received::Frame(frame)) => Some(Stir::Frame(frame)),
            Ok(Received::Empty) => None,
            Ok(Received::Closed) => {
                // A worker may close its end and live on; its pidfd tells when it is gone.
                self.from = None;
                None
            }
            Err(PipeError::Bad(error)) => Some(Stir::BadFrame(error.to_string())),
            Err(PipeError::Io(error)) => {
                self.from = None;
                Some(Stir::BadFrame(format!("cannot be read: {error}")))
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Stir> {
        loop {
            let Some(from) = &self.from else { return Poll::Pending };
            // An error is found again, and handled, by the read.
            drop(ready!(from.poll_read_ready(cx)));
            match self.receive() {
                Some(stir) => return Poll::Ready(stir),
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
    /// Takes over a process that was just spawned by this one and is not reaped yet.
    pub(super) fn new(
        pid: Pid,
        control: Control,
        output: Vec<LogPipe>,
        memory_limit: Option<u64>,
    ) -> io::Result<Self> {
        let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        Ok(Self {
            pid,
            pidfd: watch(pidfd)?,
            control,
            output,
            memory_limit,
            tail: Tail::default(),
            program: None,
            backtrace: Vec::new(),
            seen: None,
            living: Vec::new(),
        })
    }

    /// Its pid.
    pub(super) const fn pid(&self) -> Pid {
        self.pid
    }

    /// How much private memory it may take, in bytes, if that is limited.
    pub(super) const fn memory_limit(&self) -> Option<u64> {
        self.memory_limit
    }

    /// What it has to tell; once it is gone, that alone: whoever buries it hears the rest.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Stir> {
        if self.pidfd.poll_read_ready(cx).is_ready() {
            return Poll::Ready(Stir::Gone);
        }
        if let Poll::Ready(stir) = self.control.poll(cx) {
            self.listen(&stir);
            return Poll::Ready(stir);
        }
        let readable = |pipe: &mut LogPipe| pipe.poll_readable(cx).is_ready();
        match self.output.iter_mut().position(readable) {
            Some(index) => Poll::Ready(Stir::Output(index)),
            None => Poll::Pending,
        }
    }

    /// Passes on what it wrote to that log pipe.
    pub(super) fn pass_on(&mut self, index: usize) {
        if let Some(pipe) = self.output.get_mut(index) {
            pipe.pass_on(&mut self.tail);
        }
    }

    /// Says something to it, without ever waiting.
    pub(super) fn send(&self, frame: &ToWorker) -> Result<Sent, PipeError> {
        self.control.to.as_ref().map_or(Ok(Sent::Closed), |to| to.send(frame))
    }

    /// Closes the pipe towards it.
    pub(super) fn close_control(&mut self) {
        self.control.to = None;
    }

    /// How long it could have worked since this was last asked; nothing at first.
    pub(super) fn had(&mut self) -> Duration {
        let now = threads::sample(self.pid);
        let had = self.seen.as_ref().map(|before| now.had_since(before));
        self.seen = Some(now);
        had.unwrap_or_default()
    }

    /// Notes what its threads are doing, and says it.
    pub(super) fn examine(&mut self) -> String {
        self.living = threads::describe(self.pid);
        self.living.join("; ")
    }

    /// Sends it a signal. Never reaches another process: it is not reaped before it is buried.
    pub(super) fn signal(&self, signal: Signal, group: bool) -> Result<(), Errno> {
        match signal {
            Signal::Stop => self.deliver(rustix::process::Signal::STOP, group),
            Signal::Abort => {
                self.deliver(rustix::process::Signal::ABORT, group)?;
                self.deliver(rustix::process::Signal::CONT, group)
            }
            Signal::Term => self.deliver(rustix::process::Signal::TERM, group),
            Signal::Kill => self.deliver(rustix::process::Signal::KILL, group),
        }
    }

    fn deliver(&self, signal: rustix::process::Signal, group: bool) -> Result<(), Errno> {
        if group {
            // The leader's pid is the group's number, which lives at least until the leader is reaped.
            match kill_process_group(self.pid, signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(error),
            }
        }
        match pidfd_send_signal(&self.pidfd, signal) {
            Err(Errno::SRCH) => Ok(()),
            sent => sent,
        }
    }

    /// Frames that are still in the pipe: at most as many as it holds, since nobody writes any more.
    pub(super) fn last_frames(&mut self) -> Vec<Stir> {
        const PIPE_HOLDS: usize = 16;
        let stirs: Vec<_> = std::iter::from_fn(|| self.control.receive()).take(PIPE_HOLDS).collect();
        stirs.iter().for_each(|stir| self.listen(stir));
        stirs
    }

    /// Keeps what is wanted for the crash report alone.
    fn listen(&mut self, stir: &Stir) {
        match stir {
            Stir::Frame(FromWorker::Hello { .. }) if self.program.is_none() => {
                // Without it, a backtrace has no names.
                self.program = File::open(format!("/proc/{}/exe", self.pid.as_raw_nonzero())).ok();
            }
            Stir::Frame(FromWorker::Backtrace { frames }) => {
                self.backtrace = frames.iter().copied().take(MAX_FRAMES).collect();
            }
            Stir::Frame(_) | Stir::BadFrame(_) | Stir::Output(_) | Stir::Gone => {}
        }
    }

    /// Buries a process that is gone: ends what is left of its group, passes on its last output, reaps it. Its pid may
    /// belong to another process afterwards. How it ended, and what is left of it.
    pub(super) fn bury(mut self) -> (Exit, ExitArtifacts) {
        // Looked at, but not reaped yet: the group's number must stay ours while it is killed.
        let seen = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        let _ = kill_process_group(self.pid, rustix::process::Signal::KILL);
        for pipe in self.output {
            pipe.end(&mut self.tail);
        }
        let usage = reap(self.pid).ok().flatten();
        let (output, output_dropped) = self.tail.into_lines();
        let exit = match seen {
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Exit::Code(code),
                (None, Some(number)) => Exit::Signal { number, core: status.dumped() },
                (None, None) => Exit::Unknown,
            },
            Ok(None) | Err(_) => Exit::Unknown,
        };
        let (program, backtrace, living) = (self.program, self.backtrace, self.living);
        (
            exit,
            ExitArtifacts {
                event: None,
                usage,
                output,
                output_dropped,
                thread_dump: living,
                program,
                backtrace,
            },
        )
    }
}
