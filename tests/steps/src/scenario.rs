//! What is stepped through, and what must be found.

use crate::{
    child::Region,
    datum::Datum,
    recovery::{self, Reached},
    service::{Analysis, append},
    world::World,
};
use anyhow::{Context as _, Result};
use bulkhead_proto::{
    wire::role::Role,
    worker::{
        fds::InheritedFds,
        link::{AnalyticsLink, ApiLink},
    },
};

/// What happened to a memory so far, and what may happen to it in the scenario.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// All events, those that the scenario appends included.
    pub data: Vec<Datum>,
    /// How many of them are accepted, and committed, before the scenario.
    pub before: Reached,
}

impl History {
    /// Appends data in the parent, and lets an analysis apply and commit the first `commit` of what is pending.
    ///
    /// # Errors
    /// When a part fails.
    pub fn continue_with(&mut self, world: &World, data: &[Datum], commit: usize) -> Result<()> {
        if !data.is_empty() {
            append(&ApiLink::open_in_process(&world.memory)?, data)??;
            self.data.extend(data);
            self.before.accepted += data.len();
        }
        if commit > 0 {
            let mut analysis = Analysis::take_over(AnalyticsLink::open_in_process(&world.memory)?)?;
            self.before.committed += analysis.apply(commit)?;
            analysis.commit()?;
        }
        Ok(())
    }

    /// Which of these stages a memory is at, after a full check of it.
    ///
    /// # Errors
    /// When it is at none of them, or with whatever is wrong.
    pub fn stage(&self, copy: &World, stages: &[Reached]) -> Result<usize> {
        let reached = recovery::check(copy, &self.data)?;
        let stage = stages.iter().position(|stage| *stage == reached);
        stage.with_context(|| format!("{reached:?} is none of {stages:?}"))
    }
}

/// One operation that is stepped through in a child.
pub trait Scenario: Sync {
    /// Its name: the child is told by it what to do.
    fn name(&self) -> &'static str;

    /// Whose part of the memory the child inherits. `Plain` stands for the supervisor (see [`World::bequeath`]).
    fn role(&self) -> Role;

    /// How much of each body of the state table is looked at after each step, in bytes.
    fn body(&self) -> usize {
        512
    }

    /// In the parent: brings fresh memory to where the operation begins.
    ///
    /// # Errors
    /// When that fails.
    fn prepare(&self, world: &World) -> Result<History>;

    /// In the child: carries the operation out, in `region`.
    ///
    /// # Errors
    /// When it fails.
    fn act(&self, fds: &mut InheritedFds, region: &Region) -> Result<()>;

    /// In the parent: recovers from a copy, and says how far the operation had come; 0 is not at all. A later image never
    /// comes to less than an earlier one.
    ///
    /// # Errors
    /// With whatever is wrong.
    fn judge(&self, copy: &World, history: &History) -> Result<usize>;

    /// What [`Self::judge`] must say at the end.
    fn last_stage(&self) -> usize;

    /// In the parent: somebody who looks at the living memory behind every change, and knows what it saw before.
    ///
    /// # Errors
    /// When it cannot begin to look.
    fn witness(&self, _live: &World) -> Result<Option<Witness>> {
        Ok(None)
    }
}

/// Looks at the living memory and says how far the operation has come.
pub type Witness = Box<dyn FnMut(&History) -> Result<usize>>;
