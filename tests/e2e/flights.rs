//! Real events, many kills, and answers that were computed independently (P1, P2, P3).

use bulkhead_tests::{
    Bulkhead, Home,
    flights::{Batch, Flights},
    gate::Gate,
    http::Client,
    killer::Killer,
    process::Signal,
};
use fastrand::Rng;
use serde_json::Value;
use std::{
    ops::Range,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

const WRITERS: usize = 6;
const READERS: usize = 2;

#[test]
fn flights_are_counted_exactly_once_while_the_analysis_is_killed_fifty_times() {
    let flights = Flights::load();
    let bulkhead = Home::new("").start();
    storm(&bulkhead, &flights, 0..flights.len(), 50, 0xb01_c4ead);
    verify(&bulkhead, &flights);
    assert_eq!(bulkhead.log().all(|line| line.tells("worker_died", "analytics")).len(), 50);
}

#[test]
fn flights_are_counted_exactly_once_across_kills_and_orderly_stops() {
    let flights = Flights::load();
    let mut home = Home::new("");
    for (part, seed) in [0..7_000, 7_000..14_000, 14_000..flights.len()].into_iter().zip(1..) {
        let bulkhead = home.start();
        storm(&bulkhead, &flights, part.clone(), 17, seed);
        let stopped = bulkhead.stop(Signal::SIGTERM);
        assert!(stopped.status.success(), "{:?} after\n{}", stopped.status, stopped.log.dump());
        home = stopped.home;
    }
    verify(&home.start(), &flights);
}

/// Posts a part of the flights from several writers, reads beside, and kills the analysis so many times meanwhile.
/// Every request must be answered 2xx.
fn storm(bulkhead: &Bulkhead, flights: &Flights, part: Range<usize>, kills: usize, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let gate = Gate::new(part.len(), kills, &mut rng);
    let batches = Mutex::new(flights.batches(part.start, part.end, &mut rng).into_iter());
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> =
            (0..READERS).map(|_| scope.spawn(|| read_until(&over, &bulkhead.client()))).collect();
        let writers: Vec<_> =
            (0..WRITERS).map(|_| scope.spawn(|| write(bulkhead, &gate, &batches))).collect();
        let killer = scope.spawn(|| {
            let mut killer = Killer::new(bulkhead, "analytics", rng.fork());
            gate.each_due(0..kills, |_| killer.strike());
        });
        let all_well =
            writers.into_iter().chain([killer]).map(thread::ScopedJoinHandle::join).all(|end| end.is_ok());
        over.store(true, Ordering::Relaxed);
        let read = readers.into_iter().map(|reader| reader.join().unwrap()).collect::<Vec<u64>>();
        assert!(all_well, "a writer or the killer failed; the log:\n{}", bulkhead.log().dump());
        assert!(read.iter().all(|requests| *requests > 0), "nobody read beside: {read:?}");
    });
}

fn write(bulkhead: &Bulkhead, gate: &Gate, batches: &Mutex<impl Iterator<Item = Batch>>) {
    let client = bulkhead.client();
    loop {
        let next = batches.lock().unwrap().next();
        let Some(batch) = next else { return };
        gate.begin(batch.events);
        let answer = client.post("/v1/events", batch.content_type, &batch.body).unwrap();
        assert_eq!(answer.status, 202, "{answer:?}");
        assert_eq!(answer.json()["accepted"], batch.events);
        gate.done(batch.events);
    }
}

/// Reads stats, series and workers in turn; what they say must add up and never go back.
fn read_until(over: &AtomicBool, client: &Client) -> u64 {
    let mut requests = 0;
    let mut before = Value::Null;
    while !over.load(Ordering::Relaxed) {
        let stats = client.json("/v1/stats");
        assert_adds_up(&stats);
        for field in ["accepted", "analysed", "committed_seq"] {
            assert!(
                stats[field].as_u64() >= before[field].as_u64(),
                "{field} went back: {before} -> {stats}"
            );
        }
        before = stats;
        let page = client.json("/v1/series?limit=5");
        for item in page["items"].as_array().unwrap() {
            let name = item["series"].as_str().unwrap();
            let series = client.json(&format!("/v1/series/{name}"));
            assert!(series["count"].as_u64() >= item["count"].as_u64(), "{item} -> {series}");
        }
        let workers = client.json("/v1/workers");
        assert!(workers["items"].as_array().is_some_and(|rows| rows.len() >= 2), "{workers}");
        requests += 1;
    }
    requests
}

fn assert_adds_up(stats: &Value) {
    let number = |field: &str| stats[field].as_u64().unwrap_or_else(|| panic!("no {field} in {stats}"));
    assert_eq!(number("accepted"), number("analysed") + number("quarantined") + number("pending"), "{stats}");
}

/// All flights are in, once each, and every answer is right.
fn verify(bulkhead: &Bulkhead, flights: &Flights) {
    let stats = bulkhead.settled();
    assert_eq!(stats["accepted"], flights.len(), "{stats}");
    assert_eq!(stats["analysed"], flights.len(), "{stats}");
    flights.compare(&bulkhead.client().all_series());
}
