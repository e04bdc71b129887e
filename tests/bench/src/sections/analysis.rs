//! The analysis alone: a full ring replayed by the real program.

use crate::{
    Plan,
    machine::line_ns,
    report::{Column, Findings, Row},
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

/// The default configuration's ring, in bytes, and the number of series of the flights in `tests/data`.
const CAPACITY: u64 = 64 << 20;
const SERIES: u64 = 220;

/// Labels of a series: more than the analysis counts one by one would be a harder case than most.
const LABELS: u64 = 12;

/// How many events make up a batch: the size does not matter to the analysis.
const BATCH: u64 = 100;

/// Whether it is done is looked at so often; a replay takes a few hundred milliseconds.
const GLANCE: Duration = Duration::from_micros(200);

/// A replay that takes longer has broken down.
const BOUND: Duration = Duration::from_secs(60);

/// Event number `n`: spread over series and labels, with values that do not repeat.
fn push(batch: &mut Batch, n: u64) -> anyhow::Result<()> {
    let mixed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let (series, label) = (format!("flights.route-{:03}", mixed % SERIES), format!("C{:02}", mixed % LABELS));
    let event = Event {
        series: &series,
        value: (mixed % 100_000) as f64 / 7.0,
        ts_ms: 1_700_000_000_000 + i64::try_from(n)?,
        arrived_ms: 1_700_000_000_000,
        label: Some(&label),
        data: None,
        request_id: None,
    };
    Ok(batch.push(&event)?)
}

/// Fills the ring. Says how many events it holds.
fn fill(link: &ApiLink) -> anyhow::Result<u64> {
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

/// One replay: events a second, and how many commits they took.
fn replay() -> anyhow::Result<(f64, f64)> {
    let memory = SharedMemory::create(CAPACITY, 4096, 1)?;
    let link = ApiLink::open_in_process(&memory)?;
    let events = fill(&link)?;
    let mut analytics = Analytics::start(&memory, 1)?;
    let start = Instant::now();
    analytics.activate()?;
    while memory.record().is_none_or(|record| record.seq < Seq(events)) {
        ensure!(start.elapsed() < BOUND, "the analysis does not get through {events} events");
        analytics.check()?;
        thread::sleep(GLANCE);
    }
    let elapsed = start.elapsed();
    let commits = memory.record().context("the commit record does not verify")?.commit.0;
    analytics.end()?;
    Ok((events as f64 / elapsed.as_secs_f64() / 1e6, commits as f64))
}

/// Events a second.
pub(super) fn measure(plan: &Plan) -> anyhow::Result<Findings> {
    let mut row = Row::of(&format!("{SERIES} series, {LABELS} labels each"), 2);
    for _ in 0..plan.rounds {
        let line = line_ns()?;
        let (rate, commits) = replay()?;
        row.note(0, rate, line);
        row.note(1, commits, line);
    }
    Ok(Findings {
        name: "analysis",
        title: "The analysis alone: a full ring of 64 MiB replayed, its start and its commits included"
            .to_owned(),
        columns: vec![Column { name: "M events/s", digits: 2 }, Column { name: "commits", digits: 0 }],
        rows: vec![row],
        ..Findings::default()
    })
}
