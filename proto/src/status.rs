//! The status board: the public part of the supervisor's ledger, mapped read-only by the API.

use crate::{
    ids::{CrashId, Generation, Seq},
    words::{Cause, Role, WorkerState},
};
use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// All that the supervisor publishes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Status {
    /// The supervisor's pid.
    pub pid: u32,
    /// When it started, Unix milliseconds.
    pub started_ms: u64,
    /// Whether faults are enabled.
    pub faults: bool,
    /// A row a worker; a standby, or a successor that is starting beside its predecessor, is a row of its own.
    pub workers: Vec<WorkerRow>,
}

/// One worker, or one standby.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct WorkerRow {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Its state.
    pub state: WorkerState,
    /// The generation that is alive, or the last one.
    pub generation: Generation,
    /// The process, when one is alive.
    pub pid: Option<u32>,
    /// How often it was started again after the first time.
    pub restarts: u64,
    /// When this generation was started, Unix milliseconds.
    pub started_ms: u64,
    /// The last death that nobody had asked for… or that somebody had: `cause` says.
    pub last_crash: Option<CrashRow>,
}

/// One death, in short.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct CrashRow {
    /// The report's number.
    pub id: CrashId,
    /// Why.
    pub cause: Cause,
    /// More of why: a panic message with its location, a signal's name, an exit code.
    pub detail: String,
    /// The event in hand, if there was one.
    pub seq: Option<Seq>,
    /// When, Unix milliseconds.
    pub at_ms: u64,
}
