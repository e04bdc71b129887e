//! A wild write of an analysis has damaged the table's index. Its successor dies while it repairs the index.

use super::takeover::leave_unfinished;
use crate::{
    child::Region,
    fixture::{MemoryFixture, SLOTS},
    scenario::{History, Scenario},
    service::Analysis,
    test_event::{fold, test_event},
};
use anyhow::{Result, ensure};
use bulkhead_proto::{
    wire::role::Role,
    worker::{fds::InheritedFds, link::AnalyticsLink},
};

/// A repair of one hash and two tags, next to an unfinished commit.
struct Repair;

/// All repair scenarios.
pub(super) const ALL: &[&dyn Scenario] = &[&Repair];

/// Where the hashes begin in the table's front, in words. Two tags per slot follow them.
const HASHES: usize = 64;
const TAGS: usize = HASHES + SLOTS as usize;

impl Scenario for Repair {
    fn name(&self) -> &'static str {
        "repair"
    }

    fn role(&self) -> Role {
        Role::Analytics
    }

    fn prepare(&self, fixture: &MemoryFixture) -> Result<History> {
        let mut history = History::default();
        let three = |value| {
            [test_event("ATL", value, 56), test_event("BOS", value, 64), test_event("CLT", value, 56)]
        };
        history.append_and_commit(fixture, &three(1), usize::MAX)?;
        history.append_and_commit(fixture, &three(2), usize::MAX)?;
        history.append_and_commit(fixture, &[test_event("DTW", 5, 56), test_event("CLT", 6, 56)], 0)?;
        leave_unfinished(fixture, 2)?;
        let front = fixture.windows.positions("front").start;
        // Damages the newest tag of the first slot, the hash of the second one, and the older tag of the
        // third one, which belongs to the unfinished commit.
        for (word, value) in [(TAGS + 1, 77), (HASHES + 1, 0), (TAGS + 4, 1)] {
            fixture.windows.store(front + word, value);
        }
        Ok(history)
    }

    fn execute(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        let link = AnalyticsLink::open(fds)?;
        let analysis = region.run(|| Analysis::take_over(link))?;
        ensure!(analysis.activated.repaired, "nothing was found to repair");
        Ok(())
    }

    fn check(&self, copy: &MemoryFixture, history: &History) -> Result<usize> {
        let mut successor = Analysis::take_over(AnalyticsLink::open_in_process(&copy.memory)?)?;
        let expected = fold(&history.data[..history.before.committed]);
        ensure!(*successor.totals() == expected, "{:?}, expected {expected:?}", successor.totals());
        // With its first commit, the index matches the bodies again, and everything else must be right too.
        successor.commit()?;
        history.stage(copy, &[history.before])
    }

    fn last_stage(&self) -> usize {
        0
    }
}
