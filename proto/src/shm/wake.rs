//! Waking a parked consumer: an epoch in shared memory and an eventfd.
//!
//! The consumer advances the epoch to the next odd number, fences, checks for work once more, and polls the eventfd. The
//! publisher stores, fences, loads the epoch, and writes the eventfd only if the epoch is odd and differs from the epoch
//! that it notified last. It remembers that epoch privately. A death of the publisher between the check and the write loses
//! nothing: its successor starts with no remembered epoch, and the supervisor wakes the analysis after every death.
//!
//! The supervisor parks in the same way, on a page and an eventfd of its own, while no event waits for the analysis.

use super::{
    access::{ReadWords, WriteWords},
    sync::{Ordering, Site, fence},
};
use rustix::{
    event::{EventfdFlags, eventfd},
    io::Errno,
};
use std::{
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    sync::atomic::AtomicU64,
};

/// The word of the epoch in a page. On a cache line of its own: the publisher loads it after every append.
const EPOCH: usize = 8;

/// A non-blocking eventfd. Several notifications before a [`clear`](Self::clear) count as one.
#[derive(Debug)]
pub struct WakeFd(OwnedFd);

impl WakeFd {
    /// Creates a new eventfd.
    ///
    /// # Errors
    /// If there are no fds left.
    pub fn create() -> Result<Self, Errno> {
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map(Self)
    }

    /// Another fd of the same eventfd.
    ///
    /// # Errors
    /// If there are no fds left.
    pub fn try_clone(&self) -> Result<OwnedFd, Errno> {
        rustix::io::fcntl_dupfd_cloexec(&self.0, 3)
    }

    /// Notifies. Never waits.
    pub fn notify(&self) {
        // The write fails only if the counter is at its maximum of 2^64 - 2. Then the eventfd is readable anyway.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Clears pending notifications. True if there was one.
    pub fn clear(&self) -> bool {
        rustix::io::read(&self.0, &mut [0; 8]).is_ok()
    }
}

impl From<OwnedFd> for WakeFd {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for WakeFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for WakeFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Announces that this consumer is about to sleep. The consumer must then check for work once more, and only then poll the
/// eventfd.
pub fn prepare_wait(page: &impl WriteWords) {
    let epoch = page.load(EPOCH, Ordering::Relaxed);
    page.store(EPOCH, epoch.wrapping_add(1) | 1, Ordering::Relaxed);
    // Pairs with the fence in `Waker::due`: either we see what was published, or the publisher sees us parked.
    fence(Site::PrepareWait, Ordering::SeqCst);
}

/// Announces that this consumer is awake.
pub fn cancel_wait(page: &impl WriteWords) {
    let epoch = page.load(EPOCH, Ordering::Relaxed);
    page.store(EPOCH, epoch.wrapping_add(epoch & 1), Ordering::Relaxed);
}

/// The side of the publisher: notifies once each time the consumer parks.
#[derive(Debug)]
pub struct Waker<C> {
    page: C,
    notified: AtomicU64,
}

impl<C: ReadWords> Waker<C> {
    /// A waker for the consumer that parks on `page`.
    pub const fn new(page: C) -> Self {
        Self { page, notified: AtomicU64::new(0) }
    }

    /// Notifies the consumer if it is parked. Call it after every publication.
    pub fn wake(&self, fd: &WakeFd) {
        if let Some(epoch) = self.due() {
            fd.notify();
            self.mark_notified(epoch);
        }
    }

    /// Like [`Self::wake`], for a call directly after another waker's: that waker's fence serves for both.
    pub fn wake_after_fence(&self, fd: &WakeFd) {
        if let Some(epoch) = self.due_after_fence() {
            fd.notify();
            self.mark_notified(epoch);
        }
    }

    /// The epoch of a parked consumer that was not notified yet.
    pub fn due(&self) -> Option<u64> {
        // Pairs with the fence in `prepare_wait`.
        fence(Site::Wake, Ordering::SeqCst);
        self.due_after_fence()
    }

    /// Like [`Self::due`], for a call directly after another waker's: that waker's fence serves for both.
    pub fn due_after_fence(&self) -> Option<u64> {
        let epoch = self.page.load(EPOCH, Ordering::Relaxed);
        let parked = epoch & 1 == 1;
        // Private to this process, never shared: relaxed, and std's atomic also under loom.
        (parked && epoch != self.notified.load(Ordering::Relaxed)).then_some(epoch)
    }

    /// Remembers that this epoch was notified.
    pub fn mark_notified(&self, epoch: u64) {
        self.notified.store(epoch, Ordering::Relaxed);
    }
}
