//! The supervisor dies while it saves or loads a snapshot. The checks read files and the child's own memory,
//! not images of inherited memory: see `tests/snapshot.rs`.

use crate::{
    child::Region,
    fixture::{MemoryFixture, memory},
    scenario::{History, Scenario},
    service::Analysis,
    test_event::{TestEvent, batch, test_event},
};
use anyhow::{Context as _, Result, bail};
use bulkhead_proto::{
    shm::{
        ring::{IdempotencyKey, KeyedRequest},
        snapshot::{load, save},
    },
    wire::role::Role,
    worker::{
        fds::InheritedFds,
        link::{AnalyticsLink, ApiLink},
    },
};
use std::path::PathBuf;

/// Both snapshot scenarios. The child's argument is the path of the snapshot.
pub(super) const ALL: &[&dyn Scenario] = &[&SnapshotScenario::Save, &SnapshotScenario::Load];

/// The direction.
enum SnapshotScenario {
    /// Saves over a previous snapshot. The memory was loaded from it before [`SINCE`] was accepted.
    Save,
    Load,
}

/// The key of the last request before the previous snapshot.
pub const KEY_BEFORE: &str = "before";

/// The key of the request with [`SINCE`].
pub const KEY_SINCE: &str = "since";

/// A request with this key.
///
/// # Errors
/// When the key is not valid.
pub fn request(key: &str) -> Result<KeyedRequest> {
    Ok(KeyedRequest { key: IdempotencyKey::new(key.as_bytes()).context("not a valid key")?, digest: 3 })
}

/// The events that were accepted after the previous snapshot.
pub const SINCE: &[TestEvent] =
    &[test_event("DTW", 60, 56), test_event("ATL", 61, 72), test_event("BOS", 62, 56)];

/// The number of events that were committed after the previous snapshot.
pub const COMMITTED_SINCE: usize = 2;

fn path(region: &Region) -> Result<PathBuf> {
    Ok(region.arguments.first().context("no snapshot path given")?.into())
}

impl Scenario for SnapshotScenario {
    fn name(&self) -> &'static str {
        match self {
            Self::Save => "save_a_snapshot",
            Self::Load => "load_a_snapshot",
        }
    }

    fn role(&self) -> Role {
        Role::Plain
    }

    fn prepare(&self, fixture: &MemoryFixture) -> Result<History> {
        let mut history = History::default();
        history.append_and_commit(
            fixture,
            &[test_event("ATL", 1, 56), test_event("BOS", 2, 64), test_event("CLT", 3, 56)],
            3,
        )?;
        history.append_and_commit(
            fixture,
            &[test_event("BOS", 4, 56), test_event("ATL", 5, 104), test_event("ATL", 6, 56)],
            1,
        )?;
        let last = test_event("CLT", 7, 64);
        ApiLink::open_in_process(&fixture.memory)?
            .append_keyed(&mut batch(&[last])?, request(KEY_BEFORE)?)?;
        history.data.push(last);
        history.before.accepted += 1;
        Ok(history)
    }

    fn execute(&self, _: &mut InheritedFds, region: &Region) -> Result<()> {
        let (memory, path) = (memory()?, path(region)?);
        match self {
            Self::Save => {
                load(&memory, &path)?;
                ApiLink::open_in_process(&memory)?.append_keyed(&mut batch(SINCE)?, request(KEY_SINCE)?)?;
                let mut analysis = Analysis::take_over(AnalyticsLink::open_in_process(&memory)?)?;
                analysis.apply(COMMITTED_SINCE)?;
                analysis.commit()?;
                region.run(|| Ok(save(&memory, &path)?))?;
            }
            Self::Load => {
                region.run(|| Ok(load(&memory, &path)?))?;
            }
        }
        Ok(())
    }

    fn check(&self, _: &MemoryFixture, _: &History) -> Result<usize> {
        bail!("checked by tests/snapshot.rs")
    }

    fn last_stage(&self) -> usize {
        1
    }
}
