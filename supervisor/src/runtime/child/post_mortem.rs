//! Gathers what is known of a process that has exited. Done once, before a successor can change anything.

use super::process::Child;
use crate::{
    core::{Evidence, PostMortem, RefusedAllocation},
    runtime::probes::OomKills,
};
use bulkhead_proto::{
    shm::{cursor::Activity, memory::SharedMemory},
    wire::{crash::Panic, ids::Generation, quarantine::EventView},
};

impl Child {
    /// Reaps the process, and gathers what it left. `active_analysis`: its generation, if it is an analysis that
    /// was activated; only such a process can have written to the cursor page.
    pub(in crate::runtime) fn post_mortem(
        self,
        active_analysis: Option<Generation>,
        memory: &SharedMemory,
        oom_kills: &mut OomKills,
    ) -> PostMortem {
        // Before the reap: until then no other process works in its memory.
        let claims = memory.claims();
        let limit = self.memory_limit();
        let (exit, evidence) = self.reap();
        let is_own = |generation| active_analysis == Some(generation);
        // A process that died before it took over the page left its predecessor's values there.
        let owns_page = is_own(claims.owner);
        let panic = claims.panic_record.filter(|record| is_own(record.generation)).map(|record| Panic {
            message: record.message,
            location: record.location,
            thread: record.thread,
        });
        let refused = claims.allocation_failure.filter(|refused| is_own(refused.generation));
        let signalled = claims.signal.filter(|(generation, _)| is_own(*generation));
        let event = claims.payload.filter(|_| owns_page).as_deref().and_then(EventView::decode_excerpt);
        PostMortem {
            exit,
            in_flight: claims.in_flight.filter(|_| owns_page),
            loading: claims.claimed.activity == Activity::Load,
            committing: claims.committing.filter(|_| owns_page),
            committed: claims.committed.min(claims.accepted),
            head: claims.accepted,
            panic,
            signalled: signalled.map(|(_, signal)| signal),
            refused: refused.map(|refused| RefusedAllocation { bytes: refused.bytes, limit }),
            out_of_memory: exit.is_kill() && oom_kills.increased(),
            series: event.as_ref().map(|event| event.series.clone()),
            evidence: Evidence { event, ..evidence },
        }
    }
}
