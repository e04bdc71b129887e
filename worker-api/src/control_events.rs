//! Control events: frames from the supervisor, and SIGTERM.

use bulkhead_proto::wire::{
    codec,
    control::{MAX_FRAME, ToWorker},
};
use std::{io, os::fd::OwnedFd};
use tokio::{
    net::unix::pipe,
    signal::unix::{Signal, SignalKind, signal},
};

/// An event for the main loop.
#[derive(Debug)]
pub(crate) enum ControlEvent {
    /// A frame from the supervisor.
    Frame(ToWorker),
    /// No further frame will come; the text is the reason.
    Closed(&'static str),
    /// SIGTERM was received.
    Terminate,
}

/// The control pipe and the SIGTERM handler.
///
/// This uses tokio's pipe, not the one of `bulkhead_proto`: an `AsyncFd` around the latter would need unsafe code.
/// Packets are read with `try_read`: the `AsyncRead` of tokio's pipe treats a short read as an empty pipe, and would
/// miss packets.
#[derive(Debug)]
pub(crate) struct ControlEvents {
    control: pipe::Receiver,
    terminate: Signal,
}

impl ControlEvents {
    /// Registers both. Must be called within the tokio runtime.
    ///
    /// # Errors
    /// When the pipe or the signal cannot be registered.
    pub(crate) fn new(control: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            control: pipe::Receiver::from_owned_fd(control)?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next event. Safe to cancel.
    pub(crate) async fn next(&mut self) -> ControlEvent {
        loop {
            let readable = tokio::select! {
                biased;
                _ = self.terminate.recv() => return ControlEvent::Terminate,
                readable = self.control.readable() => readable,
            };
            match readable.and_then(|()| self.read()) {
                Ok(Some(event)) => return event,
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot read the control pipe: draining");
                    return ControlEvent::Closed("the control pipe cannot be read");
                }
            }
        }
    }

    /// Reads one packet; `None` if there is none, or if it is not a valid frame.
    fn read(&self) -> io::Result<Option<ControlEvent>> {
        let mut packet = [0; MAX_FRAME];
        let length = match self.control.try_read(&mut packet) {
            Ok(0) => return Ok(Some(ControlEvent::Closed("the supervisor closed the control pipe"))),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        match codec::decode(&packet[..length]) {
            Ok(frame) => Ok(Some(ControlEvent::Frame(frame))),
            Err(error) => {
                tracing::error!(%error, "ignored an invalid frame from the supervisor");
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
    async fn every_frame_is_read_and_then_the_close() {
        let (read, write) = pipe::pair().unwrap();
        let (mut events, supervisor) = (ControlEvents::new(read).unwrap(), Sender::new(write));
        supervisor.send(&ToWorker::Activate(RecoveryHints::default())).unwrap();
        supervisor.send(&ToWorker::Drain).unwrap();
        assert!(matches!(events.next().await, ControlEvent::Frame(ToWorker::Activate(_))));
        assert!(matches!(events.next().await, ControlEvent::Frame(ToWorker::Drain)));
        drop(supervisor);
        assert!(matches!(events.next().await, ControlEvent::Closed(_)));
        assert!(matches!(events.next().await, ControlEvent::Closed(_)), "the close is reported again");
    }

    #[tokio::test]
    async fn an_invalid_frame_is_ignored_and_the_next_one_is_read() {
        let (read, write) = pipe::pair().unwrap();
        let mut events = ControlEvents::new(read).unwrap();
        rustix::io::write(&write, &[250, 1, 2]).unwrap();
        Sender::new(write).send(&ToWorker::Drain).unwrap();
        assert!(matches!(events.next().await, ControlEvent::Frame(ToWorker::Drain)));
    }
}
