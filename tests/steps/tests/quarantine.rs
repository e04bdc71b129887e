//! Quarantined events: a supervisor that dies while it stores or removes one, and an interrupted replay.

use anyhow::{Context as _, Result, ensure};
use bulkhead_proto::{
    shm::ring::AppendOutcome,
    wire::quarantine::{Entry, EntryStore},
    worker::{fds::FdHandoff, link::ApiLink},
};
use bulkhead_steps::{
    fixture::MemoryFixture,
    recovery::{self, EventCounts},
    scenario::History,
    scenarios::{
        find,
        quarantine::{
            QUARANTINED, REMOVE, REPLAY, REPLAY_REMOVED, REPLAY_WITHOUT_KEY, REPLAYED, STORE, STORE_IN_PLACE,
            pending, quarantine_request, request,
        },
    },
    test_event::batch,
    tracee::Tracee,
};
use bulkhead_supervisor::store::quarantine::QuarantineStore;
use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

fn start(name: &str, fds: FdHandoff, path: &Path) -> Result<Tracee> {
    Tracee::start(Path::new(env!("CARGO_BIN_EXE_bulkhead-steps-child")), name, fds, &[path.as_os_str()])
}

/// What a reader of the directory can distinguish: name, inode and length of each file.
fn list_files(folder: &Path) -> Vec<(String, u64, u64)> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut known: Vec<_> = files
        .filter_map(|file| {
            let metadata = file.metadata().ok()?;
            Some((file.file_name().into_string().ok()?, metadata.ino(), metadata.len()))
        })
        .collect();
    known.sort_unstable();
    known
}

/// A copy of a directory, as a successor would find it.
fn copy_of(folder: &Path) -> Result<tempfile::TempDir> {
    let copy = tempfile::tempdir()?;
    for (name, ..) in list_files(folder) {
        fs::copy(folder.join(&name), copy.path().join(&name))?;
    }
    Ok(copy)
}

/// The event as it is stored in a directory, complete, or `None`.
fn stored_entry(folder: &Path) -> Result<Option<Entry>> {
    let entry = EntryStore::open(folder)?.read(QUARANTINED).context("a partial file")?;
    if let Some(entry) = &entry {
        ensure!(entry.payload() == pending()?.pending(QUARANTINED), "the stored bytes differ: {entry:?}");
        ensure!((entry.attempts, &*entry.detail) == (2, "SIGSEGV"), "the stored report differs: {entry:?}");
    }
    Ok(entry)
}

/// Steps through a child, and calls `each` with a copy of the directory whenever it has changed. Returns the
/// number of changes.
fn for_each_change(child: Tracee, folder: &Path, mut each: impl FnMut(&Path) -> Result<()>) -> Result<usize> {
    let (mut known, mut changes) = (list_files(folder), 0);
    child.step_through(|_| {
        let files = list_files(folder);
        if files == known {
            return Ok(());
        }
        (known, changes) = (files, changes + 1);
        each(copy_of(folder)?.path())
    })?;
    child.finish()?;
    Ok(changes)
}

fn store_at_each_step(name: &str) -> Result<usize> {
    let temp_dir = tempfile::tempdir()?;
    let (folder, memory) = (temp_dir.path().join("quarantine"), pending()?);
    let mut was_stored = false;
    let changes = for_each_change(start(name, FdHandoff::default(), &folder)?, &folder, |copy| {
        let is_stored = stored_entry(copy)?.is_some();
        ensure!(is_stored || !was_stored, "the event was stored, and is gone");
        was_stored = is_stored;
        QuarantineStore::new(copy.to_owned())
            .insert(&memory, &quarantine_request())
            .context("when repeated")?;
        ensure!(stored_entry(copy)?.is_some(), "the repeated store did not store the event");
        ensure!(list_files(copy).len() == 1, "other files are left: {:?}", list_files(copy));
        Ok(())
    })?;
    ensure!(was_stored, "the event was never stored");
    Ok(changes)
}

