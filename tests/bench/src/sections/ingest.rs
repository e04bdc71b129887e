//! `POST /v1/events` of the real service, with its analysis at work on the same cores, beside a bare handler.

use crate::{
    Plan,
    bare::Bare,
    machine::line_ns,
    report::{Aim, Column, Findings, Row, Target},
    wrk,
};
use bulkhead_tests::Fixture;
use serde_json::{Value, json};

/// How many events a batch has.
const BATCH: usize = 100;

/// The default, but for the address, which the harness chooses.
const CONFIG: &str = "";

/// The rows: ours and the bare handler's, for single events and batches.
const ROWS: [&str; 4] =
    ["bulkhead, 1 event", "bare handler, 1 event", "bulkhead, 100 events", "bare handler, 100 events"];

fn event(n: usize) -> Value {
    let (series, label) = (format!("flights.route-{:02}", n * 7 % 23), format!("C{:02}", n % 12));
    json!({ "series": series, "value": n as f64 * 1.37 + 0.25, "label": label })
}

/// Requests and events a second, and the latency, under wrk.
pub(super) fn measure(plan: &Plan) -> anyhow::Result<Findings> {
    let title = "POST /v1/events, wrk with 1 thread and 32 connections on the same cores".to_owned();
    let mut findings = Findings { name: "ingest", title, ..Findings::default() };
    if !wrk::is_there() {
        findings.remarks.push("NOT MEASURED: wrk is not installed (apt-get install wrk)".to_owned());
        return Ok(findings);
    }
    let bodies = [event(0), (0..BATCH).map(event).collect::<Value>()].map(|body| body.to_string());
    let home = Fixture::new(CONFIG);
    let folder = home.path("");
    let (bulkhead, bare) = (home.start(), Bare::start()?);
    let mut rows = ROWS.map(|name| Row::of(name, 5));
    for round in 0..=plan.rounds {
        for (number, row) in rows.iter_mut().enumerate() {
            let (batch, ours) = (number / 2, number % 2 == 0);
            let (address, path) = match (ours, batch) {
                (true, _) => (bulkhead.address(), "/v1/events"),
                (false, 0) => (bare.address, "/one"),
                (false, _) => (bare.address, "/many"),
            };
            // What the analysis still has to do is not the next candidate's affair.
            drop(bulkhead.wait_until_committed());
            let line = line_ns()?;
            let run = wrk::post(&folder, address, path, &bodies[batch])?;
            if round == 0 {
                // The first touch of everything.
                continue;
            }
            let events = if batch == 0 { 1 } else { BATCH };
            let figures = [run.accepted / 1e3, run.accepted * events as f64 / 1e6, run.p50, run.p99];
            for (column, figure) in figures.into_iter().chain([run.refused * 100.0]).enumerate() {
                row.note(column, figure, line);
            }
        }
    }
    findings.targets = [(0, 0.9), (2, 1.0)].map(|(row, aim)| target(&rows, row, aim)).into();
    findings.columns = [("k req/s", 1), ("M events/s", 3), ("p50 ms", 2), ("p99 ms", 2), ("% refused", 1)]
        .map(|(name, digits)| Column { name, digits })
        .into();
    findings.rows = rows.into();
    Ok(findings)
}

fn target(rows: &[Row], ours: usize, aim: f64) -> Target {
    let rate = |row: usize| rows.get(row)?.cells.first()?.as_ref();
    let found = rate(ours).and_then(|ours_rate| ours_rate.ratio_to(rate(ours + 1)?));
    Target {
        what: format!("{}, over the bare handler", ROWS[ours]),
        aim: Aim::AtLeast(aim),
        found,
        unit: "times",
    }
}
