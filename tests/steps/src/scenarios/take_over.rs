//! The successor of an analysis dies while it takes over.

use crate::{
    child::Region,
    datum::datum,
    deferred::Deferred,
    recovery::Reached,
    scenario::{History, Scenario},
    service::Analysis,
    world::World,
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

/// A take-over of what a predecessor left.
struct TakeOver {
    name: &'static str,
    /// Whether the predecessor died within a commit: all of it is there but the last store.
    unfinished: bool,
    /// Whether the successor also commits, other events than its predecessor had begun to.
    commits: bool,
}

/// All take-overs.
pub(super) const ALL: &[&dyn Scenario] = &[
    &TakeOver { name: "take_over", unfinished: false, commits: false },
    &TakeOver { name: "scrub", unfinished: true, commits: false },
    &TakeOver { name: "scrub_and_commit", unfinished: true, commits: true },
    &ThePage,
];

/// How many events the unfinished commit held, and how many its successor's first one.
const UNFINISHED: usize = 3;
const FIRST: usize = 1;

/// Leaves a commit of `events` events unfinished: carries out all of its stores but the last.
///
/// # Errors
/// When there is nothing to commit, or a part fails.
pub fn leave_unfinished(world: &World, events: usize) -> Result<()> {
    let mut memory = None;
    let wrap = |state: StateMemory| memory.insert(Deferred::new(state)).clone();
    let mut analysis = Analysis::take_over_within(AnalyticsLink::open_in_process(&world.memory)?, wrap)?;
    analysis.apply(events)?;
    analysis.commit()?;
    let memory = memory.context("no memory was opened")?;
    let (_, writes) =
        memory.take().split_last().map(|(last, rest)| (last.clone(), rest.to_vec())).context("no stores")?;
    writes.iter().try_for_each(|write| memory.carry_out_in_table(write))
}

impl Scenario for TakeOver {
    fn name(&self) -> &'static str {
        self.name
    }

    fn role(&self) -> Role {
        Role::Analytics
    }

    fn prepare(&self, world: &World) -> Result<History> {
        let mut history = History::default();
        history.continue_with(world, &[datum("ATL", 1, 56), datum("BOS", 2, 64)], 2)?;
        history.continue_with(world, &[datum("BOS", 3, 56), datum("CLT", 4, 56)], 2)?;
        history.continue_with(world, &[datum("DTW", 5, 56), datum("ATL", 6, 56), datum("BOS", 7, 56)], 0)?;
        if self.unfinished {
            leave_unfinished(world, UNFINISHED)?;
        }
        Ok(history)
    }

    fn act(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        let link = AnalyticsLink::open(fds)?;
        region.run(|| {
            let mut analysis = Analysis::take_over(link)?;
            if self.commits {
                analysis.apply(FIRST)?;
                analysis.commit()?;
            }
            Ok(())
        })
    }

    fn judge(&self, copy: &World, history: &History) -> Result<usize> {
        let Reached { accepted, committed } = history.before;
        let after = Reached { accepted, committed: committed + FIRST };
        history.stage(copy, &[history.before, after][..=self.last_stage()])
    }

    fn last_stage(&self) -> usize {
        usize::from(self.commits)
    }
}

/// A successor takes over the page of a predecessor that died with an event in hand.
struct ThePage;

/// The scenario's name: a planted fault shares its beginning and its judgement.
pub(super) const THE_PAGE: &str = "take_over_the_page";

/// Who takes it over, and what was committed last before.
pub(super) const SUCCESSOR: Generation = Generation(2);
pub(super) const COMMITTED: Seq = Seq(2);

impl Scenario for ThePage {
    fn name(&self) -> &'static str {
        THE_PAGE
    }

    fn role(&self) -> Role {
        Role::Analytics
    }

    fn prepare(&self, world: &World) -> Result<History> {
        let mut history = History::default();
        history.continue_with(world, &[datum("ATL", 1, 56), datum("BOS", 2, 64)], 2)?;
        history.continue_with(world, &[datum("CLT", 3, 56)], 0)?;
        let link = AnalyticsLink::open_in_process(&world.memory)?;
        let page = Arc::clone(&link.cursor);
        cursor::take_over(&page, Generation(1), COMMITTED);
        let mut predecessor = Analysis::take_over(link)?;
        predecessor.clings = true;
        predecessor.apply(1)?;
        cursor::count_step(&page);
        let text = || "its last word".to_owned();
        let words =
            PanicRecord { generation: Generation(1), message: text(), location: text(), thread: text() };
        write_panic_record(&page, &words);
        Ok(history)
    }

    fn act(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        let page = AnalyticsLink::open(fds)?.cursor;
        region.run(|| {
            cursor::take_over(&page, SUCCESSOR, COMMITTED);
            Ok(())
        })
    }

    /// Whatever bears the successor's name is its own.
    fn judge(&self, copy: &World, history: &History) -> Result<usize> {
        let (death, steps) = (copy.memory.post_mortem(), copy.memory.progress().steps);
        history.stage(copy, &[history.before])?;
        if death.owner != SUCCESSOR {
            return Ok(0);
        }
        let hand = InFlight { activity: Activity::Idle, seq: COMMITTED };
        ensure!(
            death.claimed == hand && death.panic_record.is_none() && steps == 0,
            "{steps} steps, {death:?}"
        );
        Ok(1)
    }

    fn last_stage(&self) -> usize {
        1
    }
}
