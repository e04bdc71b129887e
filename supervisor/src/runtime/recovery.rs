//! The start and the end of a run: high-water marks and snapshot.

use crate::{
    display::error_chain,
    store::{
        Stores,
        high_water::{HighWaterMarks, MAX_ISSUED, Numbers},
        quarantine::QuarantineStore,
        state_dir::StateDir,
    },
};
use anyhow::Context as _;
use bulkhead_proto::{
    shm::{
        memory::SharedMemory,
        snapshot::{self, Summary},
    },
    wire::{
        control::MAX_HINTS,
        ids::{CrashId, Generation, Seq},
    },
};
use std::{collections::BTreeSet, ops::ControlFlow, path::Path};

/// The numbers of the very first run.
const FIRST: Numbers = Numbers { generation: Generation(1), crash: CrashId(1), seq: Seq(1) };

/// Loads what the last run left into fresh memory, and returns the next numbers. Logs what was restored and
/// what was lost.
///
/// # Errors
/// If something cannot be read or does not fit: to continue without it would lose it for good.
pub(super) fn load(state_dir: &StateDir, memory: &SharedMemory, stores: &Stores) -> anyhow::Result<Numbers> {
    let marks = HighWaterMarks::read(&state_dir.high_water_marks())?;
    let path = state_dir.snapshot();
    let loaded = match marks {
        Some(_) => snapshot::load(memory, &path)?,
        // A snapshot without its marks cannot be used, because numbers might be reused. Only the operator
        // may delete it.
        None => {
            let snapshot_exists = path.try_exists().with_context(|| path.display().to_string())?;
            anyhow::ensure!(
                !snapshot_exists,
                "{} is missing, but a snapshot exists: restore it, or move {} away to start without state",
                state_dir.high_water_marks().display(),
                path.display()
            );
            None
        }
    };
    let from_marks = match marks {
        None => FIRST,
        Some((numbers, true)) => after_orderly_stop(numbers, loaded.as_ref()),
        Some((numbers, false)) => after_unclean_end(numbers, loaded.as_ref()),
    };
    let next = skip_used_numbers(from_marks, stores);
    memory.continue_from(next.seq)?;
    Ok(next)
}

/// Numbers above those of all existing files. If the marks were lost and the files were not, new reports
/// would be deleted as the oldest, and new events would be taken for quarantined ones.
fn skip_used_numbers(from_marks: Numbers, Stores { crashes, quarantine }: &Stores) -> Numbers {
    let crash =
        highest_number("crash reports", crashes.records().and_then(|records| Ok(records.numbers()?)), |id| {
            id.0
        });
    let seq = highest_number(
        "quarantined events",
        quarantine.records().and_then(|records| Ok(records.numbers()?)),
        |seq| seq.0,
    );
    let next = Numbers {
        crash: from_marks.crash.max(CrashId(crash.saturating_add(1))),
        seq: from_marks.seq.max(Seq(seq.saturating_add(1))),
        ..from_marks
    };
    if next.seq > from_marks.seq {
        tracing::warn!(
            event_name = "seq_gap",
            after = from_marks.seq.0.saturating_sub(1),
            next_seq = next.seq.0,
            "event {seq} is in quarantine: numbering continues from {}",
            next.seq
        );
    }
    next
}

/// The highest number of these files; 0 if there are none. A file with an impossible number is ignored.
fn highest_number<N>(what: &str, numbers: anyhow::Result<Vec<N>>, number: fn(&N) -> u64) -> u64 {
    let numbers = numbers.unwrap_or_else(|error| {
        tracing::warn!("cannot read earlier {what}: {}", error_chain(&error));
        Vec::new()
    });
    let (valid, invalid): (Vec<_>, Vec<_>) =
        numbers.iter().map(number).partition(|number| *number <= MAX_ISSUED);
    for number in invalid {
        tracing::warn!("ignoring {number}.json among the {what}: this number was never used");
    }
    valid.into_iter().max().unwrap_or_default()
}

