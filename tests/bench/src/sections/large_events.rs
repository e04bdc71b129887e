//! A thousand events with 1 MiB of data through the service, without and with deaths of the analysis: speed, and memory.

use crate::{
    Plan,
    machine::cache_line_ns,
    report::{Bound, Column, Row, SectionResult, Target},
};
use anyhow::ensure;
use bulkhead_tests::{Bulkhead, Fixture, process::Signal, resource_usage::peak_resident_kib};
use serde_json::Value;
use std::{
    thread,
    time::{Duration, Instant},
};

/// The ring is the default one, and holds 63 of the events.
const CONFIG: &str = "api.max_event = \"1MiB\"\n";

/// The size of the ring, in MiB.
const RING_MIB: f64 = 64.0;

/// The number of events in a round, and of the clients that send them.
const EVENTS: usize = 1_000;
const CLIENTS: usize = 2;

/// The length of the data of an event, in bytes.
const DATA: usize = 1 << 20;

/// With deaths: the first client kills the analysis after each such number of its events.
const KILL_INTERVAL: usize = 100;

/// The first and the longest pause after a 503.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(64);

/// Sends every `CLIENTS`th event, beginning with `first`. An event that is refused because the ring is full is sent again after
/// a pause. Returns the number of requests.
fn send(bulkhead: &Bulkhead, first: usize, kills: bool) -> anyhow::Result<usize> {
    let (client, data) = (bulkhead.client(), "d".repeat(DATA - 2));
    let mut requests = 0;
    for (sent, number) in (first..EVENTS).step_by(CLIENTS).enumerate() {
        if kills && first == 0 && sent % KILL_INTERVAL == KILL_INTERVAL / 2 {
            bulkhead.signal_worker(bulkhead.worker_pid("analytics"), Signal::SIGKILL);
        }
        let body = format!(r#"{{"series":"large","value":{number},"data":"{data}"}}"#);
        let mut pause = FIRST_PAUSE;
        loop {
            requests += 1;
            let status = client.post_events(&body).map(|response| response.status);
            match status {
                Ok(202) => break,
                Ok(503) => thread::sleep(pause),
                other => anyhow::bail!("event {number}: {other:?}"),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
    Ok(requests)
}

/// The peak of the analysis' resident memory, in MiB: of the generation that runs, and of those that died.
fn analysis_peak_mib(bulkhead: &Bulkhead) -> f64 {
    bulkhead.wait_for_crash_reports();
    let reports = bulkhead.client().all_items("/v1/crashes?worker=analytics");
    let dead = reports.iter().filter_map(|report| report["resources"]["peak_rss_bytes"].as_f64());
    let alive = peak_resident_kib(bulkhead.worker_pid("analytics")) as f64 / 1024.0;
    dead.map(|bytes| bytes / DATA as f64).fold(alive, f64::max)
}

/// One round. Returns the values of the row.
fn round(kills: bool) -> anyhow::Result<[f64; 4]> {
    let bulkhead = &Fixture::new(CONFIG).start();
    let begin = Instant::now();
    let requests = thread::scope(|scope| {
        let clients: Vec<_> =
            (0..CLIENTS).map(|first| scope.spawn(move || send(bulkhead, first, kills))).collect();
        let joined = clients.into_iter().map(|client| client.join().unwrap_or(Ok(0)));
        joined.sum::<anyhow::Result<usize>>()
    })?;
    let stats = bulkhead.wait_until_committed();
    let seconds = begin.elapsed().as_secs_f64();
    let series = bulkhead.client().get_json("/v1/series/large");
    let expected = [EVENTS, EVENTS * (EVENTS - 1) / 2].map(Value::from);
    ensure!(stats["analysed"] == expected[0], "accepted {EVENTS} events: {stats}");
    ensure!(series["count"] == expected[0] && series["sum"] == expected[1], "not each event once: {series}");
    let refused = (requests - EVENTS) as f64 / requests as f64 * 100.0;
    let api = peak_resident_kib(bulkhead.worker_pid("api")) as f64 / 1024.0;
    Ok([EVENTS as f64 / seconds, refused, api, analysis_peak_mib(bulkhead)])
}

/// Measures MiB per second from the first request to the last commit, and the peaks of memory.
pub(super) fn measure(plan: &Plan) -> anyhow::Result<SectionResult> {
    let title = format!("{EVENTS} events with 1 MiB of data, {CLIENTS} clients, ring of {RING_MIB} MiB");
    let mut rows = [Row::of("undisturbed", 4), Row::of("analysis killed 5 times", 4)];
    for _ in 0..plan.rounds {
        for (row, kills) in rows.iter_mut().zip([false, true]) {
            let cache_line = cache_line_ns()?;
            for (column, value) in round(kills)?.into_iter().enumerate() {
                row.record(column, value, cache_line);
            }
        }
    }
    let peak = |what: &str, column: usize, beyond_ring: f64| Target {
        what: format!("peak RSS of the {what}, the ring included, with deaths"),
        bound: Bound::AtMost(RING_MIB + beyond_ring),
        found: rows[1].cells[column]
            .as_ref()
            .and_then(|rounds| rounds.all().iter().copied().reduce(f64::max)),
        unit: "MiB",
    };
    Ok(SectionResult {
        name: "large",
        title,
        targets: vec![peak("API", 2, 64.0), peak("analysis", 3, 32.0)],
        columns: [("MiB/s", 0), ("% refused", 1), ("API MiB", 0), ("analysis MiB", 0)]
            .map(|(name, digits)| Column { name, digits })
            .into(),
        rows: rows.into(),
        remarks: Vec::new(),
    })
}
