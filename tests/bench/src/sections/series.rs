//! The analysis with many series, next to a hash map in one process that applies the same events and promises nothing.

use crate::{
    Plan,
    api_fds::{api_fds, take},
    machine::cache_line_ns,
    report::{Bound, Column, Row, SectionResult, Target},
    worker::Analytics,
};
use anyhow::{Context, ensure};
use bulkhead_proto::{
    shm::{
        memory::SharedMemory,
        ring::{AppendError, Batch},
        table::{BodySlot, TableReader},
    },
    splitmix64::random,
    wire::{event::Event, ids::Seq},
    worker::link::{AnalyticsLink, ApiLink},
};
use bulkhead_worker_analytics::{Analysis, Statistics};
use std::{
    collections::HashMap,
    fs::File,
    hint::black_box,
    os::unix::fs::MetadataExt,
    thread,
    time::{Duration, Instant},
};

/// The size of the ring in the default configuration, in bytes.
const CAPACITY: u64 = 64 << 20;

/// The numbers of series, with the least share of the hash map's rate that is the target for each.
const COUNTS: [(u32, Option<f64>); 4] =
    [(100, None), (4_000, None), (60_000, Some(0.5)), (1_000_000, Some(0.3))];

/// The number of events that are measured, after one event for each series.
const EVENTS: usize = 4_000_000;

/// The number of events in a batch.
const BATCH: usize = 100;

/// The labels of each series.
const LABELS: [&str; 4] = ["a", "b", "c", "d"];

/// The interval at which an end is checked.
const POLL_INTERVAL: Duration = Duration::from_micros(200);

/// The time limit of a run.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// How often each series has an event.
#[derive(Clone, Copy, PartialEq)]
enum Distribution {
    Uniform,
    /// The n-th series has an n-th of the events of the first one.
    Zipf,
}

/// A pseudo-random number.
fn draw(state: &mut u64) -> u32 {
    u32::try_from(random(state) >> 32).unwrap_or_default()
}

/// The names of the series, and the series of each event.
struct Load {
    names: Vec<String>,
    events: Vec<u32>,
}

impl Load {
    fn new(count: u32, distribution: Distribution) -> Self {
        let (mut state, mut sum) = (u64::from(count), 0.0);
        let sums: Vec<f64> = (1..=count)
            .map(|rank| {
                sum += 1.0 / f64::from(rank);
                sum
            })
            .collect();
        let events = (0..EVENTS).map(|_| match distribution {
            Distribution::Uniform => draw(&mut state) % count,
            Distribution::Zipf => {
                let drawn = f64::from(draw(&mut state)) / f64::from(u32::MAX) * sum;
                u32::try_from(sums.partition_point(|reached| *reached < drawn))
                    .unwrap_or(count)
                    .min(count - 1)
            }
        });
        Self { names: (0..count).map(|n| format!("bench.series.{n:07}")).collect(), events: events.collect() }
    }

    /// Event number `n` of a series.
    fn event(&self, series: u32, n: usize) -> Event<'_> {
        Event {
            ts_ms: 1_700_000_000_000 + n as i64,
            arrived_ms: 1_700_000_000_000,
            label: Some(LABELS[n % LABELS.len()]),
            ..Event::new(&self.names[series as usize], (n % 100_000) as f64 / 7.0)
        }
    }

    /// One event for each series.
    fn first_events(&self) -> Vec<u32> {
        (0..u32::try_from(self.names.len()).unwrap_or(u32::MAX)).collect()
    }
}

/// Applies the events with a hash map. Returns millions of events per second.
fn with_hash_map(load: &Load) -> f64 {
    let mut states: HashMap<String, <Statistics as Analysis>::State> = HashMap::new();
    let mut apply = |events: &[u32]| {
        for (n, series) in events.iter().enumerate() {
            let event = load.event(*series, n);
            let state = match states.get_mut(event.series) {
                Some(state) => state,
                None => states.entry(event.series.to_owned()).or_default(),
            };
            Statistics.apply(state, &event);
        }
    };
    apply(&load.first_events());
    let start = Instant::now();
    apply(&load.events);
    let rate = load.events.len() as f64 / start.elapsed().as_secs_f64() / 1e6;
    black_box(&states);
    rate
}

/// A service with only an analysis, and the API's end of the ring.
struct Service {
    memory: SharedMemory,
    link: ApiLink,
    analytics: Analytics,
    accepted: u64,
}

impl Service {
    fn start(load: &Load) -> anyhow::Result<Self> {
        let max_series = u32::try_from(load.names.len())?;
        let memory = SharedMemory::create(CAPACITY, max_series, 1)?;
        let analytics = Analytics::start(&memory, 1)?;
        analytics.activate()?;
        Ok(Self { link: ApiLink::open_in_process(&memory)?, memory, analytics, accepted: 0 })
    }

