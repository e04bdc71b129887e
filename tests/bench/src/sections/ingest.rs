//! `POST /v1/events` of the real service, with its analysis running on the same cores, next to a bare
//! handler.

use crate::{
    Plan,
    bare_handler::BareHandler,
    machine::cache_line_ns,
    report::{Bound, Column, Row, SectionResult, Target},
    wrk,
};
use bulkhead_tests::Fixture;
use serde_json::{Value, json};

/// The number of events in a batch.
const BATCH: usize = 100;

/// The default configuration. The harness chooses the address.
const CONFIG: &str = "";

/// The rows: the service and the bare handler, each for single events and for batches.
const ROWS: [&str; 4] =
    ["bulkhead, 1 event", "bare handler, 1 event", "bulkhead, 100 events", "bare handler, 100 events"];

fn event(n: usize) -> Value {
    let (series, label) = (format!("flights.route-{:02}", n * 7 % 23), format!("C{:02}", n % 12));
    json!({ "series": series, "value": n as f64 * 1.37 + 0.25, "label": label })
}

/// Measures requests and events per second, and the latency, with wrk.
pub(super) fn measure(plan: &Plan) -> anyhow::Result<SectionResult> {
    let title = "POST /v1/events, wrk with 1 thread and 32 connections on the same cores".to_owned();
    let mut result = SectionResult { name: "ingest", title, ..SectionResult::default() };
    if !wrk::is_installed() {
        result.remarks.push("NOT MEASURED: wrk is not installed (apt-get install wrk)".to_owned());
        return Ok(result);
    }
    let bodies = [event(0), (0..BATCH).map(event).collect::<Value>()].map(|body| body.to_string());
    let fixture = Fixture::new(CONFIG);
    let folder = fixture.path("");
    let (bulkhead, bare) = (fixture.start(), BareHandler::start()?);
    let mut rows = ROWS.map(|name| Row::of(name, 5));
    for round in 0..=plan.rounds {
        for (number, row) in rows.iter_mut().enumerate() {
            let (batch, ours) = (number / 2, number % 2 == 0);
            let (address, path) = match (ours, batch) {
                (true, _) => (bulkhead.address(), "/v1/events"),
                (false, 0) => (bare.address, "/one"),
                (false, _) => (bare.address, "/many"),
            };
            // The analysis must finish its work before the next candidate is measured.
            drop(bulkhead.wait_until_committed());
            let cache_line = cache_line_ns()?;
            let run = wrk::post(&folder, address, path, &bodies[batch])?;
            if round == 0 {
                // The first round warms everything up.
                continue;
            }
            let events = if batch == 0 { 1 } else { BATCH };
            let values = [run.accepted / 1e3, run.accepted * events as f64 / 1e6, run.p50, run.p99];
            for (column, value) in values.into_iter().chain([run.refused * 100.0]).enumerate() {
                row.record(column, value, cache_line);
            }
        }
    }
    result.targets = [(0, 0.9), (2, 1.0)].map(|(row, bound)| target(&rows, row, bound)).into();
    result.columns = [("k req/s", 1), ("M events/s", 3), ("p50 ms", 2), ("p99 ms", 2), ("% refused", 1)]
        .map(|(name, digits)| Column { name, digits })
        .into();
    result.rows = rows.into();
    Ok(result)
}

fn target(rows: &[Row], ours: usize, bound: f64) -> Target {
    let rate = |row: usize| rows.get(row)?.cells.first()?.as_ref();
    let found = rate(ours).and_then(|ours_rate| ours_rate.ratio_to(rate(ours + 1)?));
    Target {
        what: format!("{}, over the bare handler", ROWS[ours]),
        bound: Bound::AtLeast(bound),
        found,
        unit: "times",
    }
}
