//! Where a run begins, and how it ends: marks and snapshot (DESIGN 2, P2).

use crate::{
    display::error_chain,
    store::crashes::CrashStore,
    store::quarantine::QuarantineStore,
    store::{
        high_water::{HighWaterMarks, MAX_ISSUED, Numbers},
        state_dir::StateDir,
    },
};
use anyhow::Context as _;
use bulkhead_proto::{
    control::MAX_CARE,
    ids::{CrashId, Generation, Seq},
    link::Memory,
    snapshot::{self, SnapshotError, Summary},
};
use std::{collections::BTreeSet, future::pending, io, ops::ControlFlow, sync::Arc};
use tokio::sync::oneshot;

/// The numbers of the very first run.
const FIRST: Numbers = Numbers { generation: Generation(1), crash: CrashId(1), seq: Seq(1) };

/// Loads what the last run has left into fresh memory. Says how numbering goes on; tells the log, loudly if something was
/// lost.
///
/// # Errors
/// When what is there cannot be read, or does not fit: to go on without would lose it for good.
pub(super) fn load(
    state_dir: &StateDir,
    memory: &Memory,
    crashes: &CrashStore,
    quarantine: &QuarantineStore,
) -> anyhow::Result<Numbers> {
    let left = HighWaterMarks::read(&state_dir.high_water_marks())?;
    let path = state_dir.snapshot();
    let loaded = match left {
        Some(_) => snapshot::load(memory, &path)?,
        // Without its marks a snapshot cannot be gone on from: numbers might be given out twice. It is not ours to drop.
        None => {
            let alone = path.try_exists().with_context(|| path.display().to_string())?;
            anyhow::ensure!(
                !alone,
                "{} is missing beside the snapshot: restore it, or move {} away to begin without state",
                state_dir.high_water_marks().display(),
                path.display()
            );
            None
        }
    };
    let marked = match left {
        None => FIRST,
        Some((numbers, true)) => resume(numbers, loaded.as_ref()),
        Some((numbers, false)) => recover(numbers, loaded.as_ref()),
    };
    let next = behind_files(marked, crashes, quarantine);
    memory.continue_from(next.seq)?;
    Ok(next)
}

/// Numbers behind those of all files that are there, should the marks be lost and the files not: new reports would be
/// forgotten as the oldest, and new events be taken for those that were set aside.
fn behind_files(marked: Numbers, crashes: &CrashStore, quarantine: &QuarantineStore) -> Numbers {
    let crash =
        newest("crash reports", crashes.records().and_then(|folder| Ok(folder.numbers()?)), |id| id.0);
    let seq =
        newest("events set aside", quarantine.records().and_then(|folder| Ok(folder.numbers()?)), |seq| {
            seq.0
        });
    let next = Numbers {
        crash: marked.crash.max(CrashId(crash.saturating_add(1))),
        seq: marked.seq.max(Seq(seq.saturating_add(1))),
        ..marked
    };
    if next.seq > marked.seq {
        tracing::warn!(
            event_name = "seq_gap",
            after = marked.seq.0.saturating_sub(1),
            next_seq = next.seq.0,
            "event {seq} is set aside already: numbers go on from {}",
            next.seq
        );
    }
    next
}

/// The highest number of these files; 0 when there is none. Files whose number was never given out are not ours.
fn newest<N>(what: &str, numbers: anyhow::Result<Vec<N>>, number: fn(&N) -> u64) -> u64 {
    let numbers = numbers.unwrap_or_else(|error| {
        tracing::warn!("earlier {what} cannot be read: {}", error_chain(&error));
        Vec::new()
    });
    let (ours, strange): (Vec<_>, Vec<_>) =
        numbers.iter().map(number).partition(|number| *number <= MAX_ISSUED);
    for number in strange {
        tracing::warn!("among the {what} is a file {number}.json: no such number was ever given out");
    }
    ours.into_iter().max().unwrap_or_default()
}

/// The last run ended in order.
fn resume(numbers: Numbers, loaded: Option<&Summary>) -> Numbers {
    match loaded {
        Some(loaded) => {
            let (series, pending, next_seq) = (loaded.series, loaded.pending, loaded.next_seq.0);
            tracing::info!(
                event_name = "state_restored",
                series,
                pending,
                next_seq,
                "the state of {series} series and {pending} pending events, as they were at the last stop"
            );
        }
        None if numbers.seq > FIRST.seq => tracing::error!(
            event_name = "state_lost",
            next_seq = numbers.seq.0,
            "the last run ended in order, but its snapshot is not there; beginning without state, \
             numbers go on from {}",
            numbers.seq
        ),
        None => {}
    }
    numbers
}

