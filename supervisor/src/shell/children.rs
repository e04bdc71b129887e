//! All live processes, by generation, and the one place in which they are waited for.

use super::child::{Child, Stir};
use bulkhead_proto::wire::ids::Generation;
use std::{
    collections::BTreeMap,
    future::poll_fn,
    ops::Bound,
    task::{Context, Poll},
};

/// The live processes.
#[derive(Debug, Default)]
pub(super) struct Children {
    live: BTreeMap<Generation, Child>,
    /// Who was heard last: the others come first, so that one that never falls silent keeps nobody from being heard.
    last: Generation,
}

impl Children {
    pub(super) fn add(&mut self, generation: Generation, child: Child) {
        self.live.insert(generation, child);
    }

    pub(super) fn get(&mut self, generation: Generation) -> Option<&mut Child> {
        self.live.get_mut(&generation)
    }

    pub(super) fn remove(&mut self, generation: Generation) -> Option<Child> {
        self.live.remove(&generation)
    }

    /// Whether this is the pid of a live process of ours.
    pub(super) fn knows(&self, pid: i32) -> bool {
        self.live.values().any(|child| child.pid().as_raw_nonzero().get() == pid)
    }

    /// Whether none is left.
    pub(super) fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Waits until one of them has something to tell.
    pub(super) async fn stir(&mut self) -> (Generation, Stir) {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Generation, Stir)> {
        let ranges =
            [(Bound::Excluded(self.last), Bound::Unbounded), (Bound::Unbounded, Bound::Included(self.last))];
        for range in ranges {
            for (&generation, child) in self.live.range_mut(range) {
                if let Poll::Ready(stir) = child.poll(cx) {
                    self.last = generation;
                    return Poll::Ready((generation, stir));
                }
            }
        }
        Poll::Pending
    }
}
