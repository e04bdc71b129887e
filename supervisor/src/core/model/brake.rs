//! The brake: tells poison events from a wrong program, so that a wrong program does not throw good events away.

use bincode::{Decode, Encode};
#[cfg(doc)]
use bulkhead_proto::wire::control::MAX_SERIES_HINTS;
use bulkhead_proto::wire::{
    cause::Cause,
    ids::{CrashId, Seq},
};

/// The share of failed events is taken over this many events.
pub const BRAKE_WINDOW: u64 = 1_000;

/// Fewer failed events than this do not engage the brake by their share.
pub const MIN_FAILED: usize = 20;

/// When this many events in a row have failed, later events are tried.
pub const MAX_ROW: usize = 8;

/// When this many trials in a row have failed, the brake engages.
pub const MAX_TRIALS: u32 = 8;

/// When this many events of one series in a row have failed while other events were applied, the series is isolated.
pub const MAX_SERIES_ROW: u32 = 8;

/// A series whose last events failed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FailingSeries {
    /// Its name.
    pub name: String,
    /// The number of failed events since one was applied.
    pub failures: u32,
}

/// A series whose events are not applied: they are stored in quarantine as they come.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct IsolatedSeries {
    /// Its name.
    pub name: String,
    /// The last event that the isolation concerns; `None`: no end. It ends when a new program starts, but the events that may
    /// have been stored by then are not applied.
    pub until: Option<Seq>,
    /// The report of the last death that it caused.
    pub crash: CrashId,
    /// The cause of that death.
    pub cause: Cause,
    /// Details of the cause.
    pub detail: String,
}

/// The brake of one analysis. An event has failed when it has too many attempts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Brake {
    /// The last committed event when this program was activated for the first time; `None`: not activated yet.
    pub since: Option<Seq>,
    /// The failed events among the last [`BRAKE_WINDOW`] ones, in order.
    pub failed: Vec<Seq>,
    /// The analysis applied an event after the failed ones up to this one: their skips may be committed.
    pub proven_until: Seq,
    /// The series whose last events failed, the latest last; at most [`MAX_SERIES_HINTS`].
    pub series: Vec<FailingSeries>,
    /// The isolated series; at most [`MAX_SERIES_HINTS`].
    pub isolated: Vec<IsolatedSeries>,
    /// The last event up to which events of isolated series may have been stored.
    pub stored_through: Seq,
    /// The trials under way: how many have failed. `None`: no later event is tried.
    pub trials: Option<u32>,
    /// Why the brake is engaged; `None`: it is not.
    pub engaged: Option<String>,
}
