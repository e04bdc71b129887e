//! The analysis alone: the real program replays a full ring.

use crate::{
    Plan,
    machine::cache_line_ns,
    report::{Column, Row, SectionResult},
    worker::Analytics,
};
use anyhow::{Context, ensure};
use bulkhead_proto::{
    shm::{
        memory::SharedMemory,
        ring::{AppendError, Batch},
    },
    wire::{event::Event, ids::Seq},
    worker::link::ApiLink,
};
use std::{
    thread,
    time::{Duration, Instant},
};

/// The ring size of the default configuration, in bytes, and the number of series of the flights in
/// `tests/data`.
const CAPACITY: u64 = 64 << 20;
const SERIES: u64 = 220;

/// The number of labels per series. More labels than the analysis counts one by one would be an unusually
/// hard case.
const LABELS: u64 = 12;

/// The number of events in a batch. It does not matter to the analysis.
const BATCH: u64 = 100;

/// The interval at which the end of a replay is checked. A replay takes a few hundred milliseconds.
const POLL_INTERVAL: Duration = Duration::from_micros(200);

/// The time limit of a replay.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Adds event number `n`: spread over series and labels, with values that do not repeat.
fn push(batch: &mut Batch, n: u64) -> anyhow::Result<()> {
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let (series, label) = (format!("flights.route-{:03}", mixed % SERIES), format!("C{:02}", mixed % LABELS));
    let event = Event {
        series: &series,
        value: Some((mixed % 100_000) as f64 / 7.0),
        ts_ms: 1_700_000_000_000 + i64::try_from(n)?,
        arrived_ms: 1_700_000_000_000,
        label: Some(&label),
        data: None,
        request_id: None,
    };
    Ok(batch.push(&event)?)
}

/// Fills the ring. Returns the number of events in it.
fn fill_ring(link: &ApiLink) -> anyhow::Result<u64> {
    let (mut batch, mut events) = (Batch::new(), 0);
    loop {
        batch.clear();
        (events..events + BATCH).try_for_each(|n| push(&mut batch, n))?;
        match link.append(&mut batch) {
            Ok(_) => events += BATCH,
            Err(AppendError::Full { .. }) => return Ok(events),
            Err(error) => return Err(error.into()),
        }
    }
}

/// One replay. Returns millions of events per second, and the number of commits.
fn replay() -> anyhow::Result<(f64, f64)> {
    let memory = SharedMemory::create(CAPACITY, 4096, 1)?;
    let link = ApiLink::open_in_process(&memory)?;
    let events = fill_ring(&link)?;
    let mut analytics = Analytics::start(&memory, 1)?;
    let start = Instant::now();
    analytics.activate()?;
    while memory.record().is_none_or(|record| record.seq < Seq(events)) {
        ensure!(
            start.elapsed() < TIME_LIMIT,
            "the analysis did not process {events} events within the time limit"
        );
        analytics.check()?;
        thread::sleep(POLL_INTERVAL);
    }
    let elapsed = start.elapsed();
    let commits = memory.record().context("the commit record does not verify")?.commit.0;
    analytics.stop()?;
    Ok((events as f64 / elapsed.as_secs_f64() / 1e6, commits as f64))
}

/// Measures events per second.
pub(super) fn measure(plan: &Plan) -> anyhow::Result<SectionResult> {
    let mut row = Row::of(&format!("{SERIES} series, {LABELS} labels each"), 2);
    for _ in 0..plan.rounds {
        let cache_line = cache_line_ns()?;
        let (rate, commits) = replay()?;
        row.record(0, rate, cache_line);
        row.record(1, commits, cache_line);
    }
    Ok(SectionResult {
        name: "analysis",
        title: "The analysis alone: a full ring of 64 MiB replayed, its start and its commits included"
            .to_owned(),
        columns: vec![Column { name: "M events/s", digits: 2 }, Column { name: "commits", digits: 0 }],
        rows: vec![row],
        ..SectionResult::default()
    })
}
