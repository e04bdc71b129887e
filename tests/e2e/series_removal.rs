//! Series that are removed on request or expire: each event counts exactly once, in the series of its time, whatever process
//! dies meanwhile.

use bulkhead_tests::{
    Bulkhead, Fixture, http::Client, injection_pacer::InjectionPacer, process::Signal,
    worker_killer::WorkerKiller,
};
use fastrand::Rng;
use serde_json::Value;
use std::{thread, time::Duration};

const WRITERS: usize = 4;
const REQUESTS: usize = 200;
const KILLS: usize = 15;

fn post(client: &Client, series: &str, value: usize) {
    let event = format!(r#"{{"series":"{series}","value":{value}}}"#);
    assert_eq!(client.post_events(&event).unwrap().status, 202);
}

/// Removes a series. `false`: there is none.
fn remove(client: &Client, series: &str) -> bool {
    let response = client.delete(&format!("/v1/series/{series}")).unwrap();
    assert!([202, 404].contains(&response.status), "{response:?}");
    response.status == 202
}

/// Posts to a series of its own, and removes it now and then. Returns count and sum of the events since the last removal.
fn write_and_remove(client: &Client, pacer: &InjectionPacer, series: &str, mut rng: Rng) -> (usize, usize) {
    let mut expected = (0, 0);
    for value in 1..=REQUESTS {
        pacer.begin_work(1);
        if rng.u8(..8) == 0 {
            let had_events = expected.0 > 0;
            assert!(remove(client, series) || !had_events, "{series} has events");
            expected = (0, 0);
        } else {
            post(client, series, value);
            expected = (expected.0 + 1, expected.1 + value);
        }
        pacer.end_work(1);
    }
    expected
}

fn assert_series(bulkhead: &Bulkhead, expected: &[(usize, usize)]) {
    let stats = bulkhead.wait_until_committed();
    let listed = bulkhead.client().all_series();
    for (writer, (count, sum)) in expected.iter().enumerate() {
        let name = format!("w{writer}");
        match listed.get(&name) {
            Some(series) => {
                assert_eq!((&series["count"], &series["sum"]), (&(*count).into(), &(*sum).into()), "{name}");
            }
            None => assert_eq!(*count, 0, "{name} is missing"),
        }
    }
    assert_eq!(stats["accepted"], stats["analysed"], "{stats}");
    assert_eq!(stats["series"]["count"], listed.len(), "{stats}");
}

#[test]
fn each_event_counts_in_the_series_of_its_time_while_series_are_removed_and_the_analysis_is_killed() {
    let bulkhead = Fixture::new("").start();
    let mut rng = Rng::with_seed(0x5e_71e5);
    let pacer = InjectionPacer::new(WRITERS * REQUESTS, KILLS, &mut rng);
    let expected: Vec<_> = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (rng, pacer, client) = (rng.fork(), &pacer, bulkhead.client());
                scope.spawn(move || write_and_remove(&client, pacer, &format!("w{writer}"), rng))
            })
            .collect();
        let mut killer = WorkerKiller::new(&bulkhead, "analytics", rng.fork());
        pacer.inject_each(0..KILLS, |_| killer.kill_next_generation());
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    assert_series(&bulkhead, &expected);
    assert!(bulkhead.client().get_json("/v1/stats")["series"]["removed"].as_u64().unwrap() > 0);
    // And after an orderly restart of the service.
    let stopped = bulkhead.stop(Signal::SIGTERM);
    assert_series(&stopped.fixture.start(), &expected);
}

#[test]
fn a_removal_is_accepted_while_the_analysis_is_stopped_and_repeated_with_a_key() {
    let bulkhead = Fixture::new("").start();
    let client = bulkhead.client();
    post(&client, "a", 1);
    bulkhead.wait_until_committed();
    assert_eq!(bulkhead.cli(&["stop", "analytics"]).code, Some(0));
    assert!(remove(&client, "a"));
    post(&client, "a", 5);
    assert_eq!(client.get_json("/v1/series/a")["sum"], 1, "the last commit");
    assert_eq!(bulkhead.cli(&["start", "analytics"]).code, Some(0));
    bulkhead.wait_until_committed();
    assert_eq!(client.get_json("/v1/series/a")["sum"], 5);
}

/// Reads a series until it is gone.
fn wait_until_gone(client: &Client, series: &str) {
    while client.get(&format!("/v1/series/{series}")).unwrap().status != 404 {
        thread::sleep(Duration::from_millis(20));
    }
}

fn expired(client: &Client) -> Value {
    client.get_json("/v1/stats")["series"]["expired"].clone()
}

#[test]
fn a_series_without_events_expires_while_the_service_is_idle_and_across_deaths() {
    let bulkhead = Fixture::new("[analytics]\nexpire = \"1s\"\n").start();
    let client = bulkhead.client();
    post(&client, "a", 1);
    bulkhead.wait_until_committed();
    wait_until_gone(&client, "a");
    assert_eq!(expired(&client), 1);
    bulkhead.log().from_start().wait_for_worker("series_expired", "analytics");

    // A generation that has not opened the series removes it, too.
    post(&client, "b", 1);
    bulkhead.wait_until_committed();
    let mut log = bulkhead.log().from_now();
    bulkhead.signal_worker(bulkhead.worker_pid("analytics"), Signal::SIGKILL);
    log.wait_for_worker("worker_activated", "analytics");
    wait_until_gone(&client, "b");
    assert_eq!(expired(&client), 2);
}
