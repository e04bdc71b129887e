//! Events with 1 MiB of data: counted once, quarantined, shown and replayed. Events without a value.

use crate::common::crash_report;
use bulkhead_tests::{
    Bulkhead, Fixture, eventually,
    http::{Client, RequestError},
    process::Signal,
    resource_usage::ResourceUsage,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// 1 MiB, for the largest data.
const MIB: usize = 1 << 20;

/// Events of the largest size are accepted, and faults are enabled.
const CONFIG: &str = "[api]\nmax_event = \"1MiB\"\n[faults]\nenabled = true\n";

/// Events that are sent, and events of each series, which have the values 1, 2, 4, …
const EVENTS: usize = 100;
const EVENTS_OF_SERIES: usize = 25;

/// The most private memory of the API and of the analysis after these events, in KiB. The events have 100 MiB.
const MAX_MEMORY_KIB: u64 = 16 << 10;

/// JSON text of this length that differs for each number.
fn data(number: usize, length: usize) -> String {
    format!("\"{number:04}{}\"", "d".repeat(length - 6))
}

fn event(number: usize) -> String {
    let (series, value) = (number / EVENTS_OF_SERIES, 1_u64 << (number % EVENTS_OF_SERIES));
    format!(r#"{{"series":"large-{series}","value":{value},"data":{}}}"#, data(number, MIB))
}

/// Posts an event, again and again while the ring is full.
fn post_when_there_is_room(bulkhead: &Bulkhead, client: &Client, body: &str) {
    eventually(bulkhead.log(), "room in the ring", || {
        let response = client.post_events(body).unwrap();
        assert!(matches!(response.status, 202 | 503), "{response:?}");
        response.status == 202
    });
}

#[test]
fn events_of_the_largest_size_are_counted_once_although_the_analysis_is_stopped_and_killed() {
    let bulkhead = Fixture::new(CONFIG).start();
    let client = bulkhead.client();
    assert_eq!(bulkhead.cli(&["stop", "analytics"]).code, Some(0));
    let mut next = 0;
    while client.post_events(&event(next)).unwrap().status == 202 {
        next += 1;
    }
    assert_eq!(next, 63, "an event takes 1 MiB and some bytes of a ring of 64 MiB");
    assert_eq!(client.get_json("/v1/stats")["accepted"], next);
    assert_eq!(bulkhead.cli(&["start", "analytics"]).code, Some(0));
    for number in next..EVENTS {
        if number == 80 {
            bulkhead
                .signal_worker(bulkhead.last_line("worker_activated", "analytics").pid(), Signal::SIGKILL);
        }
        post_when_there_is_room(&bulkhead, &client, &event(number));
    }
    let stats = bulkhead.wait_until_committed();
    assert_eq!((&stats["accepted"], &stats["analysed"]), (&json!(EVENTS), &json!(EVENTS)), "{stats}");
    let found: BTreeMap<_, _> = client
        .all_series()
        .into_iter()
        .map(|(name, series)| (name, series["sum"].as_u64().unwrap()))
        .collect();
    let all = (1_u64 << EVENTS_OF_SERIES) - 1;
    let expected = (0..EVENTS / EVENTS_OF_SERIES).map(|series| (format!("large-{series}"), all));
    assert_eq!(found, expected.collect());
    for pid in [bulkhead.worker_pid("api"), bulkhead.last_line("worker_activated", "analytics").pid()] {
        let usage = ResourceUsage::of(pid);
        assert!(usage.anonymous < MAX_MEMORY_KIB, "{usage:?}\n{}", bulkhead.log().dump());
    }
}

#[test]
fn pending_events_of_the_largest_size_survive_a_stop() {
    let bulkhead = Fixture::new(CONFIG).start();
    assert_eq!(bulkhead.cli(&["stop", "analytics"]).code, Some(0));
    for number in 0..4 {
        assert_eq!(bulkhead.client().post_events(&event(number)).unwrap().status, 202);
    }
    let stopped = bulkhead.stop(Signal::SIGTERM);
    assert!(stopped.status.success(), "{:?} after\n{}", stopped.status, stopped.log.dump());
    let again = stopped.fixture.start();
    assert_eq!(again.wait_until_committed()["analysed"], 4);
    assert_eq!(again.client().get_json("/v1/series/large-0")["sum"], 0b1111);
}

/// Posts an event with 1 MiB of data that panics each time. Returns its seq when it is quarantined and skipped.
fn quarantine_large_event(bulkhead: &Bulkhead) -> u64 {
    let body = format!(r#"{{"series":"__fault.panic","data":{}}}"#, data(1, MIB));
    let response = bulkhead.client().post_events(&body).unwrap();
    assert_eq!(response.status, 202, "{response:?}");
    bulkhead.wait_until_committed();
    response.json()["first_seq"].as_u64().unwrap()
}

#[test]
fn a_large_poison_event_is_quarantined_shown_and_replayed_completely() {
    let bulkhead = Fixture::new(CONFIG).start();
    let client = bulkhead.client();
    let seq = quarantine_large_event(&bulkhead);
    let whole = data(1, MIB);

    let path = bulkhead.fixture().path(&format!("state/quarantine/{seq}.json"));
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let report = crash_report(&bulkhead, file["crash"].as_u64().unwrap());
    let listed = client.get_json("/v1/quarantine")["items"][0].clone();
    for (what, event) in [("file", &file["event"]), ("report", &report["event"]), ("list", &listed["event"])]
    {
        assert_eq!((&event["data"], &event["data_bytes"]), (&json!(whole[..4096]), &json!(MIB)), "{what}");
        assert_eq!(event.get("value"), None, "{what}");
    }

    let number = seq.to_string();
    let shown = bulkhead.cli(&["quarantine", "show", &number]).stdout;
    assert!(
        shown.len() < 8192 && shown.contains("no value") && shown.contains("1048576 bytes in all"),
        "{shown}"
    );
    let by_command = bulkhead.cli(&["quarantine", "show", &number, "--json"]).stdout;
    let by_command: Value = serde_json::from_str(&by_command).unwrap();
    assert_eq!(by_command["event"]["data"], json!(whole));
    assert!(by_command["bytes"].as_str().unwrap().len() > 2 * MIB, "two digits a byte");
    assert_eq!(by_command, client.get_json(&format!("/v1/quarantine/{seq}")));

    // It kills the analysis again, and is quarantined again.
    assert_eq!(bulkhead.cli(&["quarantine", "replay", &number]).code, Some(0));
    let stats = bulkhead.wait_until_committed();
    assert_eq!((&stats["accepted"], &stats["quarantined"]), (&json!(2), &json!(2)), "{stats}");
    let again = client.get_json(&format!("/v1/quarantine/{}", seq + 1));
    assert_eq!(again["event"]["request_id"], format!("replay-of-{seq}"));
    assert_eq!(again["event"]["data"], json!(whole));
}

#[test]
fn events_without_a_value_count_with_their_labels() {
    let bulkhead = Fixture::new("").start();
    let client = bulkhead.client();
    let lines = "{\"series\":\"s\",\"data\":{\"a\":1},\"label\":\"tea\"}\n{\"series\":\"s\",\"value\":3}\n";
    assert_eq!(client.post("/v1/events", "application/x-ndjson", lines).unwrap().status, 202);
    assert_eq!(client.post_events(r#"{"series":"none","value":null,"data":[]}"#).unwrap().status, 202);
    assert_eq!(client.post_events(r#"{"series":"none","value":null}"#).unwrap().status, 400);
    bulkhead.wait_until_committed();
    let series = client.get_json("/v1/series/s");
    assert_eq!((&series["count"], &series["mean"]), (&json!(2), &json!(3)), "{series}");
    assert_eq!(series["top_labels"], json!([{ "label": "tea", "count": 1 }]), "{series}");
    let none = client.get_json("/v1/series/none");
    assert_eq!(
        (&none["count"], &none["mean"], &none["last"]["value"]),
        (&json!(1), &Value::Null, &Value::Null)
    );
}

/// Replaces the configuration, and reloads it. Returns the exit code, and what the command printed.
fn reload(bulkhead: &Bulkhead, config: &str) -> (Option<i32>, String) {
    bulkhead.fixture().write_config(config);
    let output = bulkhead.cli(&["reload"]);
    (output.code, output.stdout + &output.stderr)
}

#[test]
fn a_reload_changes_the_largest_event_within_what_the_ring_of_the_run_takes() {
    let bulkhead = Fixture::new("[link]\ncapacity = \"4MiB\"\n").start();
    let post = |length| {
        let body = format!(r#"{{"series":"s","value":1,"data":{}}}"#, data(1, length));
        bulkhead.client().post_events(&body).map(|response| response.status)
    };
    assert!(matches!((post(64 << 10), post((64 << 10) + 1)), (Ok(202), Ok(400))));

    let both = "[api]\nmax_event = \"1MiB\"\n[link]\ncapacity = \"16MiB\"\n";
    let (code, printed) = reload(&bulkhead, both);
    assert_eq!(code, Some(2), "{printed}");
    let expected =
        "api.max_event \"1MiB\" needs a link.capacity of \"16MiB\" or more, and the ring has \"4MiB\"";
    assert!(printed.contains(expected), "{printed}");

    let (code, printed) = reload(&bulkhead, "[api]\nmax_event = \"256KiB\"\n[link]\ncapacity = \"4MiB\"\n");
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.starts_with("api: max_event changed: replaced"), "{printed}");
    let statuses: [Result<u16, RequestError>; 2] = [post(256 << 10), post((256 << 10) + 1)];
    assert!(matches!(statuses, [Ok(202), Ok(400)]), "{statuses:?}");
}
