//! Waits that SIGTERM ends early.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use signal_hook::{consts::SIGTERM, low_level::pipe};
use std::{io, os::unix::net::UnixStream, time::Duration};

/// Paces a loop that runs until SIGTERM. The socket is readable once SIGTERM has arrived, and stays readable.
pub(crate) struct Ticker(UnixStream);

impl Ticker {
    /// Installs the handler: from now on, SIGTERM ends the waits instead of the process.
    pub(crate) fn until_sigterm() -> io::Result<Self> {
        let (sigterm, signal_end) = UnixStream::pair()?;
        pipe::register(SIGTERM, signal_end)?;
        Ok(Self(sigterm))
    }

    /// Waits for `period`, then returns `true`. Returns `false` once SIGTERM has arrived, in this call and in
    /// every later one.
    pub(crate) fn wait(&self, period: Duration) -> io::Result<bool> {
        let period = Timespec::try_from(period).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&period)) {
            // An interrupted wait counts as complete. If SIGTERM interrupted it, the next wait returns false.
            Ok(0) | Err(Errno::INTR) => Ok(true),
            Ok(_) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
