//! Readers beside what a test does: each of their requests must be answered, and what they are told must add up.

use crate::{Bulkhead, http::Client};
use serde_json::Value;
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

/// Does this while so many clients read all the time.
///
/// # Panics
/// When it fails, or a reader does, or one never came to read.
pub fn while_read<T: Send>(bulkhead: &Bulkhead, readers: usize, act: impl FnOnce() -> T + Send) -> T {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> =
            (0..readers).map(|_| scope.spawn(|| read_until(&over, &bulkhead.client()))).collect();
        let acted = scope.spawn(act).join();
        over.store(true, Ordering::Relaxed);
        let read: Vec<u64> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        assert!(read.iter().all(|rounds| *rounds > 0), "nobody read beside: {read:?}");
        acted.unwrap_or_else(|_| {
            panic!("what was done beside the readers failed; the log:\n{}", bulkhead.log().dump())
        })
    })
}

/// Reads stats, series and workers in turn; what they say must add up and never go back. How many rounds.
fn read_until(over: &AtomicBool, client: &Client) -> u64 {
    let mut rounds = 0;
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
        rounds += 1;
    }
    rounds
}

fn assert_adds_up(stats: &Value) {
    let number = |field: &str| stats[field].as_u64().unwrap_or_else(|| panic!("no {field} in {stats}"));
    assert_eq!(number("accepted"), number("analysed") + number("quarantined") + number("pending"), "{stats}");
}
