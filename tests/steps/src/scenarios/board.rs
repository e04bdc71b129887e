//! The supervisor dies while it publishes its ledger or the status board.

use crate::{
    child::Region,
    scenario::{History, Scenario, Witness},
    world::World,
};
use anyhow::{Context as _, Result, ensure};
use bulkhead_proto::{
    shm::{
        segment::{Kind, ReadWrite},
        seqlock::{SeqlockReader, SeqlockWriter},
    },
    wire::role::Role,
    worker::fds::{FdName, InheritedFds},
};

/// Publishes twice: over a slot that was used, and over the one that was current.
struct Publish;

/// All publishing.
pub(super) const ALL: &[&dyn Scenario] = &[&Publish];

/// What is shown at a stage; the lengths differ as well.
pub(super) fn shown(stage: usize) -> String {
    format!("edition {stage} {}", "of the board ".repeat(5 + 7 * (stage % 3)))
}

pub(super) const STAGES: usize = 3;

fn stage_of(found: &str) -> Result<usize> {
    (0..STAGES).find(|&stage| shown(stage) == found).with_context(|| format!("shows {found:?}"))
}

impl Scenario for Publish {
    fn name(&self) -> &'static str {
        "publish_a_board"
    }

    fn role(&self) -> Role {
        // The supervisor's board.
        Role::Plain
    }

    fn prepare(&self, world: &World) -> Result<History> {
        let mut writer = SeqlockWriter::new(world.board.map()?);
        writer.publish(&shown(8))?;
        writer.publish(&shown(0))?;
        Ok(History::default())
    }

    fn act(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        let mut writer = SeqlockWriter::new(ReadWrite::map(fds.take(FdName::StatusPage)?, Kind::StatusPage)?);
        region.run(|| Ok((1..STAGES).try_for_each(|stage| writer.publish(&shown(stage)))?))
    }

    fn judge(&self, copy: &World, _: &History) -> Result<usize> {
        let fresh =
            || -> Result<SeqlockReader<ReadWrite, String>> { Ok(SeqlockReader::new(copy.board.map()?)) };
        let stage = stage_of(fresh()?.read().context("shows nothing")?)?;
        let mut successor = SeqlockWriter::new(copy.board.map()?);
        for edition in 20..24 {
            successor.publish(&shown(edition))?;
            ensure!(
                fresh()?.read() == Some(&shown(edition)),
                "the successor's edition {edition} is not shown"
            );
        }
        Ok(stage)
    }

    fn last_stage(&self) -> usize {
        STAGES - 1
    }

    fn witness(&self, live: &World) -> Result<Option<Witness>> {
        let mut reader = SeqlockReader::<_, String>::new(live.board.map()?);
        Ok(Some(Box::new(move |_| stage_of(reader.read().context("shows nothing")?))))
    }
}
