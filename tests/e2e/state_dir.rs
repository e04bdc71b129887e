//! What stands on the disk: whatever happens to `state_dir`, nothing is dropped silently (P2).

use crate::{FAULTS, crashes::report};
use bulkhead_tests::{
    Bulkhead, Home, Said, Stopped, eventually,
    log::Line,
    process::{self, Signal},
};
use std::{fs, os::unix::fs::chown, path::Path};

/// Somebody who owns nothing here.
const NOBODY: u32 = 65_534;

pub(crate) fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: it takes root to be somebody else, or to make a file system");
    }
    root
}

/// A supervisor that cannot begin says so, in words that help, and does nothing else.
fn assert_refused(home: &Home, words: &[&str]) -> Said {
    let said = home.run_in_vain();
    assert_eq!(said.code, Some(1), "{said:?}");
    for word in words {
        assert!(said.err.contains(word), "no {word:?} in {said:?}");
    }
    assert!(!said.err.contains("worker_started"), "{said:?}");
    said
}

/// A home in which a supervisor has run: ten events are part of the state.
fn home_with_a_past() -> Home {
    let bulkhead = Home::new("").start();
    for _ in 0..10 {
        assert_eq!(bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    }
    bulkhead.settled();
    in_order(bulkhead.stop(Signal::SIGTERM)).home
}

fn in_order(stopped: Stopped) -> Stopped {
    assert!(stopped.status.success(), "{:?} after\n{}", stopped.status, stopped.log.dump());
    stopped
}

#[test]
fn a_state_directory_that_may_not_be_written_is_refused_with_what_to_do() {
    if !is_root() {
        return;
    }
    let home = Home::new("").run_as(NOBODY);
    assert_refused(&home, &["cannot create the state directory", "set state_dir", "Permission denied"]);
    fs::create_dir(home.path("state")).unwrap();
    assert_refused(&home, &["must be writable for uid 65534", "Permission denied"]);
}

#[test]
fn a_state_directory_of_another_owner_is_refused_and_left_as_it_is() {
    if !is_root() {
        return;
    }
    let home = Home::new("");
    let state = home.path("state");
    fs::create_dir(&state).unwrap();
    chown(&state, Some(NOBODY), None).unwrap();
    assert_refused(&home, &["belongs to uid 65534", "runs as uid 0", "chown"]);
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
}

#[test]
fn a_file_in_the_place_of_the_state_directory_is_refused_and_left_as_it_is() {
    let home = Home::new("");
    fs::write(home.path("state"), "precious").unwrap();
    assert_refused(&home, &["cannot create the state directory", "set state_dir"]);
    assert_eq!(fs::read(home.path("state")).unwrap(), b"precious");
}

#[test]
fn a_damaged_snapshot_is_refused_and_kept_until_it_is_moved_away() {
    let home = home_with_a_past();
    let (snapshot, aside) = (home.path("state/snapshot"), home.path("state/aside"));
    let good = fs::read(&snapshot).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let garbage = fastrand::Rng::with_seed(7);
    let garbage = std::iter::repeat_with(|| garbage.clone().u8(..)).take(100_000).collect();
    for bad in [flipped, garbage, good[..good.len() / 2].to_vec(), Vec::new()] {
        fs::write(&snapshot, &bad).unwrap();
        assert_refused(&home, &["snapshot", "damaged at byte", "move it away to start empty"]);
        assert_eq!(fs::read(&snapshot).unwrap(), bad, "it may still be of use to somebody");
    }
    // Longer than any memory.
    fs::File::options().write(true).open(&snapshot).unwrap().set_len(1 << 40).unwrap();
    assert_refused(&home, &["damaged at byte"]);

    fs::rename(&snapshot, &aside).unwrap();
    let bulkhead = home.start();
    let lost = bulkhead.log().all(|line| line.is("state_lost"));
    assert_eq!(lost.len(), 1, "{}", bulkhead.log().dump());
    assert_eq!(lost[0].text("level"), "ERROR");
    let next = bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap().json();
    assert_eq!(next["first_seq"], 11, "no number is given out twice");
}

#[test]
fn damaged_or_missing_marks_are_refused_rather_than_guessed() {
    let home = home_with_a_past();
    let marks = home.path("state/marks");
    let good = fs::read(&marks).unwrap();
    for bad in [&b""[..], b"\xff\xfe\x00", b"{\"version\":1}", &[b' '; 100_000]] {
        fs::write(&marks, bad).unwrap();
        assert_refused(&home, &["marks is damaged", "start over with an empty state_dir"]);
        assert_eq!(fs::read(&marks).unwrap(), bad);
    }
    fs::remove_file(&marks).unwrap();
    assert_refused(&home, &["marks is missing beside the snapshot"]);

    fs::write(&marks, good).unwrap();
    assert_eq!(home.start().client().json("/v1/series/s")["count"], 10);
}

#[test]
fn a_state_directory_that_was_deleted_while_it_ran_is_made_again_at_the_stop() {
    let bulkhead = Home::new("").start();
    assert_eq!(bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    bulkhead.settled();
    fs::remove_dir_all(bulkhead.home().path("state")).unwrap();
    let stopped = in_order(bulkhead.stop(Signal::SIGTERM));
    stopped.log.from_start().wait_for("word of it", |line| line.raw().contains("was deleted while"));
    assert_eq!(stopped.home.start().client().json("/v1/series/s")["count"], 1);
}

/// Takes up all that is left of a file system, as its supervisor sees it.
fn fill(pid: i32, folder: &Path) -> std::path::PathBuf {
    let filler =
        Path::new(&format!("/proc/{pid}/root")).join(folder.strip_prefix("/").unwrap()).join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    filler
}

#[test]
fn a_full_disk_costs_nobody_an_answer_and_is_told_of_at_the_stop() {
    if !is_root() {
        return;
    }
    let bulkhead = Home::new("").start_on_a_small_disk("128k");
    fill(bulkhead.pid(), &bulkhead.home().path("state"));
    // More series than the disk has room for.
    let events: Vec<String> = (0..200).map(|n| format!(r#"{{"series":"s-{n}","value":1}}"#)).collect();
    let answer = bulkhead.client().post_events(&format!("[{}]", events.join(","))).unwrap();
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(bulkhead.settled()["analysed"], 200);
    let mut story = bulkhead.log().from_now();
    process::signal(bulkhead.pid_of("analytics"), Signal::SIGKILL);
    story.wait_for_worker("worker_activated", "analytics");
    assert_eq!(bulkhead.client().json("/v1/stats")["analysed"], 200);

    let stopped = bulkhead.stop(Signal::SIGTERM);

    assert_eq!(stopped.status.code(), Some(1), "{}", stopped.log.dump());
    let last = stopped.log.all(|line| line.is("supervisor_stopped"));
    for text in ["nothing was saved", "No space left on device", "state/snapshot"] {
        assert!(last[0].raw().contains(text), "no {text:?} in {}", last[0].raw());
    }
}

#[test]
fn a_disk_that_has_room_again_before_the_stop_loses_nothing() {
    if !is_root() {
        return;
    }
    let bulkhead = Home::new("").start_on_a_small_disk("128k");
    let filler = fill(bulkhead.pid(), &bulkhead.home().path("state"));
    assert_eq!(bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    bulkhead.settled();
    fs::remove_file(&filler).unwrap();
    eventually(bulkhead.log(), "room on the disk", || !filler.exists());
    let stopped = in_order(bulkhead.stop(Signal::SIGTERM));
    assert_eq!(stopped.log.all(|line| line.is("state_saved")).len(), 1);
}

/// The next death of the analysis, and its return.
fn killed(bulkhead: &Bulkhead) -> u64 {
    let mut story = bulkhead.log().from_now();
    process::signal(bulkhead.pid_of("analytics"), Signal::SIGKILL);
    let died = story.wait_for_worker("worker_died", "analytics");
    story.wait_for_worker("worker_activated", "analytics");
    died.number("crash").unwrap()
}

#[test]
fn reports_that_a_full_disk_cannot_take_are_told_of_once_and_the_next_ones_are_stored() {
    if !is_root() {
        return;
    }
    let bulkhead = Home::new("").start_on_a_small_disk("128k");
    let filler = fill(bulkhead.pid(), &bulkhead.home().path("state"));
    for _ in 0..3 {
        killed(&bulkhead);
    }
    assert_eq!(bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    assert_eq!(bulkhead.settled()["analysed"], 1);
    let mut story = bulkhead.log().from_start();
    let refused = story.wait_for("word of it", |line| line.is("crash_report_failed"));
    assert!(refused.raw().contains("No space left on device"), "{}", refused.raw());
    fs::remove_file(&filler).unwrap();
    let crash = killed(&bulkhead);
    // A late one of the reports before it may be the first that is stored again.
    assert_eq!(report(&bulkhead, crash)["id"], crash);
    story.wait_for("word that it is over", |line| line.raw().contains("crash reports are stored again"));
    assert_eq!(bulkhead.log().all(|line| line.is("crash_report_failed")).len(), 1);
}

/// By a mount of the directory over itself: what the supervisor holds open for writing would not let its file system be
/// made read-only as a whole.
const READ_ONLY: &str = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0""#;
const WRITABLE: &str = r#"mount -o remount,bind,rw "$0""#;

/// An event that kills is not skipped while the disk takes nothing, and nobody else is held up by that; it is set aside
/// once the disk does.
fn assert_stored_before_it_is_skipped(bulkhead: &Bulkhead, relieve: impl FnOnce()) {
    let client = bulkhead.client();
    let mut story = bulkhead.log().from_now();
    assert_eq!(client.post_events(r#"{"series":"__fault.abort","value":1}"#).unwrap().status, 202);
    for _ in ["at first", "and again"] {
        let failed = story.wait_for_worker("quarantine_failed", "analytics");
        assert_eq!(failed.number("seq"), Some(1), "{}", failed.raw());
    }
    assert_eq!(client.post_events(r#"{"series":"after","value":1}"#).unwrap().status, 202);
    let stats = client.json("/v1/stats");
    assert_eq!((&stats["quarantined"], &stats["pending"]), (&0.into(), &2.into()), "{stats}");
    assert_eq!(client.items("/v1/quarantine?limit=100").len(), 0);

    relieve();

    story.wait_for_worker("event_quarantined", "analytics");
    let stats = bulkhead.settled();
    assert_eq!((&stats["quarantined"], &stats["analysed"]), (&1.into(), &1.into()), "{stats}");
    let entry = client.json("/v1/quarantine/1");
    assert_eq!((&entry["seq"], &entry["cause"]), (&1.into(), &"signal".into()), "{entry}");
}

#[test]
fn an_event_that_a_full_disk_cannot_take_is_not_skipped_until_there_is_room_to_set_it_aside() {
    if !is_root() {
        return;
    }
    let bulkhead = Home::new(FAULTS).start_on_a_small_disk("128k");
    let filler = fill(bulkhead.pid(), &bulkhead.home().path("state"));
    assert_stored_before_it_is_skipped(&bulkhead, || fs::remove_file(&filler).unwrap());
}

#[test]
fn an_event_is_not_skipped_while_the_disk_is_read_only_and_set_aside_when_it_can_be_written_again() {
    if !is_root() {
        return;
    }
    let bulkhead = Home::new(FAULTS).start_on_a_small_disk("128k");
    let remount = |how| bulkhead.among_its_mounts(how, &[&bulkhead.home().path("state")]);
    remount(READ_ONLY);
    assert_stored_before_it_is_skipped(&bulkhead, || remount(WRITABLE));
    in_order(bulkhead.stop(Signal::SIGTERM));
}

#[test]
fn a_folder_of_reports_that_cannot_be_used_is_told_of_and_costs_nobody_anything() {
    let home = Home::new("");
    fs::create_dir(home.path("state")).unwrap();
    fs::write(home.path("state/crashes"), "not a folder").unwrap();
    let bulkhead = home.start();
    killed(&bulkhead);
    let told = |line: &Line| line.is("crash_report_failed") && line.raw().contains("state/crashes");
    bulkhead.log().from_start().wait_for("word of it", told);
    assert_eq!(bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    assert_eq!(bulkhead.settled()["analysed"], 1);
    let answer = bulkhead.client().get("/v1/crashes").unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(bulkhead.say(&["crashes"]).code, Some(1));
    assert_eq!(fs::read(bulkhead.home().path("state/crashes")).unwrap(), b"not a folder");
    in_order(bulkhead.stop(Signal::SIGTERM));
}
