//! The successor of an analysis whose wild writes hit the table's index dies while it repairs it.

use super::take_over::leave_unfinished;
use crate::{
    child::Region,
    datum::{datum, fold},
    scenario::{History, Scenario},
    service::Analysis,
    world::{SLOTS, World},
};
use anyhow::{Result, ensure};
use bulkhead_proto::{
    wire::role::Role,
    worker::{fds::InheritedFds, link::AnalyticsLink},
};

/// A repair of one hash and two tags, with an unfinished commit beside.
struct Repair;

/// All repairs.
pub(super) const ALL: &[&dyn Scenario] = &[&Repair];

/// Where the hashes begin in the front, in words; behind them come two tags a slot.
const HASHES: usize = 64;
const TAGS: usize = HASHES + SLOTS as usize;

impl Scenario for Repair {
    fn name(&self) -> &'static str {
        "repair"
    }

    fn role(&self) -> Role {
        Role::Analytics
    }

    fn prepare(&self, world: &World) -> Result<History> {
        let mut history = History::default();
        let three = |value| [datum("ATL", value, 56), datum("BOS", value, 64), datum("CLT", value, 56)];
        history.continue_with(world, &three(1), usize::MAX)?;
        history.continue_with(world, &three(2), usize::MAX)?;
        history.continue_with(world, &[datum("DTW", 5, 56), datum("CLT", 6, 56)], 0)?;
        leave_unfinished(world, 2)?;
        let front = world.windows.places("front").start;
        // The first slot's newest tag, the second one's hash, the third one's older tag, which is the unfinished commit's.
        for (word, value) in [(TAGS + 1, 77), (HASHES + 1, 0), (TAGS + 4, 1)] {
            world.windows.store(front + word, value);
        }
        Ok(history)
    }

    fn act(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        let link = AnalyticsLink::open(fds)?;
        let analysis = region.run(|| Analysis::take_over(link))?;
        ensure!(analysis.activated.repaired, "nothing was found to repair");
        Ok(())
    }

    fn judge(&self, copy: &World, history: &History) -> Result<usize> {
        let mut successor = Analysis::take_over(AnalyticsLink::open_in_process(&copy.memory)?)?;
        let wanted = fold(&history.data[..history.before.committed]);
        ensure!(*successor.tallies() == wanted, "{:?}, wanted {wanted:?}", successor.tallies());
        // With its first commit, the table says again what it holds, and everything else must be right, too.
        successor.commit()?;
        history.stage(copy, &[history.before])
    }

    fn last_stage(&self) -> usize {
        0
    }
}
