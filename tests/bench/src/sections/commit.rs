//! The cost of a commit, by the number of changed series.

use crate::{
    Plan,
    machine::{cache_line_ns, ns, pinned},
    report::{Column, Row, SectionResult},
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

/// The numbers of changed series. The last one is the default of `max_series`.
const CHANGED_SERIES: [usize; 3] = [10, 1_000, 4_096];

/// Each round measures as many commits as write this many bodies in total, at most 500.
const BODIES_PER_ROUND: usize = 20_000;

/// The sizes of a series' private state and of its public part, in bytes: from a new series of the built-in
/// analysis to a full one.
const STATE: (usize, usize) = (600, 2_200);
const PUBLIC: (usize, usize) = (400, 800);

/// A table with a slot for each of its series.
struct TableBench {
    table: TableWriter<StateMemory>,
    slots: Vec<(String, BodySlot)>,
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
    fn new(series: usize) -> anyhow::Result<Self> {
        let memory = SharedMemory::create(MIN_CAPACITY, u32::try_from(series)?, 1)?;
        let link = AnalyticsLink::open_in_process(&memory)?;
        let mut table =
            TableWriter::attach(link.state, memory.table().slots()).context("a new table does not verify")?;
        table.activate();
        let keys = (0..series).map(|n| format!("bench.series.{n:05}"));
        let slots = keys.map(|key| table.assign(&key).map(|slot| (key, slot)).context("the table is full"));
        let slots = slots.collect::<anyhow::Result<_>>()?;
        Ok(Self { table, slots, bytes: vec![b'x'; STATE.1 + PUBLIC.1], _memory: memory })
    }

    fn commit(&mut self, seq: u64) -> anyhow::Result<CommitCost> {
        let (start, mut bytes, count) = (Instant::now(), 0, self.slots.len());
        for (index, (key, slot)) in self.slots.iter().enumerate() {
            let scale = |(min, max): (usize, usize)| min + (max - min) * index / count;
            let (state, public) = (&self.bytes[..scale(STATE)], &self.bytes[..scale(PUBLIC)]);
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

/// Measures the cost of a commit, in total and per series.
pub(super) fn measure(plan: &Plan) -> anyhow::Result<SectionResult> {
    let mut rows: Vec<Row> =
        CHANGED_SERIES.iter().map(|changed| Row::of(&format!("{changed} series"), 4)).collect();
    let mut benches = CHANGED_SERIES.map(TableBench::new).into_iter().collect::<anyhow::Result<Vec<_>>>()?;
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
                (cache_line_ns()?, BODIES_PER_ROUND.div_ceil(bench.slots.len()).min(500));
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
        rows,
        ..SectionResult::default()
    })
}
