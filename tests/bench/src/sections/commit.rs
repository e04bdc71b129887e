//! The cost of a commit, by the number of changed series.

use crate::{
    Plan,
    machine::{cache_line_ns, ns, pinned},
    report::{Bound, Column, Row, SectionResult, Target},
};
use anyhow::Context;
use bulkhead_proto::{
    shm::{
        memory::SharedMemory,
        ring::MIN_CAPACITY,
        state_memory::StateMemory,
        table::{BodySlot, CommitRecord, Content, TableWriter},
    },
    wire::ids::{Position, Seq},
    worker::link::AnalyticsLink,
};
use std::time::{Duration, Instant};

/// What is committed.
struct Case {
    name: &'static str,
    series: usize,
    /// The sizes of a series' private state, from the first series to the last one, in bytes.
    state: (usize, usize),
    /// The same for its public part.
    public: (usize, usize),
}

/// Series of the built-in analysis, from a new one to a full one; small ones, as the design assumed; and one of 10 MiB.
const CASES: [Case; 5] = [
    Case { name: "10 series", series: 10, state: (600, 2_200), public: (400, 800) },
    Case { name: "1000 series", series: 1_000, state: (600, 2_200), public: (400, 800) },
    Case { name: "4096 series", series: 4_096, state: (600, 2_200), public: (400, 800) },
    Case { name: "60000 series of 600 bytes", series: 60_000, state: (300, 300), public: (300, 300) },
    Case { name: "one series of 10 MiB", series: 1, state: (10 << 20, 10 << 20), public: (400, 800) },
];

/// Each round measures as many commits as write this many bodies in total, at least 3 and at most 500.
const BODIES_PER_ROUND: usize = 20_000;

/// A state of 10 MiB can be committed this often in a second.
const LARGE_COMMITS: f64 = 100.0;

/// The most that a changed series of 600 bytes may cost, in microseconds.
const SMALL_COST_US: f64 = 0.4;

/// A table with a slot for each of its series.
struct TableBench {
    table: TableWriter<StateMemory>,
    slots: Vec<(String, BodySlot)>,
    case: &'static Case,
    bytes: Vec<u8>,
    _memory: SharedMemory,
}

/// The cost of one commit.
#[derive(Clone, Copy)]
struct CommitCost {
    stage: Duration,
    commit: Duration,
    bytes: usize,
}

impl TableBench {
    fn new(case: &'static Case) -> anyhow::Result<Self> {
        let series = case.series;
        let memory = SharedMemory::create(MIN_CAPACITY, u32::try_from(series)?, 1)?;
        let link = AnalyticsLink::open_in_process(&memory)?;
        let mut table =
            TableWriter::attach(link.state, memory.table().slots()).context("a new table does not verify")?;
        table.activate();
        let keys = (0..series).map(|n| format!("bench.series.{n:05}"));
        let slots = keys.map(|key| table.assign(&key).map(|slot| (key, slot)).context("the table is full"));
        let slots = slots.collect::<anyhow::Result<_>>()?;
        Ok(Self { table, slots, case, bytes: vec![b'x'; case.state.1.max(case.public.1)], _memory: memory })
    }

    fn commit(&mut self, seq: u64) -> anyhow::Result<CommitCost> {
        let (start, mut bytes, count) = (Instant::now(), 0, self.slots.len());
        for (index, (key, slot)) in self.slots.iter().enumerate() {
            let scale = |(min, max): (usize, usize)| min + (max - min) * index / count;
            let Case { state, public, .. } = *self.case;
            let (state, public) = (&self.bytes[..scale(state)], &self.bytes[..scale(public)]);
            let content = Content { key, version: 1, last_arrival_ms: 0, state, public };
            self.table.stage(*slot, content)?;
            bytes += state.len() + public.len();
        }
        let staged = Instant::now();
        self.table.commit(CommitRecord {
            seq: Seq(seq),
            position: Position(seq),
            ..CommitRecord::default()
        })?;
        Ok(CommitCost { stage: staged - start, commit: staged.elapsed(), bytes })
    }
}

fn targets(rows: &[Row]) -> Vec<Target> {
    let found = |row: usize, column: usize| rows.get(row)?.cells.get(column)?.as_ref()?.median();
    vec![
        Target {
            what: "a changed series of 600 bytes".to_owned(),
            bound: Bound::AtMost(SMALL_COST_US),
            found: found(3, 1).map(|ns| ns / 1e3),
            unit: "us",
        },
        Target {
            what: "commits of a state of 10 MiB".to_owned(),
            bound: Bound::AtLeast(LARGE_COMMITS),
            found: found(4, 0).map(|us| 1e6 / us),
            unit: "a second",
        },
    ]
}

/// Measures the cost of a commit, in total and per series.
pub(super) fn measure(plan: &Plan) -> anyhow::Result<SectionResult> {
    let mut rows: Vec<Row> = CASES.iter().map(|case| Row::of(case.name, 4)).collect();
    let mut benches = CASES.iter().map(TableBench::new).collect::<anyhow::Result<Vec<_>>>()?;
    let mut seq = 0;
    // The first two commits of a table also allocate its memory.
    for bench in benches.iter_mut().flat_map(|bench| [bench; 1]) {
        for _ in 0..2 {
            seq += 1;
            bench.commit(seq)?;
        }
    }
    for _ in 0..plan.rounds {
        for (bench, row) in benches.iter_mut().zip(&mut rows) {
            let (cache_line, commits) =
                (cache_line_ns()?, BODIES_PER_ROUND.div_ceil(bench.slots.len()).clamp(3, 500));
            let costs = pinned(|| {
                (0..commits)
                    .map(|_| {
                        seq += 1;
                        bench.commit(seq)
                    })
                    .collect::<anyhow::Result<Vec<CommitCost>>>()
            })?;
            let total: Vec<f64> = costs.iter().map(|cost| ns(cost.stage + cost.commit) / 1e3).collect();
            let write_ns: f64 = costs.iter().map(|cost| ns(cost.commit)).sum();
            let bodies = (commits * bench.slots.len()) as f64;
            let bytes = costs.iter().map(|cost| cost.bytes).sum::<usize>() as f64;
            let median = crate::stats::percentile(&total, 50).unwrap_or(f64::NAN);
            row.record(0, median, cache_line);
            row.record(1, total.iter().sum::<f64>() * 1e3 / bodies, cache_line);
            row.record(2, write_ns / bodies, cache_line);
            row.record(3, bytes / bodies, cache_line);
        }
    }
    Ok(SectionResult {
        name: "commit",
        title: "A commit of the state table (its bodies written by pwrite)".to_owned(),
        columns: vec![
            Column { name: "  total us", digits: 1 },
            Column { name: "ns a series", digits: 0 },
            Column { name: "ns writing", digits: 0 },
            Column { name: "bytes a series", digits: 0 },
        ],
        targets: targets(&rows),
        rows,
        ..SectionResult::default()
    })
}
