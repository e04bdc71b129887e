//! The supervisor dies while it stores an event that is set aside, or removes one; the API and the supervisor die in the
//! midst of a replay. Judged by files too: see `tests/quarantine.rs`.

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
        memory::SharedMemory,
        ring::{IdempotencyKey, KeyedRequest},
    },
    wire::{
        cause::{Cause, Operation},
        ids::{CrashId, Generation, Seq},
        record_store::file_name,
        role::Role,
    },
    worker::{
        fds::InheritedFds,
        link::{AnalyticsLink, ApiLink},
    },
};
use bulkhead_supervisor::{
    core::{GenerationRef, QuarantineRequest},
    quarantine::Store,
};
use std::{fs, path::PathBuf};

/// All of them, and those that do it wrong; the folder is the child's argument.
pub(super) const ALL: &[&dyn Scenario] = &[
    &Deed { name: KEEP, role: Role::Plain, act: keep },
    &Deed { name: KEEP_IN_PLACE, role: Role::Plain, act: keep_in_place },
    &Deed { name: REMOVE, role: Role::Plain, act: remove },
    &Deed { name: REPLAY, role: Role::Api, act: replay },
    &Deed { name: REPLAY_WITHOUT_KEY, role: Role::Api, act: replay_without_key },
    &Deed { name: REPLAY_REMOVED, role: Role::Api, act: replay_removed },
];

/// Stores an event.
pub const KEEP: &str = "keep_an_event";
/// A planted fault: its file grows where it is looked for.
pub const KEEP_IN_PLACE: &str = "plant_keep_in_place";
/// Removes one.
pub const REMOVE: &str = "remove_an_event";
/// Appends one that is set aside once more, and removes it then.
pub const REPLAY: &str = "replay_an_event";
/// A planted fault: done again, it is appended again.
pub const REPLAY_WITHOUT_KEY: &str = "plant_replay_without_key";
/// A planted fault: it is removed first.
pub const REPLAY_REMOVED: &str = "plant_replay_removed";

/// One of them.
struct Deed {
    name: &'static str,
    role: Role,
    act: fn(&mut InheritedFds, &Region) -> Result<()>,
}

/// The event that is set aside.
pub const ASIDE: Seq = Seq(2);

/// What is appended by a replay.
pub const AGAIN: &[Datum] = &[datum("BOS", 77, 64)];

const DATA: &[Datum] =
    &[datum("ATL", 1, 56), Datum { skipped: true, ..datum("BOS", 2, 72) }, datum("CLT", 3, 56)];

/// What is stored with the event.
#[must_use]
pub fn charge() -> QuarantineRequest {
    QuarantineRequest {
        subject: GenerationRef { worker: "analytics".into(), generation: Generation(3), pid: Some(1) },
        seq: ASIDE,
        attempts: 2,
        during: Operation::Apply,
        crash: CrashId(9),
        cause: Cause::Signal,
        detail: "SIGSEGV".into(),
    }
}

/// Memory in which the event is pending.
///
/// # Errors
/// When the system refuses.
pub fn pending() -> Result<SharedMemory> {
    let memory = memory()?;
    ApiLink::open_in_process(&memory)?.append(&mut batch(DATA)?)?;
    Ok(memory)
}

/// The request of a replay: the same each time.
///
/// # Errors
/// When that is no key.
pub fn request() -> Result<KeyedRequest> {
    let key = IdempotencyKey::new(format!("__replay-of-{ASIDE}").as_bytes()).context("no key")?;
    Ok(KeyedRequest { key, digest: ASIDE.0.into() })
}

/// The store in the folder that the child was told of.
fn store(region: &Region) -> Result<(QuarantineStore, PathBuf)> {
    let path: PathBuf = region.arguments.first().context("where is the folder?")?.into();
    Ok((QuarantineStore::new(path.clone()), path))
}

fn keep(_: &mut InheritedFds, region: &Region) -> Result<()> {
    let (memory, (store, _)) = (pending()?, store(region)?);
    region.run(|| store.insert(&memory, &charge()))
}

fn keep_in_place(_: &mut InheritedFds, region: &Region) -> Result<()> {
    let (memory, (store, path)) = (pending()?, store(region)?);
    store.insert(&memory, &charge())?;
    let path = path.join(file_name(ASIDE));
    let text = fs::read(&path)?;
    fs::remove_file(&path)?;
    region.run(|| Ok(fs::write(&path, &text)?))
}

fn remove(_: &mut InheritedFds, region: &Region) -> Result<()> {
    let (store, _) = store(region)?;
    region.run(|| store.remove(ASIDE).map(drop))
}

fn replay(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    let (api, mut batch, (store, _)) = (ApiLink::open(fds)?, batch(AGAIN)?, store(region)?);
    region.run(|| {
        api.append_keyed(&mut batch, request()?)?;
        store.remove(ASIDE).map(drop)
    })
}

fn replay_without_key(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    let (api, mut batch, (store, _)) = (ApiLink::open(fds)?, batch(AGAIN)?, store(region)?);
    region.run(|| {
        api.append(&mut batch)?;
        store.remove(ASIDE).map(drop)
    })
}

fn replay_removed(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    let (api, mut batch, (store, _)) = (ApiLink::open(fds)?, batch(AGAIN)?, store(region)?);
    region.run(|| {
        store.remove(ASIDE)?;
        api.append_keyed(&mut batch, request()?)?;
        Ok(())
    })
}

impl Scenario for Deed {
    fn name(&self) -> &'static str {
        self.name
    }

    fn role(&self) -> Role {
        self.role
    }

    /// All is committed, the event skipped.
    fn prepare(&self, world: &World) -> Result<History> {
        let mut history = History::default();
        history.continue_with(world, DATA, 0)?;
        let mut analysis = Analysis::take_over(AnalyticsLink::open_in_process(&world.memory)?)?;
        analysis.care.skip.push(ASIDE);
        history.before.committed = analysis.apply(usize::MAX)?;
        analysis.commit()?;
        history.data.extend(AGAIN);
        Ok(history)
    }

    fn act(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        (self.act)(fds, region)
    }

    fn judge(&self, _: &World, _: &History) -> Result<usize> {
        bail!("judged by tests/quarantine.rs")
    }

    fn last_stage(&self) -> usize {
        1
    }
}