    /// Appends events as fast as the analysis applies them, and waits until all are committed.
    fn process(&mut self, load: &Load, events: &[u32]) -> anyhow::Result<Duration> {
        let (start, mut batch) = (Instant::now(), Batch::new());
        for (number, part) in events.chunks(BATCH).enumerate() {
            batch.clear();
            for (n, series) in part.iter().enumerate() {
                batch.push(&load.event(*series, number * BATCH + n))?;
            }
            while let Err(error) = self.link.append(&mut batch) {
                ensure!(matches!(error, AppendError::Full { .. }), "refused: {error}");
                self.wait(start)?;
            }
            self.accepted += part.len() as u64;
        }
        while self.memory.record().is_none_or(|record| record.seq < Seq(self.accepted)) {
            self.wait(start)?;
        }
        Ok(start.elapsed())
    }

    fn wait(&mut self, start: Instant) -> anyhow::Result<()> {
        ensure!(start.elapsed() < TIME_LIMIT, "the analysis did not apply the events within the time limit");
        self.analytics.check()?;
        thread::sleep(POLL_INTERVAL);
        Ok(())
    }

    /// The memory of the state table, in bytes.
    fn table_bytes(&self) -> anyhow::Result<u64> {
        Ok(self.state_fd()?.metadata()?.blocks() * 512)
    }

    fn state_fd(&self) -> anyhow::Result<File> {
        let (_, mut fds) = api_fds(&self.memory)?;
        Ok(take(&mut fds, "state")?.into())
    }

    /// The bytes of all names, states and public parts.
    fn encoded_bytes(&self) -> anyhow::Result<u64> {
        let state = AnalyticsLink::open_in_process(&self.memory)?.state;
        let table = TableReader::new(state, self.memory.table().slots());
        let record = self.memory.record().context("the commit record does not verify")?;
        let bodies = (0..record.slots).filter_map(|slot| table.body(BodySlot(slot), &record));
        Ok(bodies.map(|body| (body.key().len() + body.state().len() + body.public().len()) as u64).sum())
    }

    /// Waits until the memory of the table does not shrink any more, and returns it.
    fn idle_bytes(&mut self) -> anyhow::Result<u64> {
        let (mut bytes, mut unchanged) = (u64::MAX, Instant::now());
        while unchanged.elapsed() < Duration::from_secs(5) {
            thread::sleep(Duration::from_millis(50));
            let now = self.table_bytes()?;
            if now != bytes {
                (bytes, unchanged) = (now, Instant::now());
            }
        }
        Ok(bytes)
    }
}

/// Measures one number of series. The columns: events per second, those of the hash map, their ratio, commits, and the memory
/// of a series busy, when idle, and encoded.
fn measure_row(row: &mut Row, load: &Load, with_memory: bool) -> anyhow::Result<()> {
    let line = cache_line_ns()?;
    let map = with_hash_map(load);
    let mut service = Service::start(load)?;
    service.process(load, &load.first_events())?;
    let before = service.memory.record().unwrap_or_default().commit.0;
    let elapsed = service.process(load, &load.events)?;
    let rate = load.events.len() as f64 / elapsed.as_secs_f64() / 1e6;
    let commits = service.memory.record().unwrap_or_default().commit.0 - before;
    for (column, value) in [rate, map, rate / map, commits as f64].into_iter().enumerate() {
        row.record(column, value, line);
    }
    if with_memory {
        let series = load.names.len() as f64;
        row.record(4, service.table_bytes()? as f64 / series, line);
        row.record(5, service.idle_bytes()? as f64 / series, line);
        row.record(6, service.encoded_bytes()? as f64 / series, line);
    }
    service.analytics.stop()
}

/// Measures events per second.
pub(super) fn measure(plan: &Plan) -> anyhow::Result<SectionResult> {
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for (count, least) in COUNTS {
        for (name, distribution) in [("uniform", Distribution::Uniform), ("Zipf", Distribution::Zipf)] {
            let name = format!("{count} series, {name}");
            if !plan.includes_candidate(&name) {
                continue;
            }
            let (mut row, load) = (Row::of(&name, 7), Load::new(count, distribution));
            for round in 0..plan.rounds {
                measure_row(&mut row, &load, round == 0)?;
            }
            let found = |column: usize| row.cells[column].as_ref().and_then(|cell| cell.median());
            if let Some(least) = least {
                let what = format!("{name}: share of the hash map's rate");
                targets.push(Target { what, bound: Bound::AtLeast(least), found: found(2), unit: "x" });
            }
            if let (Some(busy), Some(idle), Some(encoded), 1_000_000) = (found(4), found(5), found(6), count)
            {
                let what = format!("{name}: memory busy, in encoded sizes");
                targets.push(Target {
                    what,
                    bound: Bound::AtMost(2.5),
                    found: Some(busy / encoded),
                    unit: "x",
                });
                let what = format!("{name}: memory when idle without 64 bytes, in encoded sizes");
                let found = Some((idle - 64.0) / encoded);
                targets.push(Target { what, bound: Bound::AtMost(1.5), found, unit: "x" });
            }
            rows.push(row);
        }
    }
    let column = |name, digits| Column { name, digits };
    Ok(SectionResult {
        name: "series",
        title: "The analysis with many series, its events from the ring and its commits included".to_owned(),
        columns: vec![
            column("M events/s", 2),
            column("hash map", 2),
            column("share", 2),
            column("commits", 0),
            column("bytes a series busy", 0),
            column("idle", 0),
            column("encoded", 0),
        ],
        rows,
        targets,
        ..SectionResult::default()
    })
}
