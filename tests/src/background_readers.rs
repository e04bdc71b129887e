//! Clients that read while a test does something else: each request must be answered, and the numbers must be consistent.

use crate::{Bulkhead, http::Client};
use serde_json::Value;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// Runs `act` while `readers` clients read without a pause.
///
/// # Panics
/// If `act` fails, a reader fails, or a reader completed no round.
pub fn with_background_readers<T: Send>(
    bulkhead: &Bulkhead,
    readers: usize,
    act: impl FnOnce() -> T + Send,
) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> =
            (0..readers).map(|_| scope.spawn(|| read_until(&over, &bulkhead.client()))).collect();
        let result = scope.spawn(act).join();
        over.store(true, Ordering::Relaxed);
        let rounds: Vec<u64> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        assert!(rounds.iter().all(|rounds| *rounds > 0), "a reader completed no round: {rounds:?}");
        result.unwrap_or_else(|_| {
            panic!("the test failed while clients were reading; the log:\n{}", bulkhead.log().dump())
        })
    })
}

/// Reads stats, series and workers in turn. Their numbers must be consistent and never decrease. Returns the number of
/// rounds.
fn read_until(over: &AtomicBool, client: &Client) -> u64 {
    let mut rounds = 0;
    let mut before = Value::Null;
    while !over.load(Ordering::Relaxed) {
        let stats = client.get_json("/v1/stats");
        assert_consistent(&stats);
        for field in ["accepted", "analysed", "committed_seq"] {
            assert!(
                stats[field].as_u64() >= before[field].as_u64(),
                "{field} has decreased: {before} -> {stats}"
            );
        }
        before = stats;
        let page = client.get_json("/v1/series?limit=5");
        for item in page["items"].as_array().unwrap() {
            let name = item["series"].as_str().unwrap();
            let series = client.get_json(&format!("/v1/series/{name}"));
            assert!(series["count"].as_u64() >= item["count"].as_u64(), "{item} -> {series}");
        }
        let workers = client.get_json("/v1/workers");
        assert!(workers["items"].as_array().is_some_and(|rows| rows.len() >= 2), "{workers}");
        rounds += 1;
    }
    rounds
}

fn assert_consistent(stats: &Value) {
    let number = |field: &str| stats[field].as_u64().unwrap_or_else(|| panic!("no {field} in {stats}"));
    assert_eq!(number("accepted"), number("analysed") + number("quarantined") + number("pending"), "{stats}");
}
