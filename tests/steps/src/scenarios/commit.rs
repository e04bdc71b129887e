//! The analysis dies while it commits.

use crate::{
    child::Region,
    fixture::{MemoryFixture, SLOTS},
    recovery::EventCounts,
    scenario::{History, Observer, Scenario},
    service::Analysis,
    test_event::{GROWING, TestEvent, fold, removal, test_event},
};
use anyhow::{Context as _, Result, bail, ensure};
use bulkhead_proto::{
    wire::role::Role,
    worker::{
        fds::InheritedFds,
        link::{AnalyticsLink, ApiLink},
    },
};

/// A commit of pending events, after two other commits.
struct Commit {
    name: &'static str,
    /// Further events of the two commits before.
    other: &'static [TestEvent],
    pending: &'static [TestEvent],
    /// The number of pending events in each commit.
    batches: &'static [usize],
}

/// All commit scenarios.
pub(super) const ALL: &[&dyn Scenario] = &[
    &Commit {
        name: "commit_known_series",
        other: &[],
        pending: &[test_event("ATL", 50, 56), test_event("BOS", 51, 56), test_event("ATL", 52, 56)],
        batches: &[3],
    },
    &Commit {
        name: "commit_new_series",
        other: &[],
        pending: &[test_event("DTW", 50, 56), test_event("CLT", 51, 56), test_event("ATL", 52, 56)],
        batches: &[3],
    },
    &Commit {
        name: "commit_a_growing_series",
        other: &[test_event(GROWING, 9, 56)],
        pending: &[test_event(GROWING, 50, 56), test_event(GROWING, 51, 56), test_event("ATL", 52, 56)],
        batches: &[3],
    },
    &Commit {
        // Both versions of a slot, and both records, are written once.
        name: "commit_three_times",
        other: &[],
        pending: &[
            test_event("ATL", 50, 56),
            test_event("ATL", 51, 56),
            test_event("ATL", 52, 56),
            test_event("BOS", 53, 56),
        ],
        batches: &[1, 1, 1],
    },
    &Commit {
        // Another series gets the slot of the one that was removed.
        name: "commit_a_removal",
        other: &[],
        pending: &[
            removal("ATL", 50),
            test_event("BOS", 51, 56),
            test_event("CLT", 52, 56),
            test_event("ATL", 53, 56),
        ],
        batches: &[2, 2],
    },
    &Commit {
        // Events before and after the removal are in one commit with it.
        name: "commit_a_removal_and_a_new_beginning",
        other: &[],
        pending: &[
            test_event("ATL", 50, 56),
            removal("ATL", 51),
            test_event("ATL", 52, 56),
            test_event("DTW", 53, 56),
            removal("DTW", 54),
            removal("DTW", 55),
        ],
        batches: &[5, 1],
    },
];

impl Scenario for Commit {
    fn name(&self) -> &'static str {
        self.name
    }

    fn role(&self) -> Role {
        Role::Analytics
    }

    fn prepare(&self, fixture: &MemoryFixture) -> Result<History> {
        let mut history = History::default();
        for value in 1..3 {
            let both = [test_event("ATL", value, 56), test_event("BOS", 10 * value, 64)];
            history.append_and_commit(fixture, &[&both, self.other].concat(), usize::MAX)?;
        }
        history.append_and_commit(fixture, self.pending, 0)?;
        Ok(history)
    }

    fn execute(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        let mut analysis = Analysis::take_over(AnalyticsLink::open(fds, SLOTS)?)?;
        region.run(|| {
            for &batch in self.batches {
                ensure!(analysis.apply(batch)? == batch);
                analysis.commit()?;
            }
            Ok(())
        })
    }

    fn check(&self, copy: &MemoryFixture, history: &History) -> Result<usize> {
        let EventCounts { accepted, mut committed } = history.before;
        let mut stages = vec![history.before];
        for batch in self.batches {
            committed += batch;
            stages.push(EventCounts { accepted, committed });
        }
        history.stage(copy, &stages)
    }

    fn last_stage(&self) -> usize {
        self.batches.len()
    }

    fn observer(&self, live: &MemoryFixture) -> Result<Option<Observer>> {
        // An API that reads on, and can fall back to its last good copies.
        let link = ApiLink::open_in_process(&live.memory)?;
        let batches = self.batches;
        Ok(Some(Box::new(move |history| {
            let committed = usize::try_from(link.stats().record.analysed)?;
            check_reader(&link, &history.data[..committed])?;
            let new = committed - history.before.committed;
            let boundaries = batches.iter().scan(0, |sum, batch| Some(std::mem::replace(sum, *sum + batch)));
            let stage = boundaries.chain([batches.iter().sum()]).position(|end| end == new);
            stage.with_context(|| format!("{new} new events are committed, which is not the end of a commit"))
        })))
    }
}

fn check_reader(link: &ApiLink, committed: &[TestEvent]) -> Result<()> {
    let expected = fold(committed);
    let names = link.view().names("", None, usize::MAX);
    ensure!(names.iter().map(|name| &**name).eq(expected.keys()), "sees {names:?}");
    for (series, total) in expected {
        let Some(public) = link.view().public(&series).public() else { bail!("sees no {series}") };
        ensure!(*public == *total.public(&series), "sees {}", String::from_utf8_lossy(&public));
    }
    Ok(())
}
