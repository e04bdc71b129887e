//! The supervisor dies while it stores or removes a quarantined event; the API and the supervisor die during
//! a replay. The checks read files too: see `tests/quarantine.rs`.

use crate::{
    child::Region,
    fixture::{MemoryFixture, SLOTS, memory},
    scenario::{History, Scenario},
    service::Analysis,
    test_event::{TestEvent, batch, test_event},
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
    store::quarantine::QuarantineStore,
};
use std::{fs, path::PathBuf};

/// All quarantine scenarios, including the faulty ones. The child's argument is the directory.
pub(super) const ALL: &[&dyn Scenario] = &[
    &QuarantineScenario { name: STORE, role: Role::Plain, execute: store_event },
    &QuarantineScenario { name: STORE_IN_PLACE, role: Role::Plain, execute: store_event_in_place },
    &QuarantineScenario { name: REMOVE, role: Role::Plain, execute: remove },
    &QuarantineScenario { name: REPLAY, role: Role::Api, execute: replay },
    &QuarantineScenario { name: REPLAY_WITHOUT_KEY, role: Role::Api, execute: replay_without_key },
    &QuarantineScenario { name: REPLAY_REMOVED, role: Role::Api, execute: replay_removed },
];

/// Stores an event.
pub const STORE: &str = "store_event";
/// A planted error: the file is written in its final place.
pub const STORE_IN_PLACE: &str = "faulty_store_in_place";
/// Removes an event.
pub const REMOVE: &str = "remove_event";
/// Appends the quarantined event again, then removes it.
pub const REPLAY: &str = "replay_event";
/// A planted error: the event is appended again when the replay is repeated.
pub const REPLAY_WITHOUT_KEY: &str = "faulty_replay_without_key";
/// A planted error: the event is removed first.
pub const REPLAY_REMOVED: &str = "faulty_replay_removed";

/// One quarantine scenario.
struct QuarantineScenario {
    name: &'static str,
    role: Role,
    execute: fn(&mut InheritedFds, &Region) -> Result<()>,
}

/// The quarantined event.
pub const QUARANTINED: Seq = Seq(2);

/// The event that a replay appends.
pub const REPLAYED: &[TestEvent] = &[test_event("BOS", 77, 64)];

const DATA: &[TestEvent] = &[
    test_event("ATL", 1, 56),
    TestEvent { skipped: true, ..test_event("BOS", 2, 72) },
    test_event("CLT", 3, 56),
];

/// What is stored with the event.
#[must_use]
pub fn quarantine_request() -> QuarantineRequest {
    QuarantineRequest {
        subject: GenerationRef { worker: "analytics".into(), generation: Generation(3), pid: Some(1) },
        seq: QUARANTINED,
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

/// The request of a replay; it is the same each time.
///
/// # Errors
/// When the key is not valid.
pub fn request() -> Result<KeyedRequest> {
    let key =
        IdempotencyKey::new(format!("__replay-of-{QUARANTINED}").as_bytes()).context("not a valid key")?;
    Ok(KeyedRequest { key, digest: QUARANTINED.0.into() })
}

/// The store in the directory that the child got as its argument.
fn store(region: &Region) -> Result<(QuarantineStore, PathBuf)> {
    let path: PathBuf = region.arguments.first().context("no directory given")?.into();
    Ok((QuarantineStore::new(path.clone()), path))
}

fn store_event(_: &mut InheritedFds, region: &Region) -> Result<()> {
    let (memory, (store, _)) = (pending()?, store(region)?);
    region.run(|| store.insert(&memory, &quarantine_request()))
}

fn store_event_in_place(_: &mut InheritedFds, region: &Region) -> Result<()> {
    let (memory, (store, path)) = (pending()?, store(region)?);
    store.insert(&memory, &quarantine_request())?;
    let path = path.join(file_name(QUARANTINED));
    let text = fs::read(&path)?;
    fs::remove_file(&path)?;
    region.run(|| Ok(fs::write(&path, &text)?))
}

fn remove(_: &mut InheritedFds, region: &Region) -> Result<()> {
    let (store, _) = store(region)?;
    region.run(|| store.remove(QUARANTINED).map(drop))
}

fn replay(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    let (api, mut batch, (store, _)) = (ApiLink::open(fds, SLOTS)?, batch(REPLAYED)?, store(region)?);
    region.run(|| {
        api.append_keyed(&mut batch, request()?)?;
        store.remove(QUARANTINED).map(drop)
    })
}

fn replay_without_key(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    let (api, mut batch, (store, _)) = (ApiLink::open(fds, SLOTS)?, batch(REPLAYED)?, store(region)?);
    region.run(|| {
        api.append(&mut batch)?;
        store.remove(QUARANTINED).map(drop)
    })
}

fn replay_removed(fds: &mut InheritedFds, region: &Region) -> Result<()> {
    let (api, mut batch, (store, _)) = (ApiLink::open(fds, SLOTS)?, batch(REPLAYED)?, store(region)?);
    region.run(|| {
        store.remove(QUARANTINED)?;
        api.append_keyed(&mut batch, request()?)?;
        Ok(())
    })
}

impl Scenario for QuarantineScenario {
    fn name(&self) -> &'static str {
        self.name
    }

    fn role(&self) -> Role {
        self.role
    }

    /// All events are committed, the quarantined event as skipped.
    fn prepare(&self, fixture: &MemoryFixture) -> Result<History> {
        let mut history = History::default();
        history.append_and_commit(fixture, DATA, 0)?;
        let mut analysis = Analysis::take_over(AnalyticsLink::open_in_process(&fixture.memory)?)?;
        analysis.hints.skip.push(QUARANTINED);
        history.before.committed = analysis.apply(usize::MAX)?;
        analysis.commit()?;
        history.data.extend(REPLAYED);
        Ok(history)
    }

    fn execute(&self, fds: &mut InheritedFds, region: &Region) -> Result<()> {
        (self.execute)(fds, region)
    }

    fn check(&self, _: &MemoryFixture, _: &History) -> Result<usize> {
        bail!("checked by tests/quarantine.rs")
    }

    fn last_stage(&self) -> usize {
        1
    }
}
