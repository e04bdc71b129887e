//! How the supervisor hears that there is work again for workers that it does not watch meanwhile.
//!
//! For the analysis it parks as the analysis itself does ([`bulkhead_proto::shm::wake`]), on a page and a bell of its own, which
//! no analysis can reach. The API tells by a frame of its connections; one that does not even accept them is given away by
//! the listening socket.

use super::watch::{drained, watch};
use crate::step::{Event, State};
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

/// What the supervisor listens to while a worker rests.
#[derive(Debug)]
pub(super) struct Doze {
    page: ReadWrite,
    alarm: AsyncFd<WakeFd>,
    /// Whether the page says that it is parked.
    parked: bool,
    listener: Arc<OwnedFd>,
    /// The listening socket, while an API rests.
    backlog: Option<AsyncFd<Arc<OwnedFd>>>,
}

impl Doze {
    pub(super) fn new(memory: &SharedMemory, listener: OwnedFd) -> Result<Self, MemoryError> {
        let alarm = watch(memory.supervisor_wake()?)?;
        Ok(Self {
            page: memory.supervisor_page()?,
            alarm,
            parked: false,
            listener: Arc::new(listener),
            backlog: None,
        })
    }

    /// To be called before each wait: listens for those who rest, and for nobody else. What is given back has happened
    /// before it listened.
    pub(super) fn settle(&mut self, state: &State, memory: &SharedMemory) -> Option<Event> {
        self.backlog = match (state.rests(Role::Api), self.backlog.take()) {
            (true, None) => listen(&self.listener),
            (true, listening) => listening,
            (false, _) => None,
        };
        match (state.rests(Role::Analytics), self.parked) {
            (true, false) => {
                prepare_wait(&self.page);
                self.parked = true;
                memory.progress().pending.then_some(Event::Rung(Role::Analytics))
            }
            (false, true) => {
                cancel_wait(&self.page);
                self.parked = false;
                None
            }
            (true, true) | (false, false) => None,
        }
    }

    /// Whether connections wait to be accepted at this moment.
    pub(super) fn is_knocked_at(&self) -> bool {
        let mut listener = [PollFd::new(&self.listener, PollFlags::IN)];
        poll(&mut listener, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    /// Waits for the first word of work. Can be abandoned.
    pub(super) async fn rung(&self) -> Event {
        tokio::select! {
            _ = self.alarm.readable() => {
                self.alarm.get_ref().clear();
                drained(&self.alarm);
                Event::Rung(Role::Analytics)
            }
            () = readable(self.backlog.as_ref()) => Event::Rung(Role::Api),
        }
    }
}

/// Without it, an API that does not accept is found out as soon as it has a connection again.
fn listen(listener: &Arc<OwnedFd>) -> Option<AsyncFd<Arc<OwnedFd>>> {
    let listening = watch(Arc::clone(listener));
    listening.map_err(|error| tracing::warn!("the listening socket cannot be watched: {error}")).ok()
}

async fn readable(fd: Option<&AsyncFd<Arc<OwnedFd>>>) {
    match fd {
        // An error is found again by whoever accepts.
        Some(fd) => drop(fd.readable().await),
        None => pending().await,
    }
}
