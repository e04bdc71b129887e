//! Events that are set aside: a supervisor that dies while it stores or removes one, and a replay that is broken off.

use anyhow::{Context as _, Result, ensure};
use bulkhead_proto::{
    shm::ring::AppendOutcome,
    wire::quarantine::{Entry, EntryStore},
    worker::{fds::FdHandoff, link::ApiLink},
};
use bulkhead_steps::{
    datum::batch,
    recovery::{self, Reached},
    scenario::History,
    scenarios::{
        find,
        quarantine::{
            AGAIN, ASIDE, KEEP, KEEP_IN_PLACE, REMOVE, REPLAY, REPLAY_REMOVED, REPLAY_WITHOUT_KEY, charge,
            pending, request,
        },
    },
    tracee::Tracee,
    world::World,
};
use bulkhead_supervisor::store::quarantine::QuarantineStore;
use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

const BODY: usize = 512;

fn start(name: &str, bequest: FdHandoff, path: &Path) -> Result<Tracee> {
    Tracee::start(Path::new(env!("CARGO_BIN_EXE_bulkhead-steps-child")), name, bequest, &[path.as_os_str()])
}

/// What a reader of the folder could tell apart: each file's name, number and length.
fn look(folder: &Path) -> Vec<(String, u64, u64)> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut seen: Vec<_> = files
        .filter_map(|file| {
            let found = file.metadata().ok()?;
            Some((file.file_name().into_string().ok()?, found.ino(), found.len()))
        })
        .collect();
    seen.sort_unstable();
    seen
}

/// A copy of a folder, as a successor would find it.
fn copied(folder: &Path) -> Result<tempfile::TempDir> {
    let copy = tempfile::tempdir()?;
    for (name, ..) in look(folder) {
        fs::copy(folder.join(&name), copy.path().join(&name))?;
    }
    Ok(copy)
}

/// The event as it is set aside in a folder, whole, or not at all.
fn found(folder: &Path) -> Result<Option<Entry>> {
    let entry = EntryStore::open(folder)?.read(ASIDE).context("half a file")?;
    if let Some(entry) = &entry {
        ensure!(entry.payload() == pending()?.pending(ASIDE), "other bytes: {entry:?}");
        ensure!((entry.attempts, &*entry.detail) == (2, "SIGSEGV"), "another report: {entry:?}");
    }
    Ok(entry)
}

/// Steps through a child and calls `each` with a copy of the folder whenever it has changed. How often it had.
fn at_each_change(child: Tracee, folder: &Path, mut each: impl FnMut(&Path) -> Result<()>) -> Result<usize> {
    let (mut seen, mut changes) = (look(folder), 0);
    child.step_through(|_| {
        let now = look(folder);
        if now == seen {
            return Ok(());
        }
        (seen, changes) = (now, changes + 1);
        each(copied(folder)?.path())
    })?;
    child.finish()?;
    Ok(changes)
}

fn keeps(name: &str) -> Result<usize> {
    let home = tempfile::tempdir()?;
    let (folder, memory) = (home.path().join("quarantine"), pending()?);
    let mut kept = false;
    let changes = at_each_change(start(name, FdHandoff::default(), &folder)?, &folder, |copy| {
        let there = found(copy)?.is_some();
        ensure!(there || !kept, "it was there, and is gone");
        kept = there;
        QuarantineStore::new(copy.to_owned()).insert(&memory, &charge()).context("done again")?;
        ensure!(found(copy)?.is_some(), "done again, it is not there");
        ensure!(look(copy).len() == 1, "something is left: {:?}", look(copy));
        Ok(())
    })?;
    ensure!(kept, "it was never there");
    Ok(changes)
}

#[test]
fn a_supervisor_that_dies_while_it_stores_an_event_leaves_it_whole_or_absent() -> Result<()> {
    let changes = keeps(KEEP)?;
    assert!(changes >= 3, "made, filled, renamed: {changes} changes");
    Ok(())
}

#[test]
fn a_file_that_grows_where_it_is_looked_for_is_found() {
    let wrong = format!("{:#}", keeps(KEEP_IN_PLACE).unwrap_err());
    assert!(wrong.contains("half a file") && wrong.contains("behind step"), "{wrong}");
}

#[test]
fn a_supervisor_that_dies_while_it_removes_an_event_leaves_it_whole_or_absent() -> Result<()> {
    let folder = tempfile::tempdir()?;
    Store::new(folder.path().to_owned()).keep(&pending()?, &charge())?;
    let child = start(REMOVE, FdHandoff::default(), folder.path())?;
    let changes = at_each_change(child, folder.path(), |copy| {
        let there = found(copy)?.is_some();
        ensure!(QuarantineStore::new(copy.to_owned()).remove(ASIDE)? == there, "done again, it is another");
        ensure!(look(copy).is_empty(), "something is left: {:?}", look(copy));
        Ok(())
    })?;
    assert_eq!(changes, 1);
    Ok(())
}

/// Somebody replays again whatever is still set aside: the event is in the ring once.
fn replayed_again(copy: &World, history: &History, folder: &Path) -> Result<()> {
    if found(folder)?.is_some() {
        let api = ApiLink::open_in_process(&copy.memory)?;
        let outcome = api.append_keyed(&mut batch(AGAIN)?, request()?)?;
        let there = matches!(outcome, AppendOutcome::Replayed(_));
        ensure!(there || api.tail().accepted == history.data.len() as u64, "{outcome:?}");
        QuarantineStore::new(folder.to_owned()).remove(ASIDE)?;
    }
    let Reached { accepted, committed } = history.before;
    let wanted = Reached { accepted: accepted + AGAIN.len(), committed };
    let reached = recovery::check(copy, &history.data).context("it is not in the ring once")?;
    ensure!(reached == wanted, "{reached:?}, wanted {wanted:?}");
    Ok(())
}

/// Replays an event in a child, and looks whenever memory or folder has changed. How often that was.
fn replays(name: &str) -> Result<usize> {
    let folder = tempfile::tempdir()?;
    QuarantineStore::new(folder.path().to_owned()).insert(&pending()?, &charge())?;
    let scenario = find(name).context("no such scenario")?;
    let (mut live, copy) = (World::new(BODY)?, World::new(BODY)?);
    let history = scenario.prepare(&live)?;
    let mut image = live.windows.image();
    let child = start(name, live.bequeath(scenario.role())?, folder.path())?;
    let (mut seen, mut changes) = (look(folder.path()), 0);
    child.step_through(|_| {
        let now = look(folder.path());
        if live.windows.refresh(&mut image).is_none() && now == seen {
            return Ok(());
        }
        (seen, changes) = (now, changes + 1);
        copy.restore(&image);
        replayed_again(&copy, &history, copied(folder.path())?.path())
    })?;
    child.finish()?;
    ensure!(seen.is_empty(), "it is still set aside: {seen:?}");
    Ok(changes)
}

#[test]
fn whoever_dies_in_a_replay_that_is_done_again_the_event_is_appended_once() -> Result<()> {
    let changes = replays(REPLAY)?;
    assert!(changes > 5, "{changes} changes");
    Ok(())
}

#[test]
fn a_replay_without_its_key_and_one_that_removes_first_are_found() {
    for name in [REPLAY_WITHOUT_KEY, REPLAY_REMOVED] {
        let wrong = format!("{:#}", replays(name).unwrap_err());
        assert!(wrong.contains("behind step"), "{name}: {wrong}");
    }
}
