//! Real events and many kills: every event is counted exactly once, and the results match those computed
//! independently.

use bulkhead_tests::{
    Bulkhead, Fixture,
    background_readers::with_background_readers,
    flights::{Batch, Flights},
    injection_pacer::InjectionPacer,
    process::Signal,
    worker_killer::WorkerKiller,
};
use fastrand::Rng;
use std::{ops::Range, sync::Mutex, thread};

const WRITERS: usize = 6;
const READERS: usize = 2;

#[test]
fn every_event_is_counted_exactly_once_while_the_analysis_is_killed_fifty_times() {
    let flights = Flights::load();
    let bulkhead = Fixture::new("").start();
    run_load_with_kills(&bulkhead, &flights, 0..flights.len(), 50, 0xb01_c4ead);
    assert_all_counted_once(&bulkhead, &flights);
    assert_eq!(bulkhead.log().matching(|line| line.is_worker_event("worker_died", "analytics")).len(), 50);
}

#[test]
fn every_event_is_counted_exactly_once_across_kills_and_clean_stops() {
    let flights = Flights::load();
    let mut fixture = Fixture::new("");
    for (part, seed) in [0..7_000, 7_000..14_000, 14_000..flights.len()].into_iter().zip(1..) {
        let bulkhead = fixture.start();
        run_load_with_kills(&bulkhead, &flights, part.clone(), 17, seed);
        let stopped = bulkhead.stop(Signal::SIGTERM);
        assert!(stopped.status.success(), "{:?} after\n{}", stopped.status, stopped.log.dump());
        fixture = stopped.fixture;
    }
    assert_all_counted_once(&fixture.start(), &flights);
}

/// Posts a part of the flights from several writers, reads at the same time, and kills the analysis `kills`
/// times. Every response must be 202.
fn run_load_with_kills(bulkhead: &Bulkhead, flights: &Flights, part: Range<usize>, kills: usize, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let pacer = InjectionPacer::new(part.len(), kills, &mut rng);
    let batches = Mutex::new(flights.batches(part.start, part.end, &mut rng).into_iter());
    with_background_readers(bulkhead, READERS, || {
        thread::scope(|scope| {
            (0..WRITERS).for_each(|_| drop(scope.spawn(|| write(bulkhead, &pacer, &batches))));
            let mut killer = WorkerKiller::new(bulkhead, "analytics", rng.fork());
            pacer.inject_each(0..kills, |_| killer.kill_next_generation());
        });
    });
}

/// Posts batches until there are none. Every response must be 202.
pub(crate) fn write(
    bulkhead: &Bulkhead,
    pacer: &InjectionPacer,
    batches: &Mutex<impl Iterator<Item = Batch>>,
) {
    let client = bulkhead.client();
    loop {
        let next = batches.lock().unwrap().next();
        let Some(batch) = next else { return };
        pacer.begin_work(batch.events);
        let response = client.post("/v1/events", batch.content_type, &batch.body).unwrap();
        assert_eq!(response.status, 202, "{response:?}");
        assert_eq!(response.json()["accepted"], batch.events);
        pacer.end_work(batch.events);
    }
}

/// Checks that each flight was counted once and that all results are correct.
pub(crate) fn assert_all_counted_once(bulkhead: &Bulkhead, flights: &Flights) {
    let stats = bulkhead.wait_until_committed();
    assert_eq!(stats["accepted"], flights.len(), "{stats}");
    assert_eq!(stats["analysed"], flights.len(), "{stats}");
    flights.assert_matches(&bulkhead.client().all_series());
}
