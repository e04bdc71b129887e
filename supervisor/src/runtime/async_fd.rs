//! Waiting for file descriptors to become readable.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};
use tokio::io::{Interest, unix::AsyncFd};

/// Watches a descriptor for readability.
///
/// tokio deprecates this safe constructor, because the `AsRawFd` of a type may name a descriptor that it does
/// not own, or a different one each time. All types used here (std's descriptors, and the receivers and wake
/// fds of `bulkhead_proto`) own one descriptor for their lifetime. So the safe form is used, and this crate
/// stays free of unsafe code.
#[expect(deprecated, reason = "see above")]
pub(super) fn watch<T: AsFd + AsRawFd>(owner: T) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(owner, Interest::READABLE)
}

/// Records that there was nothing to read: the next wait is for the next edge.
pub(super) fn drained<T: AsRawFd>(fd: &AsyncFd<T>) {
    let _ = fd.try_io(Interest::READABLE, |_| Err::<(), _>(io::ErrorKind::WouldBlock.into()));
}
