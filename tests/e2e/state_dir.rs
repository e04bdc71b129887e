//! Damage, permissions and lack of space in `state_dir`: nothing is dropped silently.

use crate::common::{FAULTS_ENABLED, crash_report, is_root};
use bulkhead_tests::{
    Bulkhead, CliOutput, Fixture, Stopped, eventually,
    log::Line,
    process::{self, Signal},
};
use std::{fs, os::unix::fs::chown, path::Path};

/// The uid of a user who owns nothing here.
const UNPRIVILEGED_UID: u32 = 65_534;

/// Checks that the supervisor refuses to start, with these texts in its error, and starts no worker.
fn assert_refused(fixture: &Fixture, texts: &[&str]) -> CliOutput {
    let output = fixture.run_to_exit();
    assert_eq!(output.code, Some(1), "{output:?}");
    for text in texts {
        assert!(output.stderr.contains(text), "no {text:?} in {output:?}");
    }
    assert!(!output.stderr.contains("worker_started"), "{output:?}");
    output
}

/// A fixture in which a supervisor has run and saved ten events.
fn fixture_with_saved_state() -> Fixture {
    let bulkhead = Fixture::new("").start();
    for _ in 0..10 {
        assert_eq!(bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    }
    bulkhead.wait_until_committed();
    assert_clean_stop(bulkhead.stop(Signal::SIGTERM)).fixture
}

fn assert_clean_stop(stopped: Stopped) -> Stopped {
    assert!(stopped.status.success(), "{:?} after\n{}", stopped.status, stopped.log.dump());
    stopped
}

#[test]
fn an_unwritable_state_directory_is_refused_with_advice() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new("").run_as(UNPRIVILEGED_UID);
    assert_refused(&fixture, &["cannot create the state directory", "set state_dir", "Permission denied"]);
    fs::create_dir(fixture.path("state")).unwrap();
    assert_refused(&fixture, &["must be writable for uid 65534", "Permission denied"]);
}

#[test]
fn a_state_directory_of_another_owner_is_refused_and_not_changed() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new("");
    let state = fixture.path("state");
    fs::create_dir(&state).unwrap();
    chown(&state, Some(UNPRIVILEGED_UID), None).unwrap();
    assert_refused(&fixture, &["belongs to uid 65534", "runs as uid 0", "chown"]);
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
}

#[test]
fn a_file_in_place_of_the_state_directory_is_refused_and_not_changed() {
    let fixture = Fixture::new("");
    fs::write(fixture.path("state"), "precious").unwrap();
    assert_refused(&fixture, &["cannot create the state directory", "set state_dir"]);
    assert_eq!(fs::read(fixture.path("state")).unwrap(), b"precious");
}

#[test]
fn a_damaged_snapshot_is_refused_and_kept_until_it_is_moved_away() {
    let fixture = fixture_with_saved_state();
    let (snapshot, moved_away) = (fixture.path("state/snapshot"), fixture.path("state/aside"));
    let good = fs::read(&snapshot).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let garbage = fastrand::Rng::with_seed(7);
    let garbage = std::iter::repeat_with(|| garbage.clone().u8(..)).take(100_000).collect();
    for bad in [flipped, garbage, good[..good.len() / 2].to_vec(), Vec::new()] {
        fs::write(&snapshot, &bad).unwrap();
        assert_refused(&fixture, &["snapshot", "damaged at byte", "move it away to start empty"]);
        assert_eq!(fs::read(&snapshot).unwrap(), bad, "the file must not be changed");
    }
    // The file size exceeds any memory.
    fs::File::options().write(true).open(&snapshot).unwrap().set_len(1 << 40).unwrap();
    assert_refused(&fixture, &["damaged at byte"]);

    fs::rename(&snapshot, &moved_away).unwrap();
    let bulkhead = fixture.start();
    let lost = bulkhead.log().matching(|line| line.is("state_lost"));
    assert_eq!(lost.len(), 1, "{}", bulkhead.log().dump());
    assert_eq!(lost[0].text("level"), "ERROR");
    let next = bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap().json();
    assert_eq!(next["first_seq"], 11, "no seq may be assigned twice");
}