/// The last run did not end in order: all that was in memory is lost.
fn recover(numbers: Numbers, loaded: Option<&Summary>) -> Numbers {
    match loaded {
        Some(loaded) => tracing::error!(
            event_name = "state_lost",
            series = loaded.series,
            pending = loaded.pending,
            "the last run did not end in order; going on from the snapshot of the stop before it: \
             the state of {} series as of event {}",
            loaded.series,
            loaded.next_seq.0.saturating_sub(1)
        ),
        None => tracing::error!(
            event_name = "state_lost",
            "the last run did not end in order, and there is no snapshot; beginning without state"
        ),
    }
    let last = loaded.map_or(0, |loaded| loaded.next_seq.0.saturating_sub(1));
    tracing::warn!(
        event_name = "seq_gap",
        after = last,
        next_seq = numbers.seq.0,
        "events {} to {} are lost, or were never accepted: their numbers are not given out again",
        last.saturating_add(1),
        numbers.seq.0.saturating_sub(1)
    );
    numbers
}

/// The pending events that were set aside, and whose skip was not committed before the stop: they are skipped now.
///
/// # Errors
/// When it cannot be read what is set aside.
pub(super) fn set_aside(store: &QuarantineStore, memory: &Memory) -> anyhow::Result<Vec<Seq>> {
    let folder = store.records()?;
    let stored: BTreeSet<Seq> =
        folder.numbers().context("cannot read what is set aside")?.into_iter().collect();
    let mut skipped = Vec::new();
    memory.each_pending(|seq, bytes| {
        if stored.contains(&seq) {
            match folder.read(seq) {
                Ok(Some(entry)) if entry.payload().as_deref() == Some(bytes) => skipped.push(seq),
                Ok(_) | Err(_) => tracing::warn!(
                    seq = seq.0,
                    "event {seq} is pending, and what is set aside by this number is not it: it is applied"
                ),
            }
        }
        ControlFlow::Continue(())
    });
    if let Some(left_out) = skipped.len().checked_sub(MAX_CARE).filter(|left_out| *left_out > 0) {
        tracing::warn!(
            left_out,
            "{} pending events are set aside, and {MAX_CARE} can be skipped: the others are applied, and set aside again if \
             the analysis dies of them",
            skipped.len()
        );
    }
    Ok(skipped)
}

/// A snapshot that is being written, on a thread of its own: a disk may take its time, or for ever, and the supervisor must
/// hear a second signal meanwhile.
#[derive(Debug)]
pub(super) struct Saving {
    /// Nobody writes to memory any more; if somebody does, the run does not count as ended in order.
    settled: bool,
    done: oneshot::Receiver<Result<Summary, SnapshotError>>,
}

/// Begins to save the memory.
///
/// # Errors
/// When there can be no further thread.
pub(super) fn save(state_dir: &StateDir, memory: &Arc<Memory>, settled: bool) -> io::Result<Saving> {
    let (tell, done) = oneshot::channel();
    let (memory, path) = (Arc::clone(memory), state_dir.snapshot());
    // Nobody waits for a supervisor that has given up on its disk.
    let work = move || drop(tell.send(snapshot::save(&memory, &path)));
    std::thread::Builder::new().name("snapshot".to_owned()).spawn(work)?;
    Ok(Saving { settled, done })
}

/// Waits for a snapshot that is being written; for ever when there is none.
pub(super) async fn saved(saving: &mut Option<Saving>) -> (bool, anyhow::Result<Summary>) {
    let Some(current) = saving else { return pending().await };
    let result = (&mut current.done).await;
    let settled = current.settled;
    *saving = None;
    (settled, result.context("the thread that saves is gone").and_then(|saved| Ok(saved?)))
}

/// Tells what was saved, and marks the run as ended in order.
///
/// # Errors
/// When the marks cannot be written; then the next run does not believe that this one ended in order.
pub(super) fn end(
    state_dir: &StateDir,
    saved: &Summary,
    marks: &HighWaterMarks,
    (generation, crash): (Generation, CrashId),
    settled: bool,
) -> anyhow::Result<()> {
    let path = state_dir.snapshot();
    let (series, pending) = (saved.series, saved.pending);
    tracing::info!(
        event_name = "state_saved",
        series,
        pending,
        "saved the state of {series} series and {pending} pending events to {}",
        path.display()
    );
    for lost in &saved.lost {
        let kept = match &lost.kept {
            Ok(path) => path.display().to_string(),
            Err(error) => format!("nowhere: {error}"),
        };
        tracing::error!(
            event_name = "state_lost",
            series = %lost.name,
            slot = lost.slot,
            kept,
            "series {:?} does not verify and is not in the snapshot; its bytes are kept: {kept}",
            lost.name
        );
    }
    if let Some(damage) = &saved.damage {
        tracing::error!(event_name = "state_lost", "not all pending events could be read: {damage}");
    }
    if saved.lost_keys > 0 {
        let keys = saved.lost_keys;
        tracing::error!(
            event_name = "state_lost",
            keys,
            "{keys} of the remembered Idempotency-Keys cannot be read and are not in the snapshot"
        );
    }
    if settled {
        marks.close(Numbers { generation, crash, seq: saved.next_seq }).context("marks")?;
    }
    Ok(())
}
