//! The snapshot of an orderly stop: a supervisor that dies while it saves or loads it.

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
    datum::{Datum, fold},
    recovery::{self, Reached},
    scenario::History,
    scenarios::{
        find,
        snapshot::{COMMITTED_SINCE, KEY_BEFORE, KEY_SINCE, SINCE, request},
    },
    tracee::Tracee,
    world::{World, windows_of_process},
};
use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

const BODY: usize = 512;

/// Saves a snapshot to `path`, and starts the child of that name up to its mark.
fn start(name: &str, path: &Path) -> Result<(Tracee, History)> {
    let world = World::new(BODY)?;
    let history = find(name).context("no such scenario")?.prepare(&world)?;
    save(&world.memory, path)?;
    let program = Path::new(env!("CARGO_BIN_EXE_bulkhead-steps-child"));
    let child = Tracee::start(program, name, FdHandoff::default(), &[path.as_os_str()])?;
    Ok((child, history))
}

/// What a supervisor that starts anew finds in the snapshot, and whether the later request is known.
fn restarted(path: &Path, data: &[Datum]) -> Result<(Reached, bool)> {
    let world = World::new(BODY)?;
    load(&world.memory, path)?.context("no snapshot")?;
    let api = ApiLink::open_in_process(&world.memory)?;
    let [before, since] =
        [KEY_BEFORE, KEY_SINCE].map(|key| Ok::<_, Error>(api.find(&request(key)?)?.is_some()));
    ensure!(before?, "the former request is forgotten");
    Ok((recovery::check(&world, data)?, since?))
}

#[test]
fn a_supervisor_that_dies_while_it_saves_leaves_the_former_snapshot_or_the_new_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("snapshot");
    let (child, history) = start("save_a_snapshot", &path)?;
    let (data, before) = ([&history.data, SINCE].concat(), history.before);
    let after = Reached { accepted: data.len(), committed: before.committed + COMMITTED_SINCE };
    // What a reader of the directory could tell apart.
    let look = || {
        let of = |name| fs::metadata(folder.path().join(name)).map(|file| (file.ino(), file.len())).ok();
        [of("snapshot"), of("snapshot.new")]
    };
    let (mut seen, mut reached, mut images) = (look(), before, 0);
    child.step_through(|_| {
        if look() == seen {
            return Ok(());
        }
        seen = look();
        images += 1;
        let (found, since) = restarted(&path, &data)?;
        ensure!(found == before || found == after, "{found:?} is neither {before:?} nor {after:?}");
        ensure!(since == (found == after), "{found:?}, and the key of what came since: {since}");
        ensure!(reached <= found, "the former snapshot came back");
        reached = found;
        Ok(())
    })?;
    assert_eq!((reached, seen[1]), (after, None));
    assert!(images >= 3, "made, filled, renamed: {images} images");
    child.finish()
}

/// Memory that was loaded in part: nobody may use it, but whoever looks at it is told no nonsense.
fn half_loaded(copy: &World, data: &[Datum], before: Reached) -> Result<()> {
    let api = ApiLink::open_in_process(&copy.memory)?;
    let (record, names) = (api.view().record(), api.view().names("", None, usize::MAX));
    let committed = if record.commit.0 == 0 { 0 } else { before.committed };
    let wanted = fold(&data[..committed]);
    ensure!(names.iter().map(|name| &**name).eq(wanted.keys()), "a part of the state: {names:?}");
    let AnalyticsLink { events, producer, .. } = AnalyticsLink::open_in_process(&copy.memory)?;
    let mut consumer = Consumer::attach(events, producer, record.position, record.seq)?;
    let mut payload = Vec::new();
    while let Some(seq) = consumer.next(&mut payload)? {
        let datum = data.get(usize::try_from(seq.0)? - 1).context("an event too many")?;
        ensure!(datum.is(&payload), "event {seq} is not {datum:?}");
    }
    Ok(())
}

#[test]
fn a_supervisor_that_dies_while_it_loads_can_load_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("snapshot");
    let (child, history) = start("load_a_snapshot", &path)?;
    let copy = World::new(BODY)?;
    let mut live = windows_of_process(child.pid(), &copy.board, BODY)?;
    let mut image = live.image();
    let mut images = 0;
    child.step_through(|_| {
        if live.refresh(&mut image).is_none() {
            return Ok(());
        }
        images += 1;
        copy.restore(&image);
        half_loaded(&copy, &history.data, history.before)?;
        ensure!(restarted(&path, &history.data)? == (history.before, false));
        Ok(())
    })?;
    copy.restore(&image);
    assert_eq!(recovery::check(&copy, &history.data)?, history.before);
    assert!(images > 30, "{images} images");
    child.finish()
}
