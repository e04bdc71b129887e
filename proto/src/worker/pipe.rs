//! Control pipes: one frame per packet, so that no death can tear a frame and no reader can lose the frame boundaries.
//!
//! In packet mode (`O_DIRECT`, pipe(2)), each write of at most `PIPE_BUF` bytes is one packet, and each read returns one
//! packet. A pipe holds 16 packets. A sender reports a full pipe and does not wait.

use crate::wire::{
    codec::{self, CodecError},
    control::MAX_FRAME,
};
use bincode::{Decode, Encode};
use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    io::{self, Errno},
    pipe::{PipeFlags, pipe_with},
};
use std::{
    marker::PhantomData,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};

/// Why a frame could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum PipeError {
    /// The peer sent bytes that are not a frame, or a frame to send is too long.
    #[error("bad frame: {0}")]
    Bad(#[from] CodecError),
    /// A system call failed.
    #[error("control pipe: {0}")]
    Io(#[from] Errno),
}

/// The result of a read.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<T> {
    /// A frame.
    Frame(T),
    /// No frame now (non-blocking ends only).
    Empty,
    /// The other end is closed and all frames were read.
    Closed,
}

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The frame is in the pipe.
    Done,
    /// Not sent: the pipe is full (non-blocking ends only).
    Full,
    /// Not sent: the reading end is closed.
    Closed,
}

/// Creates a packet-mode pipe, both ends close-on-exec: (reading end, writing end).
///
/// The crate `interprocess` wraps such ends, but its constructors omit `O_CLOEXEC`, which would leak the ends into every
/// child.
///
/// # Errors
/// If the system has no fds left.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    pipe_with(PipeFlags::CLOEXEC | PipeFlags::DIRECT)
}

/// The reading end of a pipe that carries frames of type `T`.
#[derive(Debug)]
pub struct Receiver<T> {
    fd: OwnedFd,
    frames: PhantomData<fn() -> T>,
}

/// The writing end of a pipe that carries frames of type `T`.
#[derive(Debug)]
pub struct Sender<T> {
    fd: OwnedFd,
    frames: PhantomData<fn(T)>,
}

fn set_nonblocking(fd: &OwnedFd, nonblocking: bool) -> Result<(), Errno> {
    let mut flags = fcntl_getfl(fd)?;
    flags.set(OFlags::NONBLOCK, nonblocking);
    fcntl_setfl(fd, flags)
}

macro_rules! pipe_end {
    ($end:ident) => {
        impl<T> $end<T> {
            /// Wraps an end that was created by [`pair`].
            #[must_use]
            pub const fn new(fd: OwnedFd) -> Self {
                Self { fd, frames: PhantomData }
            }

            /// Chooses whether this end is non-blocking. New ends are blocking.
            ///
            /// # Errors
            /// If the fd refuses.
            pub fn set_nonblocking(&self, nonblocking: bool) -> Result<(), Errno> {
                set_nonblocking(&self.fd, nonblocking)
            }
        }

        impl<T> AsFd for $end<T> {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.fd.as_fd()
            }
        }

        impl<T> AsRawFd for $end<T> {
            fn as_raw_fd(&self) -> RawFd {
                self.fd.as_raw_fd()
            }
        }
    };
}

pipe_end!(Receiver);
pipe_end!(Sender);

impl<T: Decode<()>> Receiver<T> {
    /// Reads one frame.
    ///
    /// # Errors
    /// [`PipeError::Bad`] if the packet is not a frame. The next read returns the next packet.
    pub fn recv(&self) -> Result<Received<T>, PipeError> {
        let mut packet = [0; MAX_FRAME];
        match io::retry_on_intr(|| io::read(&self.fd, &mut packet)) {
            Ok(0) => Ok(Received::Closed),
            Ok(length) => Ok(Received::Frame(codec::decode(&packet[..length])?)),
            Err(Errno::AGAIN) => Ok(Received::Empty),
            Err(error) => Err(error.into()),
        }
    }
}

