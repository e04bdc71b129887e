//! Checks before the activation whether this analysis can read the stored states.

use super::{
    schema_id::{IncompatibleState, SchemaId},
    series::decode,
};
use crate::Analysis;
use bulkhead_proto::{
    shm::{
        access::ReadWords,
        table::{BodySlot, CommitRecord, TableReader},
    },
    worker::panic_hook,
};

/// The most series whose state is read. A changed type shows in nearly every state, and the check must not delay a restart.
const MAX_SAMPLES: u32 = 64;

/// Why this analysis must not be activated: it would reset series.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateRefused {
    /// The table belongs to another analysis or version.
    #[error(transparent)]
    Incompatible(#[from] IncompatibleState),
    /// A stored state cannot be read.
    #[error(
        "the stored states do not fit this program; series {series:?}: {reason}. Every such series would begin anew. \
         Give new fields #[serde(default)], or raise VERSION and migrate the state"
    )]
    Unreadable {
        /// The name of the series.
        series: String,
        /// The field, and what is wrong with it.
        reason: String,
    },
}

/// Checks that the table belongs to this analysis, in a version that it can read.
pub(super) fn check_schema<A: Analysis>(record: &CommitRecord) -> Result<(), IncompatibleState> {
    // Without any commit, the table is empty and belongs to no analysis.
    if record.commit.0 == 0 { Ok(()) } else { SchemaId(record.version).check::<A>() }
}

/// Checks the schema of the table, and reads the states of up to [`MAX_SAMPLES`] series, spread over the table. If most of
/// them cannot be read, the type of the state has changed; a few are damage, which is handled when each is loaded. The
/// predecessor may be running: a series that it is writing is passed over.
pub(crate) fn check_stored_states<A: Analysis>(
    analysis: &A,
    table: &TableReader<impl ReadWords>,
) -> Result<(), StateRefused> {
    let record = table.record().unwrap_or_default();
    check_schema::<A>(&record)?;
    let step = record.slots.div_ceil(MAX_SAMPLES).max(1);
    let (mut readable, mut unreadable) = (0, Vec::new());
    for slot in (0..record.slots).step_by(step as usize).map(BodySlot) {
        let Some(body) = table.body(slot, &record).filter(|body| !body.is_free()) else { continue };
        match panic_hook::catch(|| decode(analysis, &body).map(drop)) {
            Ok(Ok(())) => readable += 1,
            Ok(Err(reason)) => {
                unreadable.push(StateRefused::Unreadable { series: body.key().to_owned(), reason });
            }
            // A panic is charged to the event that loads the series.
            Err(_) => {}
        }
    }
    if unreadable.len() > readable {
        return unreadable.into_iter().next().map_or(Ok(()), Err);
    }
    Ok(())
}
