//! All worker processes: the one place where they are spawned, addressed and waited for.
//!
//! A generation is in the table from its spawn until its process is reaped. Only processes in the table are
//! sent signals or frames, so none can reach another process that got the same pid.

use super::{
    orphans::{self, PreexistingChildren},
    process::{Child, ChildEvent},
    spawn::Spawner,
};
use crate::{
    config::ActiveConfig,
    core::{Event, WorkerSignal},
};
use bulkhead_proto::{
    shm::memory::SharedMemory,
    wire::{control::ToWorker, ids::Generation},
    worker::pipe::Sent,
};
use std::{
    collections::BTreeMap,
    future::poll_fn,
    ops::Bound,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::timeout;

/// Time that the supervisor waits at its end for killed processes to disappear.
const FINAL_WAIT: Duration = Duration::from_millis(500);

/// The processes, and what new ones start with.
#[derive(Debug)]
pub(in crate::runtime) struct Children {
    pub(in crate::runtime) spawner: Spawner,
    pub(super) live: BTreeMap<Generation, Child>,
    /// The generation served last. The others come first, so that a busy worker does not starve them.
    last: Generation,
    pub(super) preexisting: PreexistingChildren,
}

impl Children {
    pub(in crate::runtime) const fn new(spawner: Spawner, preexisting: PreexistingChildren) -> Self {
        Self { spawner, live: BTreeMap::new(), last: Generation(0), preexisting }
    }

    /// Starts a generation of a worker.
    pub(in crate::runtime) fn spawn(
        &mut self,
        config: &ActiveConfig,
        worker: &str,
        generation: Generation,
        memory: &SharedMemory,
    ) -> Event {
        let Some((config, worker)) = config.worker(worker) else {
            return Event::SpawnFailed { generation, error: "no such worker".into(), config: true };
        };
        match self.spawner.spawn(config, worker, generation, memory) {
            Ok(child) => {
                let pid = child.pid().as_raw_nonzero().get().unsigned_abs();
                self.live.insert(generation, child);
                Event::Spawned { generation, pid }
            }
            Err(error) => Event::SpawnFailed { generation, error: error.text, config: error.config },
        }
    }

    pub(in crate::runtime) fn get(&mut self, generation: Generation) -> Option<&mut Child> {
        self.live.get_mut(&generation)
    }

    /// Takes a process that has exited out of the table.
    pub(in crate::runtime) fn take(&mut self, generation: Generation) -> Option<Child> {
        self.live.remove(&generation)
    }

    /// Sends a frame. Returns an event if the pipe is full.
    pub(in crate::runtime) fn send(&self, generation: Generation, frame: ToWorker) -> Option<Event> {
        match self.live.get(&generation)?.send(&frame) {
            // The other end is closed: the death of its owner follows.
            Ok(Sent::Done | Sent::Closed) => None,
            Ok(Sent::Full) => Some(Event::PipeFull { generation, frame }),
            Err(error) => {
                tracing::error!(generation = generation.0, "cannot send a frame: {error}");
                None
            }
        }
    }

    /// Sends a signal. For a whole group, also to the processes that have left it.
    pub(in crate::runtime) fn signal(&mut self, generation: Generation, signal: WorkerSignal, group: bool) {
        if let Some(Err(error)) = self.live.get(&generation).map(|child| child.signal(signal, group)) {
            tracing::error!(generation = generation.0, "cannot send a signal: {error}");
        }
        match signal {
            WorkerSignal::Term if group => self.stop_escaped(generation),
            WorkerSignal::Kill => {
                if let Some(child) = self.get(generation) {
                    child.waits_for_descendants = false;
                }
            }
            WorkerSignal::Term | WorkerSignal::Stop | WorkerSignal::Abort => {}
        }
    }

    /// Reaps the orphans that have exited.
    pub(in crate::runtime) fn reap_orphans(&self) {
        orphans::reap(|pid| self.live.values().any(|child| child.pid().as_raw_nonzero().get() == pid));
    }

    /// Waits, for a limited time, until the processes that were killed at the end are gone. Then kills what
    /// they left behind.
    pub(in crate::runtime) async fn wait_for_killed(&mut self) {
        let gone = async {
            while !self.live.is_empty() {
                if let (generation, ChildEvent::Exited) = self.next_event().await
                    && let Some(child) = self.take(generation)
                {
                    let _ = child.reap();
                }
            }
        };
        let _ = timeout(FINAL_WAIT, gone).await;
        self.reap_orphans();
        orphans::kill_remaining(&self.preexisting, FINAL_WAIT);
    }

    /// Waits for the next event of any process. Cancel safe.
    pub(in crate::runtime) async fn next_event(&mut self) -> (Generation, ChildEvent) {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Generation, ChildEvent)> {
        let ranges =
            [(Bound::Excluded(self.last), Bound::Unbounded), (Bound::Unbounded, Bound::Included(self.last))];
        for range in ranges {
            for (&generation, child) in self.live.range_mut(range) {
                if let Poll::Ready(event) = child.poll(cx) {
                    self.last = generation;
                    return Poll::Ready((generation, event));
                }
            }
        }
        Poll::Pending
    }
}
