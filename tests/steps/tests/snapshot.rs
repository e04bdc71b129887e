//! The snapshot of a clean shutdown: a supervisor that dies while it saves or loads it.

use anyhow::{Context as _, Error, Result, ensure};
use bulkhead_proto::{
    shm::{
        ring::Consumer,
        snapshot::{load, save},
    },
    worker::{
        fds::FdHandoff,
        link::{AnalyticsLink, ApiLink},
    },
};
use bulkhead_steps::{
    fixture::{MemoryFixture, windows_of_process},
    recovery::{self, EventCounts},
    scenario::History,
    scenarios::{
        find,
        snapshot::{COMMITTED_SINCE, KEY_BEFORE, KEY_SINCE, SINCE, request},
    },
    test_event::{TestEvent, fold},
    tracee::Tracee,
};
use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

/// Saves a snapshot to `path`, and starts the child of that name up to the beginning of its region.
fn start(name: &str, path: &Path) -> Result<(Tracee, History)> {
    let fixture = MemoryFixture::new()?;
    let history = find(name).context("unknown scenario")?.prepare(&fixture)?;
    save(&fixture.memory, path)?;
    let program = Path::new(env!("CARGO_BIN_EXE_bulkhead-steps-child"));
    let child = Tracee::start(program, name, FdHandoff::default(), &[path.as_os_str()])?;
    Ok((child, history))
}

/// What a new supervisor finds in the snapshot, and whether it knows the later request.
fn load_in_new_fixture(path: &Path, data: &[TestEvent]) -> Result<(EventCounts, bool)> {
    let fixture = MemoryFixture::new()?;
    load(&fixture.memory, path)?.context("no snapshot")?;
    let api = ApiLink::open_in_process(&fixture.memory)?;
    let [before, since] =
        [KEY_BEFORE, KEY_SINCE].map(|key| Ok::<_, Error>(api.find(&request(key)?)?.is_some()));
    ensure!(before?, "the request before the snapshot is unknown");
    Ok((recovery::check(&fixture, data)?, since?))
}

#[test]
fn a_supervisor_that_dies_while_it_saves_leaves_the_previous_snapshot_or_the_new_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("snapshot");
    let (child, history) = start("save_a_snapshot", &path)?;
    let (data, before) = ([&history.data, SINCE].concat(), history.before);
    let after = EventCounts { accepted: data.len(), committed: before.committed + COMMITTED_SINCE };
    // What a reader of the directory can distinguish.
    let files = || {
        let of = |name| fs::metadata(folder.path().join(name)).map(|file| (file.ino(), file.len())).ok();
        [of("snapshot"), of("snapshot.new")]
    };
    let (mut known, mut reached, mut images) = (files(), before, 0);
    child.step_through(|_| {
        if files() == known {
            return Ok(());
        }
        known = files();
        images += 1;
        let (found, since) = load_in_new_fixture(&path, &data)?;
        ensure!(found == before || found == after, "{found:?} is neither {before:?} nor {after:?}");
        ensure!(since == (found == after), "{found:?}, but the later key is known: {since}");
        ensure!(reached <= found, "the previous snapshot came back");
        reached = found;
        Ok(())
    })?;
    assert_eq!((reached, known[1]), (after, None));
    assert!(images >= 3, "expected the file to be created, filled and renamed: {images} images");
    child.finish()
}

/// Memory that was loaded in part. No process uses it, but a reader must not find wrong values.
fn check_half_loaded(copy: &MemoryFixture, data: &[TestEvent], before: EventCounts) -> Result<()> {
    let api = ApiLink::open_in_process(&copy.memory)?;
    let (record, names) = (api.view().record(), api.view().names("", None, usize::MAX));
    let committed = if record.commit.0 == 0 { 0 } else { before.committed };
    let expected = fold(&data[..committed]);
    ensure!(names.iter().map(|name| &**name).eq(expected.keys()), "a part of the state: {names:?}");
    let AnalyticsLink { events, producer, .. } = AnalyticsLink::open_in_process(&copy.memory)?;
    let mut consumer = Consumer::attach(events, producer, record.position, record.seq)?;
    let mut payload = Vec::new();
    while let Some(seq) = consumer.next(&mut payload)? {
        let event = data.get(usize::try_from(seq.0)? - 1).context("an unexpected event")?;
        ensure!(event.matches(&payload), "event {seq} is not {event:?}");
    }
    Ok(())
}

#[test]
fn a_supervisor_that_dies_while_it_loads_can_load_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("snapshot");
    let (child, history) = start("load_a_snapshot", &path)?;
    let copy = MemoryFixture::new()?;
    let mut live = windows_of_process(child.pid(), &copy.published_page)?;
    let mut image = live.image();
    let mut images = 0;
    child.step_through(|_| {
        if live.refresh(&mut image).is_none() {
            return Ok(());
        }
        images += 1;
        copy.restore(&image);
        check_half_loaded(&copy, &history.data, history.before)?;
        ensure!(load_in_new_fixture(&path, &history.data)? == (history.before, false));
        Ok(())
    })?;
    copy.restore(&image);
    assert_eq!(recovery::check(&copy, &history.data)?, history.before);
    assert!(images > 30, "{images} images");
    child.finish()
}