#[test]
fn a_supervisor_that_dies_while_it_stores_an_event_leaves_a_complete_file_or_none() -> Result<()> {
    let changes = store_at_each_step(STORE)?;
    assert!(changes >= 3, "expected the file to be created, filled and renamed: {changes} changes");
    Ok(())
}

#[test]
fn a_file_that_is_written_in_its_final_place_is_found() {
    let error = format!("{:#}", store_at_each_step(STORE_IN_PLACE).unwrap_err());
    assert!(error.contains("a partial file") && error.contains("after step"), "{error}");
}

#[test]
fn a_supervisor_that_dies_while_it_removes_an_event_leaves_a_complete_file_or_none() -> Result<()> {
    let folder = tempfile::tempdir()?;
    QuarantineStore::new(folder.path().to_owned()).insert(&pending()?, &quarantine_request())?;
    let child = start(REMOVE, FdHandoff::default(), folder.path())?;
    let changes = for_each_change(child, folder.path(), |copy| {
        let is_stored = stored_entry(copy)?.is_some();
        ensure!(
            QuarantineStore::new(copy.to_owned()).remove(QUARANTINED)? == is_stored,
            "the repeated removal had another result"
        );
        ensure!(list_files(copy).is_empty(), "other files are left: {:?}", list_files(copy));
        Ok(())
    })?;
    assert_eq!(changes, 1);
    Ok(())
}

/// The replay is repeated if the event is still quarantined: the ring must hold the event once.
fn check_second_replay(copy: &MemoryFixture, history: &History, folder: &Path) -> Result<()> {
    if stored_entry(folder)?.is_some() {
        let api = ApiLink::open_in_process(&copy.memory)?;
        let outcome = api.append_keyed(&mut batch(REPLAYED)?, request()?)?;
        let is_stored = matches!(outcome, AppendOutcome::Replayed(_));
        ensure!(is_stored || api.tail().accepted == history.data.len() as u64, "{outcome:?}");
        QuarantineStore::new(folder.to_owned()).remove(QUARANTINED)?;
    }
    let EventCounts { accepted, committed } = history.before;
    let expected = EventCounts { accepted: accepted + REPLAYED.len(), committed };
    let reached =
        recovery::check(copy, &history.data).context("the event is not in the ring exactly once")?;
    ensure!(reached == expected, "{reached:?}, expected {expected:?}");
    Ok(())
}

/// Replays an event in a child, and checks whenever the memory or the directory has changed. Returns the
/// number of changes.
fn replay_at_each_step(name: &str) -> Result<usize> {
    let folder = tempfile::tempdir()?;
    QuarantineStore::new(folder.path().to_owned()).insert(&pending()?, &quarantine_request())?;
    let scenario = find(name).context("unknown scenario")?;
    let (mut live, copy) = (MemoryFixture::new()?, MemoryFixture::new()?);
    let history = scenario.prepare(&live)?;
    let mut image = live.windows.image();
    let child = start(name, live.pass_fds(scenario.role())?, folder.path())?;
    let (mut known, mut changes) = (list_files(folder.path()), 0);
    child.step_through(|_| {
        let files = list_files(folder.path());
        if live.windows.refresh(&mut image).is_none() && files == known {
            return Ok(());
        }
        (known, changes) = (files, changes + 1);
        copy.restore(&image);
        check_second_replay(&copy, &history, copy_of(folder.path())?.path())
    })?;
    child.finish()?;
    ensure!(known.is_empty(), "the event is still quarantined: {known:?}");
    Ok(changes)
}

#[test]
fn a_replay_that_is_repeated_after_a_death_appends_the_event_once() -> Result<()> {
    let changes = replay_at_each_step(REPLAY)?;
    assert!(changes > 5, "{changes} changes");
    Ok(())
}

#[test]
fn a_replay_without_a_key_and_a_replay_that_removes_first_are_found() {
    for name in [REPLAY_WITHOUT_KEY, REPLAY_REMOVED] {
        let error = format!("{:#}", replay_at_each_step(name).unwrap_err());
        assert!(error.contains("after step"), "{name}: {error}");
    }
}
