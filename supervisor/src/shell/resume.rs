//! Where a run begins, and how it ends: marks and snapshot (DESIGN 2, P2).

use crate::state_dir::{Marks, Numbers, StateDir};
use anyhow::Context as _;
use bulkhead_proto::{
    ids::{CrashId, Generation, Seq},
    link::Memory,
    snapshot::{self, Summary},
};

/// The numbers of the very first run.
const FIRST: Numbers = Numbers { generation: Generation(1), crash: CrashId(1), seq: Seq(1) };

/// Loads what the last run has left into fresh memory. Says how numbering goes on; tells the log, loudly if something was
/// lost.
///
/// # Errors
/// When what is there cannot be read, or does not fit: to go on without would lose it for good.
pub(super) fn begin(state_dir: &StateDir, memory: &Memory) -> anyhow::Result<(Numbers, Marks)> {
    let left = Marks::read(&state_dir.marks())?;
    let loaded = match left {
        Some(_) => snapshot::load(memory, &state_dir.snapshot())?,
        None => None,
    };
    let next = match left {
        None => FIRST,
        Some((numbers, true)) => resume(numbers, loaded.as_ref()),
        Some((numbers, false)) => recover(numbers, loaded.as_ref()),
    };
    memory.continue_from(next.seq)?;
    Ok((next, Marks::begin(&state_dir.marks(), next)?))
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

/// Saves memory and marks. `settled`: nobody writes to memory any more; if not, the run does not count as ended in order.
///
/// # Errors
/// When it cannot be saved; then the next run begins from the snapshot before.
pub(super) fn end(
    state_dir: &StateDir,
    memory: &Memory,
    marks: &Marks,
    (generation, crash): (Generation, CrashId),
    settled: bool,
) -> anyhow::Result<()> {
    let saved = snapshot::save(memory, &state_dir.snapshot())?;
    let path = state_dir.snapshot();
    let (series, pending) = (saved.series, saved.pending);
    tracing::info!(
        event_name = "state_saved",
        series,
        pending,
        "saved the state of {series} series and {pending} pending events to {}",
        path.display()
    );
    if saved.unreadable > 0 {
        tracing::error!(
            event_name = "state_lost",
            series = saved.unreadable,
            "{} series did not verify and are not in the snapshot",
            saved.unreadable
        );
    }
    if let Some(damage) = &saved.damage {
        tracing::error!(event_name = "state_lost", "not all pending events could be read: {damage}");
    }
    if settled {
        marks.close(Numbers { generation, crash, seq: saved.next_seq }).context("marks")?;
    }
    Ok(())
}
