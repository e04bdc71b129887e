//! Messages between two processes: messages per second, and the time of a round trip.

use crate::{
    Plan,
    machine::{self, cache_line_ns, ns, pinned},
    peer::Workload,
    report::{Bound, Column, Row, SectionResult, Target},
    stats::{RoundValues, percentile},
    transport::{self, Transport},
};
use std::time::Duration;

/// The two message lengths of the targets, in bytes.
const SIZES: [usize; 2] = [64, 1024];

/// The approximate duration of one measurement of a stream.
const STREAM_TIME: Duration = Duration::from_millis(80);

/// The number of messages of the first stream, which decides how many messages fill [`STREAM_TIME`].
const TRIAL_MESSAGES: u64 = 20_000;

/// The number of round trips: enough for a p99, and done within 0.2 s.
const ROUND_TRIPS: u64 = 2_000;

/// The ring by which the targets are judged: one message per append, as the peers send one per call.
const OURS: &str = "ring, spinning";
/// The ring as the API fills it with a request of 100 events.
const BATCHED: &str = "ring by the API, 100 a batch, spinning";
const PARKING: &str = "ring by the API, parking";
const ICEORYX: &str = "iceoryx2, spinning";
const PIPE: &str = "pipe";
const COPY: &str = "memcpy (one process)";

/// The row with this name.
fn row<'a>(rows: &'a [Row], name: &str) -> Option<&'a Row> {
    rows.iter().find(|row| row.name == name)
}

fn cell<'a>(rows: &'a [Row], name: &str, column: usize) -> Option<&'a RoundValues> {
    row(rows, name)?.cells.get(column)?.as_ref()
}

fn ratio(rows: &[Row], ours: &str, theirs: &str, column: usize) -> Option<f64> {
    cell(rows, ours, column)?.ratio_to(cell(rows, theirs, column)?)
}

/// Measures millions of messages per second, by length.
pub(super) fn throughput(plan: &Plan) -> anyhow::Result<SectionResult> {
    let transports = transport::all(plan);
    let names = transports.iter().map(|transport| transport.name()).chain([COPY]);
    let mut rows: Vec<Row> = names.map(|name| Row::of(name, SIZES.len())).collect();
    for (column, size) in SIZES.into_iter().enumerate() {
        let workloads = transports.iter().map(|transport| load_for_stream_time(&**transport, size));
        let workloads = workloads.collect::<anyhow::Result<Vec<Workload>>>()?;
        for _ in 0..plan.rounds {
            for ((transport, workload), row) in transports.iter().zip(&workloads).zip(&mut rows) {
                let cache_line = cache_line_ns()?;
                let elapsed = pinned(|| transport.stream(*workload))?;
                row.record(column, workload.count as f64 / elapsed.as_secs_f64() / 1e6, cache_line);
            }
            if let Some(row) = rows.last_mut() {
                let count = (256 << 20) / size as u64;
                let elapsed = pinned(|| Ok(machine::copy(size, count)))?;
                row.record(column, count as f64 / elapsed.as_secs_f64() / 1e6, cache_line_ns()?);
            }
        }
    }
    let mut targets = Vec::new();
    for ours in [OURS, BATCHED] {
        for (theirs, bounds) in [(ICEORYX, [15.0, 8.0]), (PIPE, [20.0, 8.0])] {
            for ((column, size), bound) in SIZES.into_iter().enumerate().zip(bounds) {
                targets.push(Target {
                    what: format!("{ours}, {size} B, over {theirs}"),
                    bound: Bound::AtLeast(bound),
                    found: ratio(&rows, ours, theirs, column),
                    unit: "times",
                });
            }
        }
    }
    Ok(SectionResult {
        name: "throughput",
        title: "Messages from one process to another, M/s".to_owned(),
        columns: vec![Column { name: "   64 B", digits: 2 }, Column { name: "  1 KiB", digits: 2 }],
        rows,
        targets,
        remarks: Vec::new(),
    })
}

fn load_for_stream_time(transport: &dyn Transport, size: usize) -> anyhow::Result<Workload> {
    let trial = Workload { size, count: TRIAL_MESSAGES };
    let elapsed = pinned(|| transport.stream(trial))?;
    let factor = STREAM_TIME.as_secs_f64() / elapsed.as_secs_f64();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
    let count = (TRIAL_MESSAGES as f64 * factor.clamp(0.1, 1_000.0)) as u64;
    Ok(Workload { size, count })
}

/// Measures the round trip of one message.
pub(super) fn round_trip(plan: &Plan) -> anyhow::Result<SectionResult> {
    let transports = transport::all(plan);
    let mut rows: Vec<Row> = transports.iter().map(|transport| Row::of(transport.name(), 2)).collect();
    let mut in_cache_lines = RoundValues::default();
    for _ in 0..plan.rounds {
        for (transport, row) in transports.iter().zip(&mut rows) {
            let (cache_line, warm_up) = (cache_line_ns()?, transport.warm_up());
            let workload = Workload { size: SIZES[0], count: warm_up + ROUND_TRIPS };
            let Some(round_trips) = pinned(|| transport.round_trips(workload))? else { continue };
            let counted = round_trips.get(usize::try_from(warm_up)?..).unwrap_or_default();
            let [p50, p99] = [50, 99].map(|percent| percentile(counted, percent).unwrap_or(f64::NAN));
            row.record(0, p50 / ns(Duration::from_micros(1)), cache_line);
            row.record(1, p99 / ns(Duration::from_micros(1)), cache_line);
            if row.name == OURS {
                // The scheduler may have moved the threads meanwhile: takes the slower value of before and
                // after.
                in_cache_lines.add(p50 / cache_line_ns()?.max(cache_line));
            }
        }
    }
    rows.retain(|row| row.cells.iter().any(Option::is_some));
    let targets = vec![
        Target {
            what: format!("{OURS}, p50"),
            bound: Bound::AtMost(3.0),
            found: in_cache_lines.median(),
            unit: "cache-line round trips",
        },
        Target {
            what: format!("{PARKING}, p50, over {PIPE}"),
            bound: Bound::AtMost(1.1),
            found: ratio(&rows, PARKING, PIPE, 0),
            unit: "times",
        },
    ];
    Ok(SectionResult {
        name: "roundtrip",
        title: format!("{} B to another process and back, us", SIZES[0]),
        columns: vec![Column { name: "    p50", digits: 2 }, Column { name: "    p99", digits: 2 }],
        rows,
        targets,
        remarks: Vec::new(),
    })
}
