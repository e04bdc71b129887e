//! The one place where an analysis waits, and everything that can wake it.

use bulkhead_proto::{
    shm::wake::WakeFd,
    wire::{
        control::{RecoveryHints, ToWorker},
        fault::FaultKind,
    },
    worker::pipe::{PipeError, Received, Receiver},
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

/// Why an analysis wakes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// Nothing special: go on with what there is to do.
    Work,
    /// It is the active generation from now on, and takes this care.
    Activate(RecoveryHints),
    /// Finish and leave: asked for by a frame, the end of the control pipe, or a signal.
    Drain,
    /// Die in this way.
    Fault(FaultKind),
}

/// What an analysis listens to.
#[derive(Debug)]
pub(crate) struct Inbox {
    control: Receiver<ToWorker>,
    /// Readable once SIGTERM or SIGINT came, for ever: there is no way back from a stop.
    stop: UnixStream,
    bell: WakeFd,
}

impl Inbox {
    /// Listens to the supervisor, to signals and to the bell.
    pub(crate) fn open(control: Receiver<ToWorker>, bell: WakeFd) -> io::Result<Self> {
        control.set_nonblocking(true)?;
        let (stop, ring) = UnixStream::pair()?;
        pipe::register(SIGTERM, ring.try_clone()?)?;
        pipe::register(SIGINT, ring)?;
        Ok(Self { control, stop, bell })
    }

    /// Whether something came, without waiting.
    pub(crate) fn look(&self) -> Result<Wake, PipeError> {
        self.linger(Duration::ZERO)
    }

    /// Waits for at most that long; the bell is not listened to.
    pub(crate) fn linger(&self, most: Duration) -> Result<Wake, PipeError> {
        let most = Timespec::try_from(most).map_err(|_| Errno::OVERFLOW)?;
        self.wait(false, Some(&most))
    }

    /// Waits until something comes, without the bell: an analysis that is not active leaves the bell to the one that is.
    pub(crate) fn stand_by(&self) -> Result<Wake, PipeError> {
        self.wait(false, None)
    }

    /// Waits until something comes or the bell rings.
    pub(crate) fn park(&self) -> Result<Wake, PipeError> {
        let wake = self.wait(true, None);
        self.bell.clear();
        wake
    }

    fn wait(&self, bell: bool, most: Option<&Timespec>) -> Result<Wake, PipeError> {
        let readable = PollFlags::IN;
        let mut fds = [
            PollFd::new(&self.control, readable),
            PollFd::new(&self.stop, readable),
            PollFd::new(&self.bell, readable),
        ];
        let watched = if bell { &mut fds[..] } else { &mut fds[..2] };
        match poll(watched, most) {
            Ok(0) | Err(Errno::INTR) => return Ok(Wake::Work),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let [control, stop, _] = fds.map(|fd| !fd.revents().is_empty());
        if stop {
            return Ok(Wake::Drain);
        }
        if control { self.receive() } else { Ok(Wake::Work) }
    }

    fn receive(&self) -> Result<Wake, PipeError> {
        Ok(match self.control.recv()? {
            Received::Frame(ToWorker::Activate(care)) => Wake::Activate(care),
            Received::Frame(ToWorker::Drain) | Received::Closed => Wake::Drain,
            Received::Frame(ToWorker::Fault(kind)) => Wake::Fault(kind),
            // We never ask for anything, append nothing, and show by our work that we live.
            Received::Frame(ToWorker::Answer { .. } | ToWorker::Replay(_) | ToWorker::Ping(_))
            | Received::Empty => Wake::Work,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_proto::worker::pipe::{Sender, pair};

    fn inbox() -> (Inbox, Sender<ToWorker>, WakeFd) {
        let (read, write) = pair().unwrap();
        let bell = WakeFd::create().unwrap();
        let heard = WakeFd::from(bell.try_clone().unwrap());
        (Inbox::open(Receiver::new(read), heard).unwrap(), Sender::new(write), bell)
    }

    #[test]
    fn frames_come_one_by_one_and_the_end_of_the_pipe_means_drain() {
        let (inbox, supervisor, _bell) = inbox();
        assert_eq!(inbox.look().unwrap(), Wake::Work);
        supervisor.send(&ToWorker::Activate(RecoveryHints::default())).unwrap();
        supervisor.send(&ToWorker::Fault(FaultKind::Exit)).unwrap();
        assert_eq!(inbox.stand_by().unwrap(), Wake::Activate(RecoveryHints::default()));
        assert_eq!(inbox.look().unwrap(), Wake::Fault(FaultKind::Exit));
        drop(supervisor);
        assert_eq!(inbox.look().unwrap(), Wake::Drain);
        assert_eq!(inbox.park().unwrap(), Wake::Drain);
    }

    #[test]
    fn the_bell_wakes_who_is_parked_once() {
        let (inbox, _supervisor, bell) = inbox();
        bell.notify();
        assert_eq!(inbox.park().unwrap(), Wake::Work);
        assert!(!bell.clear(), "it was silenced");
    }

    #[test]
    fn the_bell_of_the_active_one_is_not_silenced_by_one_that_stands_by() {
        let (inbox, supervisor, bell) = inbox();
        bell.notify();
        supervisor.send(&ToWorker::Drain).unwrap();
        assert_eq!(inbox.stand_by().unwrap(), Wake::Drain);
        assert!(bell.clear());
    }
}
