//! A wild write of an analysis has damaged lines of the table. Its successor dies while it repairs them.

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

/// A repair of three lines, next to an unfinished commit.
struct Repair;

/// All repair scenarios.
pub(super) const ALL: &[&dyn Scenario] = &[&Repair];

/// The words of the version in use of a slot, in the table's front: hash, place, check, tag.
fn version_in_use(fixture: &MemoryFixture, slot: usize) -> usize {
    let front = fixture.windows.positions("front").start;
    let image = fixture.windows.image();
    let versions = [0, 1].map(|version| front + 64 + 8 * slot + 4 * version);
    versions.into_iter().find(|word| (1..=2).contains(&image.word(word + 3))).unwrap_or(front)
}

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
        // Damages the tag of the first slot, the hash of the second one, and the place of the third one, which the
        // unfinished commit touched.
        for (slot, field, value) in [(0, 3, 77), (1, 0, 0), (2, 1, 1)] {
            fixture.windows.store(version_in_use(fixture, slot) + field, value);
        }
        Ok(history)
    }

    fn execute(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        let link = AnalyticsLink::open(fds, SLOTS)?;
        let analysis = region.run(|| Analysis::take_over(link))?;
        ensure!(analysis.take_repaired() == 3, "not everything was found to repair");
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
