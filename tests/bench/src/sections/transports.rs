//! Messages between two processes: how many a second, and how long one takes there and back.

use crate::{
    Plan,
    figures::{Rounds, percentile},
    machine::{self, line_ns, ns, pinned},
    peer::Load,
    report::{Aim, Column, Findings, Row, Target},
    transport::{self, Transport},
};
use std::time::Duration;

/// The two lengths of MEASURED.md, in bytes.
const SIZES: [usize; 2] = [64, 1024];

/// How long one measurement of a stream takes, about.
const SPELL: Duration = Duration::from_millis(80);

/// A first stream of so many messages tells how many make up a spell.
const TRIAL: u64 = 20_000;

/// So many trips tell a p99, and take 0.2 s at most.
const TRIPS: u64 = 2_000;

/// Our ring, by which the targets are judged: one message an append, as the peers send one a call.
const OURS: &str = "ring, spinning";
/// As the API fills it with a request of 100 events.
const BATCHED: &str = "ring by the API, 100 a batch, spinning";
const PARKING: &str = "ring by the API, parking";
const ICEORYX: &str = "iceoryx2, spinning";
const PIPE: &str = "pipe";
const COPY: &str = "memcpy (one process)";

/// The row of that name.
fn row<'a>(rows: &'a [Row], name: &str) -> Option<&'a Row> {
    rows.iter().find(|row| row.name == name)
}

fn cell<'a>(rows: &'a [Row], name: &str, column: usize) -> Option<&'a Rounds> {
    row(rows, name)?.cells.get(column)?.as_ref()
}

fn ratio(rows: &[Row], ours: &str, theirs: &str, column: usize) -> Option<f64> {
    cell(rows, ours, column)?.ratio_to(cell(rows, theirs, column)?)
}

/// Millions of messages a second, by length.
pub(super) fn throughput(plan: &Plan) -> anyhow::Result<Findings> {
    let transports = transport::all(plan);
    let names = transports.iter().map(|transport| transport.name()).chain([COPY]);
    let mut rows: Vec<Row> = names.map(|name| Row::of(name, SIZES.len())).collect();
    for (column, size) in SIZES.into_iter().enumerate() {
        let loads = transports.iter().map(|transport| load_for_a_spell(&**transport, size));
        let loads = loads.collect::<anyhow::Result<Vec<Load>>>()?;
        for _ in 0..plan.rounds {
            for ((transport, load), row) in transports.iter().zip(&loads).zip(&mut rows) {
                let line = line_ns()?;
                let elapsed = pinned(|| transport.flow(*load))?;
                row.note(column, load.count as f64 / elapsed.as_secs_f64() / 1e6, line);
            }
            if let Some(row) = rows.last_mut() {
                let count = (256 << 20) / size as u64;
                let elapsed = pinned(|| Ok(machine::copy(size, count)))?;
                row.note(column, count as f64 / elapsed.as_secs_f64() / 1e6, line_ns()?);
            }
        }
    }
    let mut targets = Vec::new();
    for ours in [OURS, BATCHED] {
        for (theirs, aims) in [(ICEORYX, [15.0, 8.0]), (PIPE, [20.0, 8.0])] {
            for ((column, size), aim) in SIZES.into_iter().enumerate().zip(aims) {
                targets.push(Target {
                    what: format!("{ours}, {size} B, over {theirs}"),
                    aim: Aim::AtLeast(aim),
                    found: ratio(&rows, ours, theirs, column),
                    unit: "times",
                });
            }
        }
    }
    Ok(Findings {
        name: "throughput",
        title: "Messages from one process to another, M/s".to_owned(),
        columns: vec![Column { name: "   64 B", digits: 2 }, Column { name: "  1 KiB", digits: 2 }],
        rows,
        targets,
        remarks: Vec::new(),
    })
}

fn load_for_a_spell(transport: &dyn Transport, size: usize) -> anyhow::Result<Load> {
    let trial = Load { size, count: TRIAL };
    let elapsed = pinned(|| transport.flow(trial))?;
    let more = SPELL.as_secs_f64() / elapsed.as_secs_f64();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
    let count = (TRIAL as f64 * more.clamp(0.1, 1_000.0)) as u64;
    Ok(Load { size, count })
}

/// The time of one message there and back.
pub(super) fn round_trip(plan: &Plan) -> anyhow::Result<Findings> {
    let transports = transport::all(plan);
    let mut rows: Vec<Row> = transports.iter().map(|transport| Row::of(transport.name(), 2)).collect();
    let mut in_lines = Rounds::default();
    for _ in 0..plan.rounds {
        for (transport, row) in transports.iter().zip(&mut rows) {
            let (line, warm_up) = (line_ns()?, transport.warm_up());
            let load = Load { size: SIZES[0], count: warm_up + TRIPS };
            let Some(trips) = pinned(|| transport.trips(load))? else { continue };
            let counted = trips.get(usize::try_from(warm_up)?..).unwrap_or_default();
            let [p50, p99] = [50, 99].map(|percent| percentile(counted, percent).unwrap_or(f64::NAN));
            row.note(0, p50 / ns(Duration::from_micros(1)), line);
            row.note(1, p99 / ns(Duration::from_micros(1)), line);
            if row.name == OURS {
                // The cores may have moved meanwhile: the slower one of before and after.
                in_lines.add(p50 / line_ns()?.max(line));
            }
        }
    }
    rows.retain(|row| row.cells.iter().any(Option::is_some));
    let targets = vec![
        Target {
            what: format!("{OURS}, p50"),
            aim: Aim::AtMost(3.0),
            found: in_lines.median(),
            unit: "cache-line round trips",
        },
        Target {
            what: format!("{PARKING}, p50, over {PIPE}"),
            aim: Aim::AtMost(1.1),
            found: ratio(&rows, PARKING, PIPE, 0),
            unit: "times",
        },
    ];
    Ok(Findings {
        name: "roundtrip",
        title: format!("{} B to another process and back, us", SIZES[0]),
        columns: vec![Column { name: "    p50", digits: 2 }, Column { name: "    p99", digits: 2 }],
        rows,
        targets,
        remarks: Vec::new(),
    })
}
