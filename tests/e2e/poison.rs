//! Events that kill the analysis each time: set aside after `max_attempts` deaths, while all others go on.

use crate::{FAULTS, crashes::report};
use bulkhead_proto::wire::fault::FaultKind;
use bulkhead_tests::{
    Bulkhead, Home, eventually,
    faults::is_told,
    http::Client,
    ids::{Counted, EventId},
    process::Signal,
    reading::while_read,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, thread,
};

/// How many writers there are at once, how many requests each makes, and how many ordinary events each of these has.
const WRITERS: usize = 4;
const REQUESTS: usize = 250;
const EVENTS: usize = 100;

/// So many clients read meanwhile.
const READERS: usize = 1;

/// A SIGKILL may have come from outside: it takes so many to set an event aside.
const KILLS: usize = 8;

/// Posts one event that kills in this way; its number.
fn poison(client: &Client, kind: FaultKind) -> u64 {
    let answer = client.post_events(&format!(r#"{{"series":"__fault.{kind}","value":1}}"#)).unwrap();
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["first_seq"].as_u64().unwrap()
}

/// What is kept of an event that was set aside.
fn kept(bulkhead: &Bulkhead, seq: u64) -> Value {
    let path = bulkhead.home().path(&format!("state/quarantine/{seq}.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn deaths_of(bulkhead: &Bulkhead, seq: u64) -> usize {
    let deaths = bulkhead.log().all(|line| line.tells("worker_died", "analytics"));
    deaths.iter().filter(|death| death.number("seq") == Some(seq)).count()
}

/// How a poison event of that place among all kinds gets into the stream: by which writer, in which of its requests.
fn place(kind: usize) -> (usize, usize) {
    (kind % WRITERS, (kind / WRITERS + 1) * REQUESTS / (FaultKind::ALL.len() / WRITERS + 2))
}

/// One of several writers, whose events tell which of them are counted; in the midst of a request here and there, a
/// poison event. The numbers that these got.
fn write(bulkhead: &Bulkhead, writer: usize) -> Vec<(u64, FaultKind)> {
    let (client, mut poisons) = (bulkhead.client(), Vec::new());
    for request in 0..REQUESTS {
        let ids = (request * EVENTS..).map(|number| EventId { writer, number });
        let mut events: Vec<String> = ids
            .take(EVENTS)
            .map(|id| format!(r#"{{"series":"{}","value":{}}}"#, id.series(), id.value()))
            .collect();
        let kind = FaultKind::ALL.iter().enumerate().find(|(number, _)| place(*number) == (writer, request));
        if let Some((_, kind)) = kind {
            events.insert(EVENTS / 2, format!(r#"{{"series":"__fault.{kind}","value":1}}"#));
        }
        let answer = client.post_events(&format!("[{}]", events.join(","))).unwrap();
        assert_eq!(answer.status, 202, "{answer:?}");
        let first = answer.json()["first_seq"].as_u64().unwrap();
        poisons.extend(kind.map(|(_, kind)| (first + EVENTS as u64 / 2, *kind)));
    }
    poisons
}

/// All writers at once; the poison events' numbers.
fn write_all(bulkhead: &Bulkhead) -> BTreeMap<u64, FaultKind> {
    thread::scope(|scope| {
        let write = |writer| scope.spawn(move || write(bulkhead, writer));
        let writers: Vec<_> = (0..WRITERS).map(write).collect();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    })
}

/// Every ordinary event is counted once, by id, and nothing else is.
fn assert_each_counted_once(client: &Client) {
    let mut wanted: BTreeMap<String, u64> = BTreeMap::new();
    for writer in 0..WRITERS {
        for id in (0..REQUESTS * EVENTS).map(|number| EventId { writer, number }) {
            *wanted.entry(id.series()).or_default() |= id.value();
        }
    }
    let found: Vec<Counted> = client.all_series().values().map(Counted::of).collect();
    for counted in &found {
        assert!(counted.is_set(), "one was counted twice: {counted:?}");
    }
    let found = found.into_iter().map(|counted| (counted.series, counted.sum.unwrap()));
    assert_eq!(found.collect::<BTreeMap<_, _>>(), wanted);
}

/// An event of this kind was set aside, for the right cause and after so many deaths as it takes.
fn assert_set_aside(bulkhead: &Bulkhead, seq: u64, kind: FaultKind) {
    let entry = kept(bulkhead, seq);
    assert_eq!(entry["event"]["series"], format!("__fault.{kind}"), "{entry}");
    let deaths = if kind == FaultKind::Kill { KILLS } else { 2 };
    assert_eq!((&entry["seq"], &entry["attempts"]), (&seq.into(), &deaths.into()), "{entry}");
    let [cause, detail] = ["cause", "detail"].map(|field| entry[field].as_str().unwrap());
    assert!(is_told(kind, cause, detail), "not how {kind} is told: {entry}");
    assert_eq!(deaths_of(bulkhead, seq), deaths, "{}", bulkhead.log().dump());
    assert_reported(bulkhead, &entry);
}

/// The report that an entry names tells of the same death.
fn assert_reported(bulkhead: &Bulkhead, entry: &Value) {
    let report = report(bulkhead, entry["crash"].as_u64().unwrap());
    for field in ["worker", "generation", "seq", "event", "during", "cause", "detail", "attempts"] {
        assert!(!entry[field].is_null(), "no {field} in {entry}");
        assert_eq!(report[field], entry[field], "{field}: {report}, {entry}");
    }
}

/// The numbers of so many events that were set aside, once the log has told of each of them.
fn told_of(bulkhead: &Bulkhead, count: usize) -> BTreeSet<u64> {
    let mut story = bulkhead.log().from_start();
    let mut next = || story.wait_for_worker("event_quarantined", "analytics").number("seq").unwrap();
    (0..count).map(|_| next()).collect()
}

#[test]
fn poison_of_each_kind_in_a_stream_of_100_000_is_set_aside_and_every_other_event_counts_once() {
    let bulkhead = Home::new(FAULTS).start();
    let (poisons, stats) = while_read(&bulkhead, READERS, || {
        let poisons = write_all(&bulkhead);
        (poisons, bulkhead.settled())
    });
    assert_eq!(poisons.len(), FaultKind::ALL.len());

    let (ordinary, set_aside) = (WRITERS * REQUESTS * EVENTS, poisons.len());
    assert_eq!((&stats["analysed"], &stats["quarantined"]), (&ordinary.into(), &set_aside.into()), "{stats}");
    assert_eq!(stats["accepted"], ordinary + set_aside, "{stats}");
    assert_each_counted_once(&bulkhead.client());
    // The log may come later than the answers: behind these lines, all the deaths are there.
    assert_eq!(told_of(&bulkhead, set_aside), poisons.keys().copied().collect());
    poisons.iter().for_each(|(seq, kind)| assert_set_aside(&bulkhead, *seq, *kind));
    let listed = bulkhead.client().items("/v1/quarantine?limit=100");
    let listed: Vec<u64> = listed.iter().filter_map(|entry| entry["seq"].as_u64()).collect();
    assert_eq!(listed, poisons.keys().copied().collect::<Vec<_>>());
    for (told, times) in [("worker_parked", 0), ("event_quarantined", set_aside)] {
        assert_eq!(bulkhead.log().all(|line| line.is(told)).len(), times, "{told}");
    }
}

#[test]
fn fifty_poison_events_in_a_row_park_nobody() {
    let bulkhead = Home::new(FAULTS).start();
    let client = bulkhead.client();
    let events = [r#"{"series":"__fault.segv","value":1}"#; 50].join(",");
    let answer = client.post_events(&format!(r#"[{events},{{"series":"behind","value":1}}]"#)).unwrap();
    assert_eq!(answer.status, 202, "{answer:?}");
    let stats = bulkhead.settled();
    assert_eq!((&stats["quarantined"], &stats["analysed"]), (&50.into(), &1.into()), "{stats}");
    assert_eq!(bulkhead.log().all(|line| line.is("worker_parked")).len(), 0);
}

#[test]
fn an_event_that_cannot_be_stored_is_not_skipped_while_the_api_accepts_and_answers() {
    let bulkhead = Home::new(&format!("{FAULTS}[restart]\nlimit = 4\n")).start();
    let client = bulkhead.client();
    let folder = bulkhead.home().path("state/quarantine");
    fs::remove_dir(&folder).unwrap();
    fs::write(&folder, "in the way").unwrap();
    let mut story = bulkhead.log().from_now();

    let seq = poison(&client, FaultKind::Abort);

    let failed = story.wait_for_worker("quarantine_failed", "analytics");
    assert_eq!(failed.number("seq"), Some(seq), "{}", failed.raw());
    story.wait_for_worker("worker_parked", "analytics");
    assert_eq!(client.post_events(r#"{"series":"after","value":1}"#).unwrap().status, 202);
    let stats = client.json("/v1/stats");
    assert_eq!((&stats["quarantined"], &stats["pending"]), (&0.into(), &2.into()), "{stats}");
    assert_eq!(client.json("/readyz")["analytics"], "parked");

    fs::remove_file(&folder).unwrap();
    fs::create_dir(&folder).unwrap();
    let said = bulkhead.say(&["start", "analytics"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    story.wait_for_worker("event_quarantined", "analytics");
    let stats = bulkhead.settled();
    assert_eq!((&stats["quarantined"], &stats["analysed"]), (&1.into(), &1.into()), "{stats}");
    assert_eq!(kept(&bulkhead, seq)["seq"], seq);
}

#[test]
fn what_is_set_aside_stays_so_across_a_stop_and_a_start() {
    let bulkhead = Home::new(FAULTS).start();
    let client = bulkhead.client();
    poison(&client, FaultKind::Panic);
    bulkhead.settled();
    assert_eq!(bulkhead.say(&["stop", "analytics"]).code, Some(0));
    let events = r#"[{"series":"good","value":1},{"series":"__fault.abort","value":1}]"#;
    assert_eq!(client.post_events(events).unwrap().status, 202);
    let home = bulkhead.stop(Signal::SIGTERM).home;
    let saved = ["snapshot", "marks"].map(|name| home.path("state").join(name));
    let before = saved.each_ref().map(|path| fs::read(path).unwrap());
    let bulkhead = home.start();
    bulkhead.settled();
    let home = bulkhead.stop(Signal::SIGTERM).home;
    // Stored, and its skip not committed: as if the stop had come right after the store.
    saved.iter().zip(before).for_each(|(path, bytes)| fs::write(path, bytes).unwrap());

    let bulkhead = home.start();

    let stats = bulkhead.settled();
    assert_eq!((&stats["quarantined"], &stats["analysed"]), (&2.into(), &1.into()), "{stats}");
    assert_eq!(bulkhead.client().all_series().keys().collect::<Vec<_>>(), ["good"]);
    assert_eq!(bulkhead.log().all(|line| line.tells("worker_died", "analytics")).len(), 0);
}

#[test]
fn as_many_deaths_are_allowed_as_the_configuration_says() {
    let bulkhead = Home::new(&format!("{FAULTS}[analytics]\nmax_attempts = 4\n")).start();
    let seq = poison(&bulkhead.client(), FaultKind::Exit);
    let quarantined = bulkhead.log().from_start().wait_for_worker("event_quarantined", "analytics");
    assert_eq!(quarantined.number("attempts"), Some(4), "{}", quarantined.raw());
    assert_eq!(deaths_of(&bulkhead, seq), 4);
}

#[test]
fn who_is_killed_by_command_in_the_midst_of_events_costs_no_event_its_place() {
    let bulkhead = Home::new(FAULTS).start();
    let client = bulkhead.client();
    for round in 0..10 {
        let events = vec![format!(r#"{{"series":"s","value":{round}}}"#); 500].join(",");
        assert_eq!(client.post_events(&format!("[{events}]")).unwrap().status, 202);
        let mut story = bulkhead.log().from_now();
        let said = bulkhead.say(&["fault", "analytics", "kill"]);
        assert_eq!(said.code, Some(0), "{said:?}");
        story.wait_for_worker("worker_activated", "analytics");
    }
    let stats = bulkhead.settled();
    assert_eq!((&stats["quarantined"], &stats["analysed"]), (&0.into(), &5000.into()), "{stats}");
}

#[test]
fn a_parked_worker_is_tried_again_by_command() {
    let config =
        "[restart]\nlimit = 2\n[[worker]]\nname = \"weak\"\ncommand = [\"sh\", \"-c\", \"exit 7\"]\n";
    let bulkhead = Home::new(config).start();
    let mut story = bulkhead.log().from_start();
    let died = story.wait_for_worker("worker_died", "weak");
    assert_eq!(died.text("cause"), "exit", "{}", died.raw());
    assert!(died.text("detail").contains('7'), "{}", died.raw());
    story.wait_for_worker("worker_parked", "weak");
    let said = bulkhead.say(&["start", "weak"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    story.wait_for_worker("worker_started", "weak");
    eventually(bulkhead.log(), "status to tell of it", || bulkhead.say(&["status"]).out.contains("weak"));
}
