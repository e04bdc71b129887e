//! The supervisor dies while it publishes its ledger or the status page.

use crate::{
    child::Region,
    fixture::MemoryFixture,
    scenario::{History, Observer, Scenario},
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

/// Publishes twice: over the slot that is not current, then over the slot that was current.
struct Publish;

/// All publish scenarios.
pub(super) const ALL: &[&dyn Scenario] = &[&Publish];

/// The value of a stage. The lengths differ too.
pub(super) fn value_of(stage: usize) -> String {
    format!("version {stage} {}", "of some data ".repeat(5 + 7 * (stage % 3)))
}

pub(super) const STAGES: usize = 3;

fn stage_of(found: &str) -> Result<usize> {
    (0..STAGES)
        .find(|&stage| value_of(stage) == found)
        .with_context(|| format!("an unexpected value: {found:?}"))
}

impl Scenario for Publish {
    fn name(&self) -> &'static str {
        "publish"
    }

    fn role(&self) -> Role {
        // The supervisor's page.
        Role::Plain
    }

    fn prepare(&self, fixture: &MemoryFixture) -> Result<History> {
        let mut writer = SeqlockWriter::new(fixture.published_page.map()?);
        writer.publish(&value_of(8))?;
        writer.publish(&value_of(0))?;
        Ok(History::default())
    }

    fn execute(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        let mut writer = SeqlockWriter::new(ReadWrite::map(fds.take(FdName::StatusPage)?, Kind::StatusPage)?);
        region.run(|| Ok((1..STAGES).try_for_each(|stage| writer.publish(&value_of(stage)))?))
    }

    fn check(&self, copy: &MemoryFixture, _: &History) -> Result<usize> {
        let new_reader = || -> Result<SeqlockReader<ReadWrite, String>> {
            Ok(SeqlockReader::new(copy.published_page.map()?))
        };
        let stage = stage_of(new_reader()?.read().context("no value was published")?)?;
        let mut successor = SeqlockWriter::new(copy.published_page.map()?);
        for version in 20..24 {
            successor.publish(&value_of(version))?;
            ensure!(
                new_reader()?.read() == Some(&value_of(version)),
                "version {version} of the successor cannot be read"
            );
        }
        Ok(stage)
    }

    fn last_stage(&self) -> usize {
        STAGES - 1
    }

    fn observer(&self, live: &MemoryFixture) -> Result<Option<Observer>> {
        let mut reader = SeqlockReader::<_, String>::new(live.published_page.map()?);
        Ok(Some(Box::new(move |_| stage_of(reader.read().context("no value was published")?))))
    }
}
