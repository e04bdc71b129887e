//! Waiting that SIGTERM cuts short.

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use signal_hook::{consts::SIGTERM, low_level::pipe};
use std::{io, os::unix::net::UnixStream, time::Duration};

/// Waits, until SIGTERM comes.
pub(crate) struct Pause(UnixStream);

impl Pause {
    /// From now on, SIGTERM ends pauses instead of the process.
    pub(crate) fn until_sigterm() -> io::Result<Self> {
        let (term, ring) = UnixStream::pair()?;
        pipe::register(SIGTERM, ring)?;
        Ok(Self(term))
    }

    /// Waits that long: false if SIGTERM came, which it is for ever after.
    pub(crate) fn passed(&self, time: Duration) -> io::Result<bool> {
        let time = Timespec::try_from(time).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&time)) {
            // Whatever interrupts us is SIGTERM, or the next pause will tell.
            Ok(0) | Err(Errno::INTR) => Ok(true),
            Ok(_) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
