//! The successor of an analysis dies while it takes over.

use crate::{
    child::Region,
    deferred::{Deferred, Write},
    fixture::{MemoryFixture, SLOTS},
    recovery::EventCounts,
    scenario::{History, Scenario},
    service::Analysis,
    test_event::test_event,
};
use anyhow::{Context as _, Result, ensure};
use bulkhead_proto::{
    shm::{
        cursor::{self, Activity, InFlight, PanicRecord, write_panic_record},
        state_memory::StateMemory,
    },
    wire::{
        ids::{Generation, Seq},
        role::Role,
    },
    worker::{fds::InheritedFds, link::AnalyticsLink},
};
use std::sync::Arc;

/// A takeover of what a predecessor left.
struct Takeover {
    name: &'static str,
    /// Whether the predecessor died within a commit: all of its stores before the one of its number are there.
    unfinished: bool,
    /// Whether the successor also commits. Its commit has other events than the unfinished one.
    commits: bool,
}

/// All takeover scenarios.
pub(super) const ALL: &[&dyn Scenario] = &[
    &Takeover { name: "takeover", unfinished: false, commits: false },
    &Takeover { name: "scrub", unfinished: true, commits: false },
    &Takeover { name: "scrub_and_commit", unfinished: true, commits: true },
    &CursorPage,
];

/// The number of events in the unfinished commit, and in the first commit of the successor.
const UNFINISHED: usize = 3;
const FIRST: usize = 1;

/// Leaves a commit of `events` events unfinished: applies all of its stores before the one of its number.
///
/// # Errors
/// When there is nothing to commit, or a part fails.
pub fn leave_unfinished(fixture: &MemoryFixture, events: usize) -> Result<()> {
    let mut memory = None;
    let wrap = |state: StateMemory| memory.insert(Deferred::new(state)).clone();
    let mut analysis = Analysis::take_over_wrapped(AnalyticsLink::open_in_process(&fixture.memory)?, wrap)?;
    analysis.apply(events)?;
    analysis.commit()?;
    let memory = memory.context("no memory was opened")?;
    let writes = memory.take();
    let number = commit_number(&writes)?;
    writes[..number].iter().try_for_each(|write| memory.apply_in_table(write))
}

/// The index of the store that publishes a commit, among its stores.
pub(super) fn commit_number(writes: &[Write]) -> Result<usize> {
    let position = writes.iter().position(|write| matches!(write, Write::Word(0, _)));
    position.context("no recorded store of the commit number")
}

impl Scenario for Takeover {
    fn name(&self) -> &'static str {
        self.name
    }

    fn role(&self) -> Role {
        Role::Analytics
    }

    fn prepare(&self, fixture: &MemoryFixture) -> Result<History> {
        let mut history = History::default();
        history.append_and_commit(fixture, &[test_event("ATL", 1, 56), test_event("BOS", 2, 64)], 2)?;
        history.append_and_commit(fixture, &[test_event("BOS", 3, 56), test_event("CLT", 4, 56)], 2)?;
        history.append_and_commit(
            fixture,
            &[test_event("DTW", 5, 56), test_event("ATL", 6, 56), test_event("BOS", 7, 56)],
            0,
        )?;
        if self.unfinished {
            leave_unfinished(fixture, UNFINISHED)?;
        }
        Ok(history)
    }

    fn execute(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        let link = AnalyticsLink::open(fds, SLOTS)?;
        region.run(|| {
            let mut analysis = Analysis::take_over(link)?;
            if self.commits {
                analysis.apply(FIRST)?;
                analysis.commit()?;
            }
            Ok(())
        })
    }

    fn check(&self, copy: &MemoryFixture, history: &History) -> Result<usize> {
        let EventCounts { accepted, committed } = history.before;
        let after = EventCounts { accepted, committed: committed + FIRST };
        history.stage(copy, &[history.before, after][..=self.last_stage()])
    }

    fn last_stage(&self) -> usize {
        usize::from(self.commits)
    }
}

/// A successor takes over the cursor page of a predecessor that died with an event in flight.
struct CursorPage;

/// The name of the scenario. A faulty scenario shares its preparation and its check.
pub(super) const CURSOR_PAGE: &str = "takeover_the_page";

/// The successor's generation, and the last committed event before it.
pub(super) const SUCCESSOR: Generation = Generation(2);
pub(super) const COMMITTED: Seq = Seq(2);

impl Scenario for CursorPage {
    fn name(&self) -> &'static str {
        CURSOR_PAGE
    }

    fn role(&self) -> Role {
        Role::Analytics
    }

    fn prepare(&self, fixture: &MemoryFixture) -> Result<History> {
        let mut history = History::default();
        history.append_and_commit(fixture, &[test_event("ATL", 1, 56), test_event("BOS", 2, 64)], 2)?;
        history.append_and_commit(fixture, &[test_event("CLT", 3, 56)], 0)?;
        let link = AnalyticsLink::open_in_process(&fixture.memory)?;
        let page = Arc::clone(&link.cursor);
        cursor::take_over(&page, Generation(1), COMMITTED);
        let mut predecessor = Analysis::take_over(link)?;
        predecessor.keeps_in_flight = true;
        predecessor.apply(1)?;
        cursor::count_step(&page);
        let text = || "panic payload".to_owned();
        let panic_record =
            PanicRecord { generation: Generation(1), message: text(), location: text(), thread: text() };
        write_panic_record(&page, &panic_record);
        Ok(history)
    }

    fn execute(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        let page = AnalyticsLink::open(fds, SLOTS)?.cursor;
        region.run(|| {
            cursor::take_over(&page, SUCCESSOR, COMMITTED);
            Ok(())
        })
    }

    /// Once the page shows the successor's generation, everything in it must be the successor's.
    fn check(&self, copy: &MemoryFixture, history: &History) -> Result<usize> {
        let (death, steps) = (copy.memory.claims(), copy.memory.progress().steps);
        history.stage(copy, &[history.before])?;
        if death.owner != SUCCESSOR {
            return Ok(0);
        }
        let in_flight = InFlight { activity: Activity::Idle, seq: COMMITTED };
        ensure!(
            death.claimed == in_flight && death.panic_record.is_none() && steps == 0,
            "{steps} steps, {death:?}"
        );
        Ok(1)
    }

    fn last_stage(&self) -> usize {
        1
    }
}
