//! The interface of a scenario: the operation, and what must be found at each step.

use crate::{
    child::Region,
    fixture::MemoryFixture,
    recovery::{self, EventCounts},
    service::{Analysis, append},
    test_event::TestEvent,
};
use anyhow::{Context as _, Result};
use bulkhead_proto::{
    wire::role::Role,
    worker::{
        fds::InheritedFds,
        link::{AnalyticsLink, ApiLink},
    },
};

/// The events of a memory before the scenario, and those that the scenario may add.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// All events, including those that the scenario appends.
    pub data: Vec<TestEvent>,
    /// The counts before the scenario.
    pub before: EventCounts,
}

impl History {
    /// Appends events in the parent, and lets an analysis apply and commit the first `commit` pending events.
    ///
    /// # Errors
    /// When a part fails.
    pub fn append_and_commit(
        &mut self,
        fixture: &MemoryFixture,
        data: &[TestEvent],
        commit: usize,
    ) -> Result<()> {
        if !data.is_empty() {
            append(&ApiLink::open_in_process(&fixture.memory)?, data)??;
            self.data.extend(data);
            self.before.accepted += data.len();
        }
        if commit > 0 {
            let mut analysis = Analysis::take_over(AnalyticsLink::open_in_process(&fixture.memory)?)?;
            self.before.committed += analysis.apply(commit)?;
            analysis.commit()?;
        }
        Ok(())
    }

    /// Checks a memory in full. Returns which of these stages it has reached.
    ///
    /// # Errors
    /// With the first difference, or when the memory is at none of the stages.
    pub fn stage(&self, copy: &MemoryFixture, stages: &[EventCounts]) -> Result<usize> {
        let reached = recovery::check(copy, &self.data)?;
        let stage = stages.iter().position(|stage| *stage == reached);
        stage.with_context(|| format!("{reached:?} is none of {stages:?}"))
    }
}

/// One operation that a child is stepped through.
pub trait Scenario: Sync {
    /// The name, by which the child finds the scenario.
    fn name(&self) -> &'static str;

    /// The worker whose fds the child inherits. `Plain` stands for the supervisor (see
    /// [`MemoryFixture::pass_fds`]).
    fn role(&self) -> Role;

    /// In the parent: prepares new memory for the operation.
    ///
    /// # Errors
    /// When that fails.
    fn prepare(&self, fixture: &MemoryFixture) -> Result<History>;

    /// In the child: executes the operation within `region`.
    ///
    /// # Errors
    /// When the operation fails.
    fn execute(&self, fds: &mut InheritedFds, region: &Region) -> Result<()>;

    /// In the parent: recovers from a copy and returns the stage that the operation has reached; 0 is the
    /// beginning. A later image never has a lower stage than an earlier one.
    ///
    /// # Errors
    /// With the first difference.
    fn check(&self, copy: &MemoryFixture, history: &History) -> Result<usize>;

    /// The stage that [`Self::check`] must return at the end.
    fn last_stage(&self) -> usize;

    /// In the parent: an observer that reads the live memory after every change, and keeps what it read
    /// before.
    ///
    /// # Errors
    /// When the observer cannot attach.
    fn observer(&self, _live: &MemoryFixture) -> Result<Option<Observer>> {
        Ok(None)
    }
}

/// Reads the live memory and returns the stage that the operation has reached.
pub type Observer = Box<dyn FnMut(&History) -> Result<usize>>;
