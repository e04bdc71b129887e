//! The warm standby of the analysis: it takes over at a death, and nothing is lost or counted twice.

use crate::exactly_once::{assert_all_counted_once, write};
use bulkhead_tests::{
    Bulkhead, Fixture, eventually,
    flights::Flights,
    injection_pacer::InjectionPacer,
    log::{Line, LogReader},
    process::Signal,
    worker_killer::random_delay,
};
use fastrand::Rng;
use std::{sync::Mutex, thread};

const STANDBY: &str = "[analytics]\nstandby = true\n";
const WRITERS: usize = 4;
const KILLS: usize = 30;

/// The rows of the analysis in `/v1/workers`: state and generation.
fn rows(bulkhead: &Bulkhead) -> Vec<(String, u64)> {
    let workers = bulkhead.client().get_json("/v1/workers");
    let rows = workers["items"].as_array().unwrap().iter().filter(|row| row["name"] == "analytics");
    rows.map(|row| (row["state"].as_str().unwrap().to_owned(), row["generation"].as_u64().unwrap())).collect()
}

/// Waits until the analysis runs and its standby is ready. Returns both generations.
fn wait_for_standby(bulkhead: &Bulkhead) -> (u64, u64) {
    let mut found = None;
    eventually(bulkhead.log(), "a running analysis with a standby", || {
        if let [(running, active), (ready, standby)] = &rows(bulkhead)[..] {
            found = (running == "running" && ready == "standby").then_some((*active, *standby));
        }
        found.is_some()
    });
    found.unwrap()
}

fn pid_of(bulkhead: &Bulkhead, generation: u64) -> i32 {
    let started = |line: &Line| {
        line.is_worker_event("worker_started", "analytics") && line.number("generation") == Some(generation)
    };
    bulkhead.log().matching(started)[0].pid()
}

#[test]
fn the_standby_takes_over_at_a_death_and_a_new_one_is_started() {
    let bulkhead = Fixture::new(STANDBY).start();
    let client = bulkhead.client();
    let (active, standby) = wait_for_standby(&bulkhead);
    assert_eq!(client.get_json("/v1/stats")["analytics"].as_array().unwrap().len(), 1, "one analysis");
    assert_eq!(client.post_events(r#"{"series":"a","value":1}"#).unwrap().status, 202);
    bulkhead.wait_until_committed();
    let mut log = bulkhead.log().from_now();
    bulkhead.signal_worker(pid_of(&bulkhead, active), Signal::SIGKILL);
    let died = log.wait_for_worker("worker_died", "analytics");
    assert_eq!(died.text("next"), format!("generation {standby} takes over"), "{died:?}");
    let activated = log.wait_for_worker("worker_activated", "analytics");
    assert_eq!(activated.number("generation"), Some(standby));
    assert_eq!(client.post_events(r#"{"series":"a","value":2}"#).unwrap().status, 202);
    bulkhead.wait_until_committed();
    assert_eq!(client.get_json("/v1/series/a")["sum"], 3);
    let (now_active, next) = wait_for_standby(&bulkhead);
    assert!(now_active == standby && next > standby, "{now_active} {next}");
}

#[test]
fn the_death_of_the_standby_changes_nothing_and_a_restart_uses_a_new_process() {
    let bulkhead = Fixture::new(STANDBY).start();
    let (active, standby) = wait_for_standby(&bulkhead);
    let mut log = bulkhead.log().from_now();
    bulkhead.signal_worker(pid_of(&bulkhead, standby), Signal::SIGKILL);
    let died = log.wait_for_worker("worker_died", "analytics");
    assert_eq!(died.number("generation"), Some(standby));
    assert_eq!(rows(&bulkhead), [("running".to_owned(), active)]);
    assert_eq!(bulkhead.cli(&["restart", "analytics"]).code, Some(0));
    let (restarted, next) = wait_for_standby(&bulkhead);
    assert!(restarted > standby && next > restarted, "{restarted} {next}");
    assert_eq!(bulkhead.cli(&["stop", "analytics"]).code, Some(0));
    assert_eq!(rows(&bulkhead), [("stopped".to_owned(), restarted)]);
}

#[test]
fn a_reload_switches_the_standby_on_and_off() {
    let bulkhead = Fixture::new("").start();
    assert_eq!(rows(&bulkhead).len(), 1);
    bulkhead.fixture().write_config(STANDBY);
    let reload = bulkhead.cli(&["reload"]);
    assert_eq!(reload.code, Some(0), "{reload:?}");
    let (active, _) = wait_for_standby(&bulkhead);
    bulkhead.fixture().write_config("[analytics]\nstandby = false\n");
    assert_eq!(bulkhead.cli(&["reload"]).code, Some(0));
    eventually(bulkhead.log(), "the end of the standby", || {
        rows(&bulkhead) == [("running".to_owned(), active)]
    });
}

/// Kills the active generation, at a random moment after its activation, and sometimes its standby with it: `true`. The next
/// standby is then started after ten seconds, and is not waited for.
fn kill_active(bulkhead: &Bulkhead, log: &mut LogReader, rng: &mut Rng, standby_died: bool) -> bool {
    let active = log.wait_for_worker("worker_activated", "analytics");
    if rng.bool() && !standby_died {
        // The standby is ready, or nearly so.
        log.clone().wait_for_worker("worker_started", "analytics");
    }
    random_delay(rng);
    let newest = bulkhead.worker_pid("analytics");
    bulkhead.signal_worker(active.pid(), Signal::SIGKILL);
    let kill_standby = rng.u8(..6) == 0 && newest != active.pid();
    if kill_standby {
        bulkhead.signal_worker(newest, Signal::SIGKILL);
    }
    kill_standby
}

#[test]
fn every_event_is_counted_exactly_once_while_generations_and_their_standbys_are_killed() {
    let flights = Flights::load();
    let bulkhead = Fixture::new(STANDBY).start();
    let mut rng = Rng::with_seed(0x57a_4db1);
    let pacer = InjectionPacer::new(flights.len(), KILLS, &mut rng);
    let batches = Mutex::new(flights.batches(0, flights.len(), &mut rng).into_iter());
    thread::scope(|scope| {
        (0..WRITERS).for_each(|_| drop(scope.spawn(|| write(&bulkhead, &pacer, &batches))));
        let mut log = bulkhead.log().from_start();
        let mut standby_died = false;
        pacer.inject_each(0..KILLS, |_| {
            standby_died = kill_active(&bulkhead, &mut log, &mut rng, standby_died);
        });
    });
    assert_all_counted_once(&bulkhead, &flights);
    let takes_over = |line: &Line| {
        line.is_worker_event("worker_died", "analytics") && line.text("next").ends_with("takes over")
    };
    assert!(!bulkhead.log().matching(takes_over).is_empty(), "a standby took over");
    assert!(bulkhead.client().get_json("/v1/stats")["analytics"][0]["restarts"] != 0);
}
