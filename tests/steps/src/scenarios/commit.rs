//! The analysis dies while it commits.

use crate::{
    child::Region,
    datum::{Datum, GROWING, datum},
    recovery::Reached,
    scenario::{History, Scenario, Witness},
    service::Analysis,
    world::World,
};
use anyhow::{Context as _, Result, bail, ensure};
use bulkhead_proto::{
    wire::role::Role,
    worker::{
        fds::InheritedFds,
        link::{AnalyticsLink, ApiLink},
    },
};

/// A commit of pending data, after two commits of others.
struct Commit {
    name: &'static str,
    body: usize,
    /// What else was committed before, twice.
    beside: &'static [Datum],
    pending: &'static [Datum],
    /// How many of them are committed, in one go each.
    goes: &'static [usize],
}

/// All commits.
pub(super) const ALL: &[&dyn Scenario] = &[
    &Commit {
        name: "commit_known_series",
        body: 512,
        beside: &[],
        pending: &[datum("ATL", 50, 56), datum("BOS", 51, 56), datum("ATL", 52, 56)],
        goes: &[3],
    },
    &Commit {
        name: "commit_new_series",
        body: 512,
        beside: &[],
        pending: &[datum("DTW", 50, 56), datum("CLT", 51, 56), datum("ATL", 52, 56)],
        goes: &[3],
    },
    &Commit {
        name: "commit_a_growing_series",
        body: 8192,
        beside: &[datum(GROWING, 9, 56)],
        pending: &[datum(GROWING, 50, 56), datum(GROWING, 51, 56), datum("ATL", 52, 56)],
        goes: &[3],
    },
    &Commit {
        // Both versions of a slot, and both records, are written over once.
        name: "commit_three_times",
        body: 512,
        beside: &[],
        pending: &[datum("ATL", 50, 56), datum("ATL", 51, 56), datum("ATL", 52, 56), datum("BOS", 53, 56)],
        goes: &[1, 1, 1],
    },
];

impl Scenario for Commit {
    fn name(&self) -> &'static str {
        self.name
    }

    fn role(&self) -> Role {
        Role::Analytics
    }

    fn body(&self) -> usize {
        self.body
    }

    fn prepare(&self, world: &World) -> Result<History> {
        let mut history = History::default();
        for value in 1..3 {
            let both = [datum("ATL", value, 56), datum("BOS", 10 * value, 64)];
            history.continue_with(world, &[&both, self.beside].concat(), usize::MAX)?;
        }
        history.continue_with(world, self.pending, 0)?;
        Ok(history)
    }

    fn act(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        let mut analysis = Analysis::take_over(AnalyticsLink::open(fds)?)?;
        region.run(|| {
            for &go in self.goes {
                ensure!(analysis.apply(go)? == go);
                analysis.commit()?;
            }
            Ok(())
        })
    }

    fn judge(&self, copy: &World, history: &History) -> Result<usize> {
        let Reached { accepted, mut committed } = history.before;
        let mut stages = vec![history.before];
        for go in self.goes {
            committed += go;
            stages.push(Reached { accepted, committed });
        }
        history.stage(copy, &stages)
    }

    fn last_stage(&self) -> usize {
        self.goes.len()
    }

    fn witness(&self, live: &World) -> Result<Option<Witness>> {
        // An API that goes on reading, with its last good copies to fall back on.
        let link = ApiLink::open_in_process(&live.memory)?;
        let goes = self.goes;
        Ok(Some(Box::new(move |history| {
            let committed = usize::try_from(link.stats().record.analysed)?;
            reads(&link, &history.data[..committed])?;
            let past = committed - history.before.committed;
            let ends = goes.iter().scan(0, |sum, go| Some(std::mem::replace(sum, *sum + go)));
            let stage = ends.chain([goes.iter().sum()]).position(|end| end == past);
            stage.with_context(|| format!("{past} committed, in the midst of a go"))
        })))
    }
}

fn reads(link: &ApiLink, committed: &[Datum]) -> Result<()> {
    for (series, tally) in crate::datum::fold(committed) {
        let Some((public, _)) = link.view().public(&series) else { bail!("sees no {series}") };
        ensure!(*public == *tally.public(&series), "sees {}", String::from_utf8_lossy(&public));
    }
    Ok(())
}
