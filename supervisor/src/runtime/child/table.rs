//! All worker processes by generation, and the one place where they are waited for.

use super::process::{Child, ChildEvent};
use bulkhead_proto::wire::ids::Generation;
use std::{
    collections::BTreeMap,
    future::poll_fn,
    ops::Bound,
    task::{Context, Poll},
};

/// The processes.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Children {
    live: BTreeMap<Generation, Child>,
    /// The generation served last. The others come first, so that a busy worker does not starve them.
    last: Generation,
}

impl Children {
    pub(in crate::runtime) fn add(&mut self, generation: Generation, child: Child) {
        self.live.insert(generation, child);
    }

    pub(in crate::runtime) fn get(&mut self, generation: Generation) -> Option<&mut Child> {
        self.live.get_mut(&generation)
    }

    pub(in crate::runtime) fn remove(&mut self, generation: Generation) -> Option<Child> {
        self.live.remove(&generation)
    }

    /// Whether a worker process has this pid.
    pub(in crate::runtime) fn contains_pid(&self, pid: i32) -> bool {
        self.live.values().any(|child| child.pid().as_raw_nonzero().get() == pid)
    }

    /// Whether no process is left.
    pub(in crate::runtime) fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Waits for the next event of any process.
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