impl<T: Encode> Sender<T> {
    /// Sends one frame. SIGPIPE must be ignored, as it is by default in every Rust program.
    ///
    /// # Errors
    /// [`PipeError::Bad`] if the frame is longer than [`MAX_FRAME`].
    pub fn send(&self, frame: &T) -> Result<Sent, PipeError> {
        let mut packet = [0; MAX_FRAME];
        let length = codec::encode(frame, &mut packet)?;
        match io::retry_on_intr(|| io::write(&self.fd, &packet[..length])) {
            Ok(_) => Ok(Sent::Done),
            Err(Errno::AGAIN) => Ok(Sent::Full),
            Err(Errno::PIPE) => Ok(Sent::Closed),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::control::{FromWorker, ToWorker};

    fn pipe<T>() -> (Receiver<T>, Sender<T>) {
        let (read, write) = pair().unwrap();
        let (receiver, sender) = (Receiver::new(read), Sender::new(write));
        receiver.set_nonblocking(true).unwrap();
        sender.set_nonblocking(true).unwrap();
        (receiver, sender)
    }

    #[test]
    fn frames_arrive_one_by_one_and_in_order() {
        let (receiver, sender) = pipe();
        let hello = FromWorker::Hello { protocol: 1, build: "test".into() };
        assert_eq!(sender.send(&hello).unwrap(), Sent::Done);
        assert_eq!(sender.send(&FromWorker::Ready).unwrap(), Sent::Done);
        assert_eq!(receiver.recv().unwrap(), Received::Frame(hello));
        assert_eq!(receiver.recv().unwrap(), Received::Frame(FromWorker::Ready));
        assert_eq!(receiver.recv().unwrap(), Received::Empty);
    }

    #[test]
    fn a_full_pipe_refuses_a_frame_and_loses_none() {
        let (receiver, sender) = pipe();
        let mut sent = 0;
        while sender.send(&ToWorker::Drain).unwrap() == Sent::Done {
            sent += 1;
        }
        assert_eq!(sent, 16, "pipe(7): a packet takes a buffer, and a pipe has 16");
        for _ in 0..sent {
            assert_eq!(receiver.recv().unwrap(), Received::Frame(ToWorker::Drain));
        }
        assert_eq!(receiver.recv().unwrap(), Received::Empty);
    }

    #[test]
    fn frames_sent_before_the_sender_closed_still_arrive() {
        let (receiver, sender) = pipe();
        sender.send(&FromWorker::Ready).unwrap();
        drop(sender);
        assert_eq!(receiver.recv().unwrap(), Received::Frame(FromWorker::Ready));
        assert_eq!(receiver.recv().unwrap(), Received::Closed);
    }

    #[test]
    fn a_sender_learns_that_the_reader_is_closed() {
        let (receiver, sender) = pipe();
        drop(receiver);
        assert_eq!(sender.send(&FromWorker::Ready).unwrap(), Sent::Closed);
    }

    #[test]
    fn garbage_is_an_error_and_the_next_frame_still_arrives() {
        let (receiver, sender) = pipe::<FromWorker>();
        io::write(&sender, &[0xff; 700]).unwrap();
        sender.send(&FromWorker::Ready).unwrap();
        assert!(matches!(receiver.recv(), Err(PipeError::Bad(_))));
        assert_eq!(receiver.recv().unwrap(), Received::Frame(FromWorker::Ready));
    }

    #[test]
    fn extra_bytes_after_a_frame_are_refused() {
        let (receiver, sender) = pipe::<ToWorker>();
        let mut packet = [0; 64];
        let length = codec::encode(&ToWorker::Drain, &mut packet).unwrap();
        io::write(&sender, &packet[..length + 3]).unwrap();
        assert!(matches!(receiver.recv(), Err(PipeError::Bad(CodecError::Trailing(3)))));
    }

    #[test]
    fn a_frame_that_is_too_long_is_not_sent() {
        let (receiver, sender) = pipe();
        let long = FromWorker::Hello { protocol: 1, build: "x".repeat(MAX_FRAME) };
        assert!(matches!(sender.send(&long), Err(PipeError::Bad(CodecError::TooLong { .. }))));
        assert_eq!(receiver.recv().unwrap(), Received::Empty);
    }
}
