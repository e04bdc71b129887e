//! Real events, many kills, and answers that were computed independently (P1, P2, P3).

use bulkhead_tests::{
    Bulkhead, Home,
    flights::{Batch, Flights},
    gate::Gate,
    killer::Killer,
    process::Signal,
    reading::while_read,
};
use fastrand::Rng;
use std::{ops::Range, sync::Mutex, thread};

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
    while_read(bulkhead, READERS, || {
        thread::scope(|scope| {
            (0..WRITERS).for_each(|_| drop(scope.spawn(|| write(bulkhead, &gate, &batches))));
            let mut killer = Killer::new(bulkhead, "analytics", rng.fork());
            gate.each_due(0..kills, |_| killer.strike());
        });
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

/// All flights are in, once each, and every answer is right.
fn verify(bulkhead: &Bulkhead, flights: &Flights) {
    let stats = bulkhead.settled();
    assert_eq!(stats["accepted"], flights.len(), "{stats}");
    assert_eq!(stats["analysed"], flights.len(), "{stats}");
    flights.compare(&bulkhead.client().all_series());
}
