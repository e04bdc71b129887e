//! Waiting for fds to become readable.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};
use tokio::io::{Interest, unix::AsyncFd};

/// Watches an fd for readability.
///
/// tokio deprecates its safe constructor since a type's `AsRawFd` may name an fd that it does not own, or another one each
/// time. All types that come here, fds of std, and the receivers and bells of `proto`, own one fd for as long as they live;
/// so its safe form is kept, and this crate free of unsafe code.
#[expect(deprecated, reason = "see above")]
pub(super) fn watch<T: AsFd + AsRawFd>(owner: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(owner, Interest::READABLE)
}

/// Notes that there was nothing to read: the next wait is for the next edge.
pub(super) fn drained<T: AsRawFd>(fd: &AsyncFd<T>) {
    let _ = fd.try_io(Interest::READABLE, |_| Err::<(), _>(io::ErrorKind::WouldBlock.into()));
}
