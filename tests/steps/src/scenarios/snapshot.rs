//! The supervisor dies while it saves or loads a snapshot. Judged by files and by memory of the child's own, not by images
//! of inherited memory: see `tests/snapshot.rs`.

use crate::{
    child::Region,
    datum::{Datum, batch, datum},
    scenario::{History, Scenario},
    service::Analysis,
    world::{World, memory},
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

/// Both ways; the path of the snapshot is the child's argument.
pub(super) const ALL: &[&dyn Scenario] = &[&Way::Save, &Way::Load];

/// Which way.
enum Way {
    /// Over a former snapshot, of which the memory was loaded before [`SINCE`] came.
    Save,
    Load,
}

/// The key of the last request before the former snapshot.
pub const KEY_BEFORE: &str = "before";

/// The key of the request that came with [`SINCE`].
pub const KEY_SINCE: &str = "since";

/// A request with a key.
///
/// # Errors
/// When that is no key.
pub fn request(key: &str) -> Result<KeyedRequest> {
    Ok(KeyedRequest { key: IdempotencyKey::new(key.as_bytes()).context("no key")?, digest: 3 })
}

/// What was accepted between the former snapshot and the one that is saved.
pub const SINCE: &[Datum] = &[datum("DTW", 60, 56), datum("ATL", 61, 72), datum("BOS", 62, 56)];

/// How many more events were committed in that time.
pub const COMMITTED_SINCE: usize = 2;

fn path(region: &Region) -> Result<PathBuf> {
    Ok(region.arguments.first().context("where is the snapshot?")?.into())
}

impl Scenario for Way {
    fn name(&self) -> &'static str {
        match self {
            Self::Save => "save_a_snapshot",
            Self::Load => "load_a_snapshot",
        }
    }

    fn role(&self) -> Role {
        Role::Plain
    }

    fn prepare(&self, world: &World) -> Result<History> {
        let mut history = History::default();
        history.continue_with(world, &[datum("ATL", 1, 56), datum("BOS", 2, 64), datum("CLT", 3, 56)], 3)?;
        history.continue_with(world, &[datum("BOS", 4, 56), datum("ATL", 5, 104), datum("ATL", 6, 56)], 1)?;
        let last = datum("CLT", 7, 64);
        ApiLink::open_in_process(&world.memory)?.append_keyed(&mut batch(&[last])?, request(KEY_BEFORE)?)?;
        history.data.push(last);
        history.before.accepted += 1;
        Ok(history)
    }

    fn act(&self, _: &mut InheritedFds, region: &Region) -> Result<()> {
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

    fn judge(&self, _: &World, _: &History) -> Result<usize> {
        bail!("judged by tests/snapshot.rs")
    }

    fn last_stage(&self) -> usize {
        1
    }
}
