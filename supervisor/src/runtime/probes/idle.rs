//! How the supervisor learns that work is available for an idle worker, which it does not
//! probe.
//!
//! For the analysis it waits as the analysis itself does ([`bulkhead_proto::shm::wake`]), on a page and a wake fd
//! of its own that no analysis can write. The API reports its connections by a frame. If the API does not
//! even accept connections, the listening socket shows it.

use crate::{
    core::{Event, State},
    runtime::async_fd::{drained, watch},
};
use bulkhead_proto::{
    shm::{
        memory::{MemoryError, SharedMemory},
        segment::ReadWrite,
        wake::{WakeFd, cancel_wait, prepare_wait},
    },
    wire::role::Role,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{future::pending, os::fd::OwnedFd, sync::Arc};
use tokio::io::unix::AsyncFd;

/// What the supervisor listens to while a worker is idle.
#[derive(Debug)]
pub(in crate::runtime) struct IdleWaiter {
    page: ReadWrite,
    wake_fd: AsyncFd<WakeFd>,
    /// Whether the page shows the supervisor as waiting.
    waiting: bool,
    listener: Arc<OwnedFd>,
    /// The listening socket, while an API is idle.
    backlog: Option<AsyncFd<Arc<OwnedFd>>>,
}

impl IdleWaiter {
    pub(in crate::runtime) fn new(memory: &SharedMemory, listener: OwnedFd) -> Result<Self, MemoryError> {
        let wake_fd = watch(memory.supervisor_wake()?)?;
        Ok(Self {
            page: memory.supervisor_page()?,
            wake_fd,
            waiting: false,
            listener: Arc::new(listener),
            backlog: None,
        })
    }

    /// Watches another listening socket from now on.
    pub(in crate::runtime) fn listen_to(&mut self, listener: OwnedFd) {
        (self.listener, self.backlog) = (Arc::new(listener), None);
    }

    /// Prepares the next wait: listens for work for idle workers only. Returns an event if the work arrived
    /// before.
    pub(in crate::runtime) fn arm(&mut self, state: &State, memory: &SharedMemory) -> Option<Event> {
        self.backlog = match (state.is_idle(Role::Api), self.backlog.take()) {
            (true, None) => listen(&self.listener),
            (true, watched) => watched,
            (false, _) => None,
        };
        match (state.is_idle(Role::Analytics), self.waiting) {
            (true, false) => {
                prepare_wait(&self.page);
                self.waiting = true;
                memory.progress().pending.then_some(Event::WorkAvailable(Role::Analytics))
            }
            (false, true) => {
                cancel_wait(&self.page);
                self.waiting = false;
                None
            }
            (true, true) | (false, false) => None,
        }
    }

    /// Whether connections wait to be accepted at this moment.
    pub(in crate::runtime) fn has_backlog(&self) -> bool {
        let mut listener = [PollFd::new(&self.listener, PollFlags::IN)];
        poll(&mut listener, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    /// Waits for work. Cancel safe.
    pub(in crate::runtime) async fn work_available(&self) -> Event {
        tokio::select! {
            _ = self.wake_fd.readable() => {
                self.wake_fd.get_ref().clear();
                drained(&self.wake_fd);
                Event::WorkAvailable(Role::Analytics)
            }
            () = readable(self.backlog.as_ref()) => Event::WorkAvailable(Role::Api),
        }
    }
}

/// If it fails, an API that does not accept is found as soon as it has a connection again.
fn listen(listener: &Arc<OwnedFd>) -> Option<AsyncFd<Arc<OwnedFd>>> {
    let watched = watch(Arc::clone(listener));
    watched.map_err(|error| tracing::warn!("cannot watch the listening socket: {error}")).ok()
}

async fn readable(fd: Option<&AsyncFd<Arc<OwnedFd>>>) {
    match fd {
        // An error is found again by accept(2).
        Some(fd) => drop(fd.readable().await),
        None => pending().await,
    }
}
