//! What a commit costs, by how many series changed.

use crate::{
    Plan,
    machine::{line_ns, ns, pinned},
    report::{Column, Findings, Row},
};
use anyhow::Context;
use bulkhead_proto::{
    ids::{Position, Seq},
    link::{AnalyticsLink, Memory},
    ring::MIN_CAPACITY,
    state_memory::StateMemory,
    table::{Checkpoint, Slot, Writer},
};
use std::time::{Duration, Instant};

/// How many series change; the last is what `max_series` allows by default.
const DIRTY: [usize; 3] = [10, 1_000, 4_096];

/// What a commit of this many series writes in all is measured, however many commits that takes.
const BODIES: usize = 20_000;

/// A series' private state and its answer, in bytes: from a new series of the built-in analysis to a full one.
const STATE: (usize, usize) = (600, 2_200);
const PUBLIC: (usize, usize) = (400, 800);

/// A table with that many series, each with its slot.
struct Bench {
    table: Writer<StateMemory>,
    slots: Vec<(String, Slot)>,
    bytes: Vec<u8>,
    _memory: Memory,
}

/// What one commit took.
#[derive(Clone, Copy)]
struct Cost {
    stage: Duration,
    commit: Duration,
    bytes: usize,
}

impl Bench {
    fn new(series: usize) -> anyhow::Result<Self> {
        let memory = Memory::create(MIN_CAPACITY, u32::try_from(series)?, 1)?;
        let link = AnalyticsLink::open_within(&memory)?;
        let mut table = Writer::attach(link.state).context("a new table does not verify")?;
        table.activate();
        let keys = (0..series).map(|n| format!("bench.series.{n:05}"));
        let slots = keys.map(|key| table.assign(&key).map(|slot| (key, slot)).context("the table is full"));
        let slots = slots.collect::<anyhow::Result<_>>()?;
        Ok(Self { table, slots, bytes: vec![b'x'; STATE.1 + PUBLIC.1], _memory: memory })
    }

    fn commit(&mut self, seq: u64) -> anyhow::Result<Cost> {
        let (start, mut bytes, count) = (Instant::now(), 0, self.slots.len());
        for (place, (key, slot)) in self.slots.iter().enumerate() {
            let of = |(least, most): (usize, usize)| least + (most - least) * place / count;
            let (state, public) = (&self.bytes[..of(STATE)], &self.bytes[..of(PUBLIC)]);
            self.table.stage(*slot, 1, key, state, public)?;
            bytes += state.len() + public.len();
        }
        let staged = Instant::now();
        self.table.commit(Checkpoint { seq: Seq(seq), position: Position(seq), ..Checkpoint::default() })?;
        Ok(Cost { stage: staged - start, commit: staged.elapsed(), bytes })
    }
}

/// The cost of a commit: the whole, and a series' share of it.
pub(super) fn measure(plan: &Plan) -> anyhow::Result<Findings> {
    let mut rows: Vec<Row> = DIRTY.iter().map(|dirty| Row::of(&format!("{dirty} series"), 4)).collect();
    let mut benches = DIRTY.map(Bench::new).into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let mut seq = 0;
    // The first two commits of a table take its memory from the system.
    for bench in benches.iter_mut().flat_map(|bench| [bench; 1]) {
        for _ in 0..2 {
            seq += 1;
            bench.commit(seq)?;
        }
    }
    for _ in 0..plan.rounds {
        for (bench, row) in benches.iter_mut().zip(&mut rows) {
            let (line, commits) = (line_ns()?, BODIES.div_ceil(bench.slots.len()).min(500));
            let costs = pinned(|| {
                (0..commits)
                    .map(|_| {
                        seq += 1;
                        bench.commit(seq)
                    })
                    .collect::<anyhow::Result<Vec<Cost>>>()
            })?;
            let whole: Vec<f64> = costs.iter().map(|cost| ns(cost.stage + cost.commit) / 1e3).collect();
            let writes: f64 = costs.iter().map(|cost| ns(cost.commit)).sum();
            let bodies = (commits * bench.slots.len()) as f64;
            let bytes = costs.iter().map(|cost| cost.bytes).sum::<usize>() as f64;
            let median = crate::figures::percentile(&whole, 50).unwrap_or(f64::NAN);
            row.note(0, median, line);
            row.note(1, whole.iter().sum::<f64>() * 1e3 / bodies, line);
            row.note(2, writes / bodies, line);
            row.note(3, bytes / bodies, line);
        }
    }
    Ok(Findings {
        name: "commit",
        title: "A commit of the state table (its bodies written by pwrite)".to_owned(),
        columns: vec![
            Column { name: "  whole us", digits: 1 },
            Column { name: "ns a series", digits: 0 },
            Column { name: "of it writing", digits: 0 },
            Column { name: "bytes a series", digits: 0 },
        ],
        rows,
        ..Findings::default()
    })
}
