//! The one place where an analytics worker waits, and everything that can end the wait.

use bulkhead_proto::{
    shm::wake::WakeFd,
    wire::{
        control::{RecoveryHints, ToWorker},
        fault::FaultKind,
    },
    worker::{
        fault,
        pipe::{PipeError, Received, Receiver},
    },
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    low_level::pipe,
};
use std::{io, os::unix::net::UnixStream, time::Duration};

/// What the supervisor or a signal asks of this worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ControlEvent {
    /// Nothing: check for work and continue.
    Continue,
    /// Become the active generation, and follow these recovery hints.
    Activate(RecoveryHints),
    /// Commit and exit. Caused by a frame, the end of the control pipe, or a signal.
    Drain,
    /// Execute this fault.
    Fault(FaultKind),
    /// The events of isolated series are stored.
    IsolatedStored,
}

/// The sources of control events, and the wake fd.
#[derive(Debug)]
pub(crate) struct ControlEvents {
    control: Receiver<ToWorker>,
    /// Readable once SIGTERM or SIGINT has arrived. It is never read, so it stays readable: a stop cannot be
    /// revoked.
    stop: UnixStream,
    wake_fd: WakeFd,
}

impl ControlEvents {
    /// Listens to the supervisor, to SIGTERM and SIGINT, and to the wake fd.
    pub(crate) fn open(control: Receiver<ToWorker>, wake_fd: WakeFd) -> io::Result<Self> {
        let (stop, signal_end) = UnixStream::pair()?;
        pipe::register(SIGTERM, signal_end.try_clone()?)?;
        pipe::register(SIGINT, signal_end)?;
        Ok(Self { control, stop, wake_fd })
    }

    /// Returns a control event that has arrived; never waits.
    pub(crate) fn poll_now(&self) -> Result<ControlEvent, PipeError> {
        self.poll_for(Duration::ZERO)
    }

    /// Waits at most `timeout` for a control event. Ignores the wake fd.
    pub(crate) fn poll_for(&self, timeout: Duration) -> Result<ControlEvent, PipeError> {
        let timeout = Timespec::try_from(timeout).map_err(|_| Errno::OVERFLOW)?;
        self.wait(false, Some(&timeout))
    }

    /// Waits for a control event. Ignores the wake fd, which belongs to the active generation: a standby must
    /// not clear it.
    pub(crate) fn wait_in_standby(&self) -> Result<ControlEvent, PipeError> {
        self.wait(false, None)
    }

    /// Waits for a control event that `expected` accepts. Executes faults meanwhile, and ignores other events. `None`: the
    /// process must exit instead.
    pub(crate) fn wait_until<T>(
        &self,
        expected: impl Fn(ControlEvent) -> Option<T>,
    ) -> Result<Option<T>, PipeError> {
        loop {
            match self.wait_in_standby()? {
                ControlEvent::Drain => return Ok(None),
                ControlEvent::Fault(kind) => fault::execute(kind),
                event @ (ControlEvent::Continue
                | ControlEvent::Activate(_)
                | ControlEvent::IsolatedStored) => {
                    if let Some(accepted) = expected(event) {
                        return Ok(Some(accepted));
                    }
                }
            }
        }
    }

    /// Waits for a control event or a notification of the wake fd, at most for `timeout`, and clears the wake fd.
    pub(crate) fn wait_for_work(&self, timeout: Option<Duration>) -> Result<ControlEvent, PipeError> {
        // A timeout beyond what the system can express is none.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let event = self.wait(true, timeout.as_ref());
        self.wake_fd.clear();
        event
    }

    fn wait(&self, include_wake_fd: bool, timeout: Option<&Timespec>) -> Result<ControlEvent, PipeError> {
        let readable = PollFlags::IN;
        let mut fds = [
            PollFd::new(&self.control, readable),
            PollFd::new(&self.stop, readable),
            PollFd::new(&self.wake_fd, readable),
        ];
        let polled = if include_wake_fd { &mut fds[..] } else { &mut fds[..2] };
        match poll(polled, timeout) {
            Ok(0) | Err(Errno::INTR) => return Ok(ControlEvent::Continue),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let [control, stop, _] = fds.map(|fd| !fd.revents().is_empty());
        if stop {
            return Ok(ControlEvent::Drain);
        }
        if control { self.receive() } else { Ok(ControlEvent::Continue) }
    }

    fn receive(&self) -> Result<ControlEvent, PipeError> {
        Ok(match self.control.recv()? {
            Received::Frame(ToWorker::Activate(hints)) => ControlEvent::Activate(hints),
            Received::Frame(ToWorker::Drain) | Received::Closed => ControlEvent::Drain,
            Received::Frame(ToWorker::Fault(kind)) => ControlEvent::Fault(kind),
            Received::Frame(ToWorker::IsolatedStored) => ControlEvent::IsolatedStored,
            // Frames for the API. The analytics worker sends no requests and appends no events; the
            // supervisor sees its progress in shared memory instead of pinging it.
            Received::Frame(ToWorker::Answer { .. } | ToWorker::Replay(_) | ToWorker::Ping(_))
            | Received::Empty => ControlEvent::Continue,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_proto::worker::pipe::{Sender, pair};

    fn control_events() -> (ControlEvents, Sender<ToWorker>, WakeFd) {
        let (read, write) = pair().unwrap();
        let wake_fd = WakeFd::create().unwrap();
        let waited_for = WakeFd::from(wake_fd.try_clone().unwrap());
        (ControlEvents::open(Receiver::new(read), waited_for).unwrap(), Sender::new(write), wake_fd)
    }

    #[test]
    fn frames_arrive_one_by_one_and_the_end_of_the_pipe_means_drain() {
        let (control_events, supervisor, _wake_fd) = control_events();
        assert_eq!(control_events.poll_now().unwrap(), ControlEvent::Continue);
        supervisor.send(&ToWorker::Activate(RecoveryHints::default())).unwrap();
        supervisor.send(&ToWorker::Fault(FaultKind::Exit)).unwrap();
        assert_eq!(
            control_events.wait_in_standby().unwrap(),
            ControlEvent::Activate(RecoveryHints::default())
        );
        assert_eq!(control_events.poll_now().unwrap(), ControlEvent::Fault(FaultKind::Exit));
        drop(supervisor);
        assert_eq!(control_events.poll_now().unwrap(), ControlEvent::Drain);
        assert_eq!(control_events.wait_for_work(None).unwrap(), ControlEvent::Drain);
    }

    #[test]
    fn the_wake_fd_ends_a_wait_for_work_and_is_cleared() {
        let (control_events, _supervisor, wake_fd) = control_events();
        wake_fd.notify();
        assert_eq!(control_events.wait_for_work(None).unwrap(), ControlEvent::Continue);
        assert!(!wake_fd.clear(), "the wait should have cleared the wake fd");
    }

    #[test]
    fn a_standby_does_not_clear_the_wake_fd_of_the_active_generation() {
        let (control_events, supervisor, wake_fd) = control_events();
        wake_fd.notify();
        supervisor.send(&ToWorker::Drain).unwrap();
        assert_eq!(control_events.wait_in_standby().unwrap(), ControlEvent::Drain);
        assert!(wake_fd.clear());
    }
}
