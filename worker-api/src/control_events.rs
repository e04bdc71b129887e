//! Control events: frames from the supervisor, SIGTERM and SIGINT.

use bulkhead_proto::{
    wire::control::ToWorker,
    worker::pipe::{PipeError, Received, Receiver},
};
use std::io;
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{Signal, SignalKind, signal},
};

/// An event for the main loop.
#[derive(Debug)]
pub(crate) enum ControlEvent {
    /// A frame from the supervisor.
    Frame(ToWorker),
    /// No further frame will come; the text is the reason.
    Closed(&'static str),
    /// This signal was received.
    Terminate(&'static str),
}

/// The control pipe and the signal handlers.
#[derive(Debug)]
pub(crate) struct ControlEvents {
    control: AsyncFd<Receiver<ToWorker>>,
    terminate: Signal,
    interrupt: Signal,
}

impl ControlEvents {
    /// Registers all. `control` must be non-blocking. Must be called within the tokio runtime.
    ///
    /// # Errors
    /// When the pipe or the signal cannot be registered.
    #[expect(
        deprecated,
        reason = "the safe constructor is right for a receiver, which owns one fd for its lifetime; the other one is unsafe"
    )]
    pub(crate) fn new(control: Receiver<ToWorker>) -> io::Result<Self> {
        Ok(Self {
            control: AsyncFd::with_interest(control, Interest::READABLE)?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next event. Safe to cancel.
    pub(crate) async fn next(&mut self) -> ControlEvent {
        loop {
            let readable = tokio::select! {
                biased;
                _ = self.terminate.recv() => return ControlEvent::Terminate("SIGTERM"),
                _ = self.interrupt.recv() => return ControlEvent::Terminate("SIGINT"),
                readable = self.control.readable() => readable,
            };
            let Ok(mut readable) = readable else { return ControlEvent::Closed("the runtime is shut down") };
            match readable.get_inner().recv() {
                Ok(Received::Frame(frame)) => return ControlEvent::Frame(frame),
                Ok(Received::Closed) => {
                    return ControlEvent::Closed("the supervisor closed the control pipe");
                }
                Ok(Received::Empty) => readable.clear_ready(),
                Err(PipeError::Bad(error)) => {
                    tracing::error!(%error, "ignored an invalid frame from the supervisor");
                }
                Err(error @ PipeError::Io(_)) => {
                    tracing::error!(%error, "cannot read the control pipe: draining");
                    return ControlEvent::Closed("the control pipe cannot be read");
                }
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

    fn control_events() -> (ControlEvents, Sender<ToWorker>) {
        let (read, write) = pipe::pair().unwrap();
        let control = Receiver::new(read);
        control.set_nonblocking(true).unwrap();
        (ControlEvents::new(control).unwrap(), Sender::new(write))
    }

    #[tokio::test]
    async fn every_frame_is_read_and_then_the_close() {
        let (mut events, supervisor) = control_events();
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
        let (mut events, supervisor) = control_events();
        rustix::io::write(&supervisor, &[250, 1, 2]).unwrap();
        supervisor.send(&ToWorker::Drain).unwrap();
        assert!(matches!(events.next().await, ControlEvent::Frame(ToWorker::Drain)));
    }
}