#[test]
fn damaged_or_missing_high_water_marks_are_refused() {
    let fixture = fixture_with_saved_state();
    let marks = fixture.path("state/marks");
    let good = fs::read(&marks).unwrap();
    for bad in [&b""[..], b"\xff\xfe\x00", b"{\"version\":1}", &[b' '; 100_000]] {
        fs::write(&marks, bad).unwrap();
        assert_refused(&fixture, &["marks is damaged", "start over with an empty state_dir"]);
        assert_eq!(fs::read(&marks).unwrap(), bad);
    }
    fs::remove_file(&marks).unwrap();
    assert_refused(&fixture, &["marks is missing, but a snapshot exists"]);

    fs::write(&marks, good).unwrap();
    assert_eq!(fixture.start().client().get_json("/v1/series/s")["count"], 10);
}

#[test]
fn a_state_directory_deleted_during_the_run_is_recreated_at_the_stop() {
    let bulkhead = Fixture::new("").start();
    assert_eq!(bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    bulkhead.wait_until_committed();
    fs::remove_dir_all(bulkhead.fixture().path("state")).unwrap();
    let stopped = assert_clean_stop(bulkhead.stop(Signal::SIGTERM));
    stopped
        .log
        .from_start()
        .wait_for("the line about the deleted directory", |line| line.raw().contains("was deleted while"));
    assert_eq!(stopped.fixture.start().client().get_json("/v1/series/s")["count"], 1);
}

/// Fills the file system that contains `folder` in the mount namespace of the supervisor. Returns the filling
/// file.
fn fill(pid: i32, folder: &Path) -> std::path::PathBuf {
    let filler =
        Path::new(&format!("/proc/{pid}/root")).join(folder.strip_prefix("/").unwrap()).join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    filler
}

#[test]
fn a_full_disk_stops_no_request_and_is_reported_at_the_stop() {
    if !is_root() {
        return;
    }
    let bulkhead = Fixture::new("").start_with_small_disk("128k");
    fill(bulkhead.pid(), &bulkhead.fixture().path("state"));
    // More series than the disk can store.
    let events: Vec<String> = (0..200).map(|n| format!(r#"{{"series":"s-{n}","value":1}}"#)).collect();
    let response = bulkhead.client().post_events(&format!("[{}]", events.join(","))).unwrap();
    assert_eq!(response.status, 202, "{response:?}");
    assert_eq!(bulkhead.wait_until_committed()["analysed"], 200);
    let mut log = bulkhead.log().from_now();
    process::signal(bulkhead.worker_pid("analytics"), Signal::SIGKILL);
    log.wait_for_worker("worker_activated", "analytics");
    assert_eq!(bulkhead.client().get_json("/v1/stats")["analysed"], 200);

    let stopped = bulkhead.stop(Signal::SIGTERM);

    assert_eq!(stopped.status.code(), Some(1), "{}", stopped.log.dump());
    let last = stopped.log.matching(|line| line.is("supervisor_stopped"));
    for text in ["nothing was saved", "No space left on device", "state/snapshot"] {
        assert!(last[0].raw().contains(text), "no {text:?} in {}", last[0].raw());
    }
}

#[test]
fn a_disk_with_free_space_again_before_the_stop_loses_nothing() {
    if !is_root() {
        return;
    }
    let bulkhead = Fixture::new("").start_with_small_disk("128k");
    let filler = fill(bulkhead.pid(), &bulkhead.fixture().path("state"));
    assert_eq!(bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    bulkhead.wait_until_committed();
    fs::remove_file(&filler).unwrap();
    eventually(bulkhead.log(), "free space on the disk", || !filler.exists());
    let stopped = assert_clean_stop(bulkhead.stop(Signal::SIGTERM));
    assert_eq!(stopped.log.matching(|line| line.is("state_saved")).len(), 1);
}

/// Kills the analysis and waits for its next activation. Returns the id of the crash report.
fn kill_analysis(bulkhead: &Bulkhead) -> u64 {
    let mut log = bulkhead.log().from_now();
    process::signal(bulkhead.worker_pid("analytics"), Signal::SIGKILL);
    let died = log.wait_for_worker("worker_died", "analytics");
    log.wait_for_worker("worker_activated", "analytics");
    died.number("crash").unwrap()
}

#[test]
fn a_full_disk_is_logged_once_for_all_crash_reports_and_later_reports_are_stored() {
    if !is_root() {
        return;
    }
    let bulkhead = Fixture::new("").start_with_small_disk("128k");
    let filler = fill(bulkhead.pid(), &bulkhead.fixture().path("state"));
    for _ in 0..3 {
        kill_analysis(&bulkhead);
    }
    assert_eq!(bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    assert_eq!(bulkhead.wait_until_committed()["analysed"], 1);
    let mut log = bulkhead.log().from_start();
    let refused = log.wait_for("the first failed report", |line| line.is("crash_report_failed"));
    assert!(refused.raw().contains("No space left on device"), "{}", refused.raw());
    fs::remove_file(&filler).unwrap();
    let crash = kill_analysis(&bulkhead);
    // The first report stored again may be an earlier one that was delayed.
    assert_eq!(crash_report(&bulkhead, crash)["id"], crash);
    log.wait_for("the end of the failure", |line| line.raw().contains("crash reports are stored again"));
    assert_eq!(bulkhead.log().matching(|line| line.is("crash_report_failed")).len(), 1);
}

/// A bind mount of the directory over itself: the supervisor holds files open for writing, so that its file
/// system cannot be remounted read-only.
const READ_ONLY: &str = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0""#;
const WRITABLE: &str = r#"mount -o remount,bind,rw "$0""#;

/// Checks that a poison event is not skipped while the disk refuses its entry, that the API continues
/// meanwhile, and that the event is quarantined after `free_disk`.
fn assert_not_skipped_until_stored(bulkhead: &Bulkhead, free_disk: impl FnOnce()) {
    let client = bulkhead.client();
    let mut log = bulkhead.log().from_now();
    assert_eq!(client.post_events(r#"{"series":"__fault.abort","value":1}"#).unwrap().status, 202);
    for _ in ["at first", "and again"] {
        let failed = log.wait_for_worker("quarantine_failed", "analytics");
        assert_eq!(failed.number("seq"), Some(1), "{}", failed.raw());
    }
    assert_eq!(client.post_events(r#"{"series":"after","value":1}"#).unwrap().status, 202);
    let stats = client.get_json("/v1/stats");
    assert_eq!((&stats["quarantined"], &stats["pending"]), (&0.into(), &2.into()), "{stats}");
    assert_eq!(client.all_items("/v1/quarantine?limit=100").len(), 0);

    free_disk();

    log.wait_for_worker("event_quarantined", "analytics");
    let stats = bulkhead.wait_until_committed();
    assert_eq!((&stats["quarantined"], &stats["analysed"]), (&1.into(), &1.into()), "{stats}");
    let entry = client.get_json("/v1/quarantine/1");
    assert_eq!((&entry["seq"], &entry["cause"]), (&1.into(), &"signal".into()), "{entry}");
}

#[test]
fn an_event_is_not_skipped_while_a_full_disk_prevents_its_quarantine() {
    if !is_root() {
        return;
    }
    let bulkhead = Fixture::new(FAULTS_ENABLED).start_with_small_disk("128k");
    let filler = fill(bulkhead.pid(), &bulkhead.fixture().path("state"));
    assert_not_skipped_until_stored(&bulkhead, || fs::remove_file(&filler).unwrap());
}

#[test]
fn an_event_is_not_skipped_while_a_read_only_disk_prevents_its_quarantine() {
    if !is_root() {
        return;
    }
    let bulkhead = Fixture::new(FAULTS_ENABLED).start_with_small_disk("128k");
    let remount = |how| bulkhead.run_in_mount_namespace(how, &[&bulkhead.fixture().path("state")]);
    remount(READ_ONLY);
    assert_not_skipped_until_stored(&bulkhead, || remount(WRITABLE));
    assert_clean_stop(bulkhead.stop(Signal::SIGTERM));
}

#[test]
fn an_unusable_crash_report_folder_is_logged_and_the_service_continues() {
    let fixture = Fixture::new("");
    fs::create_dir(fixture.path("state")).unwrap();
    fs::write(fixture.path("state/crashes"), "not a folder").unwrap();
    let bulkhead = fixture.start();
    kill_analysis(&bulkhead);
    let is_failure = |line: &Line| line.is("crash_report_failed") && line.raw().contains("state/crashes");
    bulkhead.log().from_start().wait_for("the failed report", is_failure);
    assert_eq!(bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    assert_eq!(bulkhead.wait_until_committed()["analysed"], 1);
    let response = bulkhead.client().get("/v1/crashes").unwrap();
    assert_eq!(response.status, 503, "{response:?}");
    assert_eq!(bulkhead.cli(&["crashes"]).code, Some(1));
    assert_eq!(fs::read(bulkhead.fixture().path("state/crashes")).unwrap(), b"not a folder");
    assert_clean_stop(bulkhead.stop(Signal::SIGTERM));
}
