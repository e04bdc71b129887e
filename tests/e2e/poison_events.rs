//! Events that kill the analysis each time: they are quarantined after `max_attempts` deaths, and all others
//! are counted.

use crate::common::{FAULTS_ENABLED, crash_report};
use bulkhead_proto::wire::fault::FaultKind;
use bulkhead_tests::{
    Bulkhead, Fixture,
    background_readers::with_background_readers,
    event_id::{EventId, SeriesTotals},
    eventually,
    expected_death::death_matches,
    http::Client,
    process::Signal,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, thread,
};

/// Writers at the same time, requests of each writer, and ordinary events of each request.
const WRITERS: usize = 4;
const REQUESTS: usize = 250;
const EVENTS: usize = 100;

/// Clients that read at the same time.
const READERS: usize = 1;

/// A SIGKILL may come from outside: an event is quarantined only after this number of them.
const KILLS_TO_QUARANTINE: usize = 8;

/// Posts one event that triggers this fault. Returns its seq.
fn post_poison_event(client: &Client, kind: FaultKind) -> u64 {
    let response = client.post_events(&format!(r#"{{"series":"__fault.{kind}","value":1}}"#)).unwrap();
    assert_eq!(response.status, 202, "{response:?}");
    response.json()["first_seq"].as_u64().unwrap()
}

/// The quarantine entry of an event, read from the disk.
fn stored_entry(bulkhead: &Bulkhead, seq: u64) -> Value {
    let path = bulkhead.fixture().path(&format!("state/quarantine/{seq}.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn count_deaths_of(bulkhead: &Bulkhead, seq: u64) -> usize {
    let deaths = bulkhead.log().matching(|line| line.is_worker_event("worker_died", "analytics"));
    deaths.iter().filter(|death| death.number("seq") == Some(seq)).count()
}

/// The writer and the request that send the poison event of this fault kind.
fn poison_place(kind: usize) -> (usize, usize) {
    (kind % WRITERS, (kind / WRITERS + 1) * REQUESTS / (FaultKind::ALL.len() / WRITERS + 2))
}

/// Sends the requests of one writer. The events have ids; some requests also have a poison event in the
/// middle. Returns the seqs of the poison events.
fn write(bulkhead: &Bulkhead, writer: usize) -> Vec<(u64, FaultKind)> {
    let (client, mut poison_events) = (bulkhead.client(), Vec::new());
    for request in 0..REQUESTS {
        let ids = (request * EVENTS..).map(|number| EventId { writer, number });
        let mut events: Vec<String> = ids
            .take(EVENTS)
            .map(|id| format!(r#"{{"series":"{}","value":{}}}"#, id.series(), id.value()))
            .collect();
        let kind =
            FaultKind::ALL.iter().enumerate().find(|(number, _)| poison_place(*number) == (writer, request));
        if let Some((_, kind)) = kind {
            events.insert(EVENTS / 2, format!(r#"{{"series":"__fault.{kind}","value":1}}"#));
        }
        let response = client.post_events(&format!("[{}]", events.join(","))).unwrap();
        assert_eq!(response.status, 202, "{response:?}");
        let first = response.json()["first_seq"].as_u64().unwrap();
        poison_events.extend(kind.map(|(_, kind)| (first + EVENTS as u64 / 2, *kind)));
    }
    poison_events
}

/// Runs all writers at the same time. Returns the seqs of the poison events.
fn write_all(bulkhead: &Bulkhead) -> BTreeMap<u64, FaultKind> {
    thread::scope(|scope| {
        let write = |writer| scope.spawn(move || write(bulkhead, writer));
        let writers: Vec<_> = (0..WRITERS).map(write).collect();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    })
}

/// Checks by id that each ordinary event was counted once, and no other event.
fn assert_each_counted_once(client: &Client) {
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for writer in 0..WRITERS {
        for id in (0..REQUESTS * EVENTS).map(|number| EventId { writer, number }) {
            *expected.entry(id.series()).or_default() |= id.value();
        }
    }
    let found: Vec<SeriesTotals> = client.all_series().values().map(SeriesTotals::of).collect();
    for counted in &found {
        assert!(counted.each_counted_once(), "an event was counted twice: {counted:?}");
    }
    let found = found.into_iter().map(|counted| (counted.series, counted.sum.unwrap()));
    assert_eq!(found.collect::<BTreeMap<_, _>>(), expected);
}

/// Checks that an event of this kind was quarantined for the expected cause and after the expected number of
/// deaths.
fn assert_quarantined(bulkhead: &Bulkhead, seq: u64, kind: FaultKind) {
    let entry = stored_entry(bulkhead, seq);
    assert_eq!(entry["event"]["series"], format!("__fault.{kind}"), "{entry}");
    let deaths = if kind == FaultKind::Kill { KILLS_TO_QUARANTINE } else { 2 };
    assert_eq!((&entry["seq"], &entry["attempts"]), (&seq.into(), &deaths.into()), "{entry}");
    let [cause, detail] = ["cause", "detail"].map(|field| entry[field].as_str().unwrap());
    assert!(death_matches(kind, cause, detail), "unexpected cause or detail for {kind}: {entry}");
    assert_eq!(count_deaths_of(bulkhead, seq), deaths, "{}", bulkhead.log().dump());
    assert_report_matches(bulkhead, &entry);
}

/// Checks that the crash report to which an entry refers describes the same death.
fn assert_report_matches(bulkhead: &Bulkhead, entry: &Value) {
    let report = crash_report(bulkhead, entry["crash"].as_u64().unwrap());
    for field in ["worker", "generation", "seq", "event", "during", "cause", "detail", "attempts"] {
        assert!(!entry[field].is_null(), "no {field} in {entry}");
        assert_eq!(report[field], entry[field], "{field}: {report}, {entry}");
    }
}

/// Waits until the log has `count` quarantined events. Returns their seqs.
fn logged_quarantines(bulkhead: &Bulkhead, count: usize) -> BTreeSet<u64> {
    let mut log = bulkhead.log().from_start();
    let mut next = || log.wait_for_worker("event_quarantined", "analytics").number("seq").unwrap();
    (0..count).map(|_| next()).collect()
}

#[test]
fn poison_events_of_each_kind_among_100_000_are_quarantined_and_every_other_event_is_counted_once() {
    let bulkhead = Fixture::new(FAULTS_ENABLED).start();
    let (poison_events, stats) = with_background_readers(&bulkhead, READERS, || {
        let poison_events = write_all(&bulkhead);
        (poison_events, bulkhead.wait_until_committed())
    });
    assert_eq!(poison_events.len(), FaultKind::ALL.len());

    let (ordinary, quarantined) = (WRITERS * REQUESTS * EVENTS, poison_events.len());
    assert_eq!(
        (&stats["analysed"], &stats["quarantined"]),
        (&ordinary.into(), &quarantined.into()),
        "{stats}"
    );
    assert_eq!(stats["accepted"], ordinary + quarantined, "{stats}");
    assert_each_counted_once(&bulkhead.client());
    // The log may arrive after the responses. All deaths are logged before these lines.
    assert_eq!(logged_quarantines(&bulkhead, quarantined), poison_events.keys().copied().collect());
    poison_events.iter().for_each(|(seq, kind)| assert_quarantined(&bulkhead, *seq, *kind));
    let listed = bulkhead.client().all_items("/v1/quarantine?limit=100");
    let listed: Vec<u64> = listed.iter().filter_map(|entry| entry["seq"].as_u64()).collect();
    assert_eq!(listed, poison_events.keys().copied().collect::<Vec<_>>());
    for (event_name, times) in [("worker_parked", 0), ("event_quarantined", quarantined)] {
        assert_eq!(bulkhead.log().matching(|line| line.is(event_name)).len(), times, "{event_name}");
    }
}

#[test]
fn fifty_poison_events_in_a_row_after_good_ones_do_not_park_the_analysis() {
    let bulkhead = Fixture::new(FAULTS_ENABLED).start();
    let client = bulkhead.client();
    // Fifty of the last thousand events are fewer than `analytics.brake` allows.
    let good = [r#"{"series":"before","value":1}"#; 1_000].join(",");
    assert_eq!(client.post_events(&format!("[{good}]")).unwrap().status, 202);
    bulkhead.wait_until_committed();
    let events = [r#"{"series":"__fault.segv","value":1}"#; 50].join(",");
    let response = client.post_events(&format!(r#"[{events},{{"series":"after","value":1}}]"#)).unwrap();
    assert_eq!(response.status, 202, "{response:?}");
    let stats = bulkhead.wait_until_committed();
    assert_eq!((&stats["quarantined"], &stats["analysed"]), (&50.into(), &1_001.into()), "{stats}");
    for event_name in ["worker_parked", "worker_braked"] {
        assert_eq!(bulkhead.log().matching(|line| line.is(event_name)).len(), 0, "{event_name}");
    }
}

#[test]
fn an_event_that_cannot_be_stored_is_not_skipped_while_the_api_accepts_and_answers() {
    let bulkhead = Fixture::new(&format!("{FAULTS_ENABLED}[restart]\nlimit = 4\n")).start();
    let client = bulkhead.client();
    let folder = bulkhead.fixture().path("state/quarantine");
    fs::remove_dir(&folder).unwrap();
    fs::write(&folder, "not a folder").unwrap();
    let mut log = bulkhead.log().from_now();

    let seq = post_poison_event(&client, FaultKind::Abort);

    let failed = log.wait_for_worker("quarantine_failed", "analytics");
    assert_eq!(failed.number("seq"), Some(seq), "{}", failed.raw());
    log.wait_for_worker("worker_parked", "analytics");
    assert_eq!(client.post_events(r#"{"series":"after","value":1}"#).unwrap().status, 202);
    let stats = client.get_json("/v1/stats");
    assert_eq!((&stats["quarantined"], &stats["pending"]), (&0.into(), &2.into()), "{stats}");
    assert_eq!(client.get_json("/readyz")["analytics"], "parked");

    fs::remove_file(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    let output = bulkhead.cli(&["start", "analytics"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    log.wait_for_worker("event_quarantined", "analytics");
    let stats = bulkhead.wait_until_committed();
    assert_eq!((&stats["quarantined"], &stats["analysed"]), (&1.into(), &1.into()), "{stats}");
    assert_eq!(stored_entry(&bulkhead, seq)["seq"], seq);
}

#[test]
fn quarantined_events_stay_quarantined_across_a_stop_and_a_start() {
    let bulkhead = Fixture::new(FAULTS_ENABLED).start();
    let client = bulkhead.client();
    post_poison_event(&client, FaultKind::Panic);
    bulkhead.wait_until_committed();
    assert_eq!(bulkhead.cli(&["stop", "analytics"]).code, Some(0));
    let events = r#"[{"series":"good","value":1},{"series":"__fault.abort","value":1}]"#;
    assert_eq!(client.post_events(events).unwrap().status, 202);
    let fixture = bulkhead.stop(Signal::SIGTERM).fixture;
    let saved = ["snapshot", "marks"].map(|name| fixture.path("state").join(name));
    let before = saved.each_ref().map(|path| fs::read(path).unwrap());
    let bulkhead = fixture.start();
    bulkhead.wait_until_committed();
    let fixture = bulkhead.stop(Signal::SIGTERM).fixture;
    // The event is stored and its skip is not committed: as if the stop had come right after the store.
    saved.iter().zip(before).for_each(|(path, bytes)| fs::write(path, bytes).unwrap());

    let bulkhead = fixture.start();

    let stats = bulkhead.wait_until_committed();
    assert_eq!((&stats["quarantined"], &stats["analysed"]), (&2.into(), &1.into()), "{stats}");
    assert_eq!(bulkhead.client().all_series().keys().collect::<Vec<_>>(), ["good"]);
    assert_eq!(bulkhead.log().matching(|line| line.is_worker_event("worker_died", "analytics")).len(), 0);
}

#[test]
fn an_event_is_quarantined_after_max_attempts_deaths() {
    let bulkhead = Fixture::new(&format!("{FAULTS_ENABLED}[analytics]\nmax_attempts = 4\n")).start();
    let seq = post_poison_event(&bulkhead.client(), FaultKind::Exit);
    let quarantined = bulkhead.log().from_start().wait_for_worker("event_quarantined", "analytics");
    assert_eq!(quarantined.number("attempts"), Some(4), "{}", quarantined.raw());
    assert_eq!(count_deaths_of(&bulkhead, seq), 4);
}

#[test]
fn a_requested_kill_is_not_attributed_to_an_event() {
    let bulkhead = Fixture::new(FAULTS_ENABLED).start();
    let client = bulkhead.client();
    for round in 0..10 {
        let events = vec![format!(r#"{{"series":"s","value":{round}}}"#); 500].join(",");
        assert_eq!(client.post_events(&format!("[{events}]")).unwrap().status, 202);
        let mut log = bulkhead.log().from_now();
        let output = bulkhead.cli(&["fault", "analytics", "kill"]);
        assert_eq!(output.code, Some(0), "{output:?}");
        log.wait_for_worker("worker_activated", "analytics");
    }
    let stats = bulkhead.wait_until_committed();
    assert_eq!((&stats["quarantined"], &stats["analysed"]), (&0.into(), &5000.into()), "{stats}");
}

#[test]
fn a_parked_worker_is_started_by_command() {
    let config =
        "[restart]\nlimit = 2\n[[worker]]\nname = \"weak\"\ncommand = [\"sh\", \"-c\", \"exit 7\"]\n";
    let bulkhead = Fixture::new(config).start();
    let mut log = bulkhead.log().from_start();
    let died = log.wait_for_worker("worker_died", "weak");
    assert_eq!(died.text("cause"), "exit", "{}", died.raw());
    assert!(died.text("detail").contains('7'), "{}", died.raw());
    log.wait_for_worker("worker_parked", "weak");
    let output = bulkhead.cli(&["start", "weak"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    log.wait_for_worker("worker_started", "weak");
    eventually(bulkhead.log(), "the worker in the status", || {
        bulkhead.cli(&["status"]).stdout.contains("weak")
    });
}
