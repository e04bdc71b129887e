//! What can wake the worker's main loop, apart from HTTP.

use bulkhead_proto::wire::{
    codec,
    control::{MAX_FRAME, ToWorker},
};
use std::{io, os::fd::OwnedFd};
use tokio::{
    net::unix::pipe,
    signal::unix::{Signal, SignalKind, signal},
};

/// One thing to react to.
#[derive(Debug)]
pub(crate) enum Wake {
    /// The supervisor says this.
    Frame(ToWorker),
    /// It will say nothing more, for this reason.
    Closed(&'static str),
    /// SIGTERM.
    Terminate,
}

/// The control pipe and the signal.
///
/// tokio's pipe in place of proto's: `AsyncFd` around the latter could only be made by unsafe code. Its `AsyncRead`
/// would lose packets, taking a short read for the end; its `try_read` does not.
#[derive(Debug)]
pub(crate) struct Inbox {
    control: pipe::Receiver,
    terminate: Signal,
}

impl Inbox {
    /// To be called within the runtime.
    ///
    /// # Errors
    /// When pipe or signal cannot be watched.
    pub(crate) fn new(control: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            control: pipe::Receiver::from_owned_fd(control)?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next thing. Can be abandoned without losing one.
    pub(crate) async fn next(&mut self) -> Wake {
        loop {
            let readable = tokio::select! {
                biased;
                _ = self.terminate.recv() => return Wake::Terminate,
                readable = self.control.readable() => readable,
            };
            match readable.and_then(|()| self.read()) {
                Ok(Some(wake)) => return wake,
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, "the control pipe cannot be read any more");
                    return Wake::Closed("the control pipe broke");
                }
            }
        }
    }

    /// One packet. None when there was none after all, or one that is no frame.
    fn read(&self) -> io::Result<Option<Wake>> {
        let mut packet = [0; MAX_FRAME];
        let length = match self.control.try_read(&mut packet) {
            Ok(0) => return Ok(Some(Wake::Closed("the supervisor closed the control pipe"))),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        match codec::decode(&packet[..length]) {
            Ok(frame) => Ok(Some(Wake::Frame(frame))),
            Err(error) => {
                tracing::error!(%error, "a frame from the supervisor is ignored");
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead_proto::{
        wire::control::RecoveryHints,
        worker::pipe::{self, Sender},
    };

    #[tokio::test]
    async fn every_frame_is_seen_and_then_the_end() {
        let (read, write) = pipe::pair().unwrap();
        let (mut inbox, supervisor) = (Inbox::new(read).unwrap(), Sender::new(write));
        supervisor.send(&ToWorker::Activate(RecoveryHints::default())).unwrap();
        supervisor.send(&ToWorker::Drain).unwrap();
        assert!(matches!(inbox.next().await, Wake::Frame(ToWorker::Activate(_))));
        assert!(matches!(inbox.next().await, Wake::Frame(ToWorker::Drain)));
        drop(supervisor);
        assert!(matches!(inbox.next().await, Wake::Closed(_)));
        assert!(matches!(inbox.next().await, Wake::Closed(_)), "the end stays the end");
    }

    #[tokio::test]
    async fn a_bad_frame_is_ignored_and_the_next_one_is_read() {
        let (read, write) = pipe::pair().unwrap();
        let mut inbox = Inbox::new(read).unwrap();
        rustix::io::write(&write, &[250, 1, 2]).unwrap();
        Sender::new(write).send(&ToWorker::Drain).unwrap();
        assert!(matches!(inbox.next().await, Wake::Frame(ToWorker::Drain)));
    }
}