/// The last run ended in order.
fn after_orderly_stop(numbers: Numbers, loaded: Option<&Summary>) -> Numbers {
    match loaded {
        Some(loaded) => {
            let (series, pending, next_seq) = (loaded.series, loaded.pending, loaded.next_seq.0);
            tracing::info!(
                event_name = "state_restored",
                series,
                pending,
                next_seq,
                "restored {series} series and {pending} pending events from the last orderly stop"
            );
        }
        None if numbers.seq > FIRST.seq => tracing::error!(
            event_name = "state_lost",
            next_seq = numbers.seq.0,
            "the last run ended in order, but its snapshot is missing: starting without state, numbering \
             continues from {}",
            numbers.seq
        ),
        None => {}
    }
    numbers
}

/// The last run did not end in order: everything that was only in memory is lost.
fn after_unclean_end(numbers: Numbers, loaded: Option<&Summary>) -> Numbers {
    match loaded {
        Some(loaded) => tracing::error!(
            event_name = "state_lost",
            series = loaded.series,
            pending = loaded.pending,
            "the last run did not end in order: starting from the snapshot of the stop before it, {} series as \
             of event {}",
            loaded.series,
            loaded.next_seq.0.saturating_sub(1)
        ),
        None => tracing::error!(
            event_name = "state_lost",
            "the last run did not end in order and there is no snapshot: starting without state"
        ),
    }
    let last = loaded.map_or(0, |loaded| loaded.next_seq.0.saturating_sub(1));
    tracing::warn!(
        event_name = "seq_gap",
        after = last,
        next_seq = numbers.seq.0,
        "events {} to {} are lost or were never accepted: their numbers are not reused",
        last.saturating_add(1),
        numbers.seq.0.saturating_sub(1)
    );
    numbers
}

/// The pending events that are quarantined, but whose skip was not committed before the stop. They are
/// skipped now.
///
/// # Errors
/// If the quarantine cannot be read.
pub(super) fn quarantined_pending(
    store: &QuarantineStore,
    memory: &SharedMemory,
) -> anyhow::Result<Vec<Seq>> {
    let records = store.records()?;
    let stored: BTreeSet<Seq> =
        records.numbers().context("cannot read the quarantine")?.into_iter().collect();
    let mut skipped = Vec::new();
    memory.for_each_pending(|seq, bytes| {
        if stored.contains(&seq) {
            match records.read(seq) {
                Ok(Some(entry)) if entry.payload().as_deref() == Some(bytes) => skipped.push(seq),
                Ok(_) | Err(_) => tracing::warn!(
                    seq = seq.0,
                    "event {seq} is pending, but the quarantined event of this number differs: applying the pending event"
                ),
            }
        }
        ControlFlow::Continue(())
    });
    let left_out = skipped.split_off(skipped.len().min(MAX_HINTS));
    for seq in &left_out {
        // An event that is applied must not be replayed as well.
        store.remove(*seq).with_context(|| format!("event {seq} cannot leave the quarantine"))?;
    }
    if !left_out.is_empty() {
        tracing::warn!(
            left_out = left_out.len(),
            "{} pending events were in quarantine, and at most {MAX_HINTS} can be skipped: the others have left it, are \
             applied, and are quarantined again if the analysis dies of them",
            skipped.len() + left_out.len()
        );
    }
    Ok(skipped)
}

/// Logs what was saved to this file.
pub(super) fn log_saved(saved: &Summary, path: &Path) {
    let (series, pending) = (saved.series, saved.pending);
    tracing::info!(
        event_name = "state_saved",
        series,
        pending,
        "saved the state of {series} series and {pending} pending events to {}",
        path.display()
    );
    for lost in &saved.damaged_series {
        let kept = match &lost.kept {
            Ok(path) => path.display().to_string(),
            Err(error) => format!("nowhere ({error})"),
        };
        tracing::error!(
            event_name = "state_lost",
            series = %lost.name,
            slot = lost.slot,
            kept,
            "series {:?} failed its checksum and is not in the snapshot; its bytes are kept in {kept}",
            lost.name
        );
    }
    if let Some(damage) = &saved.damage {
        tracing::error!(event_name = "state_lost", "not all pending events could be read: {damage}");
    }
    if saved.unreadable_keys > 0 {
        let keys = saved.unreadable_keys;
        tracing::error!(
            event_name = "state_lost",
            keys,
            "{keys} recorded Idempotency-Keys cannot be read and are not in the snapshot"
        );
    }
}
