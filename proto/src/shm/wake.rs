//! Waking a parked consumer: an epoch in shared memory and an eventfd.
//!
//! The parker continues the epoch to the next odd number, fences, looks once more, and polls the eventfd. The publisher
//! stores, fences, loads the epoch, and writes the eventfd only if the epoch is odd and not the one that it notified
//! last. What it notified is remembered privately: a death between the check and the write loses nothing, for a
//! successor starts without that memory, and the supervisor rings after every death.
//!
//! The supervisor parks in the same way, on a page and a bell of its own, while no event waits for the analysis.

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

/// The word of the park epoch in a page, on a cache line of its own: the publisher loads it after every append.
const EPOCH: usize = 8;

/// An eventfd, non-blocking. Any number of ringings before it is looked at are one.
#[derive(Debug)]
pub struct WakeFd(OwnedFd);

impl WakeFd {
    /// Makes a new bell.
    ///
    /// # Errors
    /// When there are no fds left.
    pub fn create() -> Result<Self, Errno> {
        eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map(Self)
    }

    /// Another fd of the same bell.
    ///
    /// # Errors
    /// When there are no fds left.
    pub fn try_clone(&self) -> Result<OwnedFd, Errno> {
        rustix::io::fcntl_dupfd_cloexec(&self.0, 3)
    }

    /// Rings. Never waits.
    pub fn notify(&self) {
        // It fails only when 2^64 - 2 ringings were not looked at: then it rings anyway.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Silences it. True if it had mark_notified.
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

/// Says that this consumer is about to sleep. It must then look for work once more, and only then wait for the bell.
pub fn prepare_wait(page: &impl WriteWords) {
    let epoch = page.load(EPOCH, Ordering::Relaxed);
    page.store(EPOCH, epoch.wrapping_add(1) | 1, Ordering::Relaxed);
    // Pairs with the fence in `Waker::due`: either we see what was published, or the publisher sees us parked.
    fence(Site::Park, Ordering::SeqCst);
}

/// Says that this consumer is awake.
pub fn cancel_wait(page: &impl WriteWords) {
    let epoch = page.load(EPOCH, Ordering::Relaxed);
    page.store(EPOCH, epoch.wrapping_add(epoch & 1), Ordering::Relaxed);
}

/// The publisher's side: rings once for each time that the consumer parks.
#[derive(Debug)]
pub struct Waker<C> {
    page: C,
    notified: AtomicU64,
}

impl<C: ReadWords> Waker<C> {
    /// Watches the epoch on that page.
    pub const fn new(page: C) -> Self {
        Self { page, notified: AtomicU64::new(0) }
    }

    /// To be called after every publishing.
    pub fn wake(&self, bell: &WakeFd) {
        if let Some(epoch) = self.due() {
            bell.notify();
            self.mark_notified(epoch);
        }
    }

    /// As [`Self::wake`], right behind another waker's: its fence serves for both.
    pub fn wake_after_fence(&self, bell: &WakeFd) {
        if let Some(epoch) = self.due_after_fence() {
            bell.notify();
            self.mark_notified(epoch);
        }
    }

    /// The epoch of a parked consumer that we did not ring for yet.
    pub fn due(&self) -> Option<u64> {
        // Pairs with the fence in `prepare_wait`.
        fence(Site::Wake, Ordering::SeqCst);
        self.due_after_fence()
    }

    /// As [`Self::due`], right behind another waker's: its fence serves for both.
    pub fn due_after_fence(&self) -> Option<u64> {
        let epoch = self.page.load(EPOCH, Ordering::Relaxed);
        let parked = epoch & 1 == 1;
        // A private memory of this process, never shared: relaxed, and std's also under loom.
        (parked && epoch != self.notified.load(Ordering::Relaxed)).then_some(epoch)
    }

    /// Remembers that it was mark_notified for that epoch.
    pub fn mark_notified(&self, epoch: u64) {
        self.notified.store(epoch, Ordering::Relaxed);
    }
}
