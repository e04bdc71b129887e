//! What the supervisor keeps on disk, all below `state_dir`: reserved numbers, quarantined events, crash reports.
//!
//! Any call here may block for as long as the disk does not respond.

mod atomic_file;
pub mod crashes;
pub mod high_water;
pub mod quarantine;
mod record_writer;
pub mod state_dir;

use std::sync::Arc;

/// The directories of records.
#[derive(Clone, Debug)]
pub struct Stores {
    /// The quarantined events.
    pub quarantine: Arc<quarantine::QuarantineStore>,
    /// The crash reports.
    pub crashes: Arc<crashes::CrashStore>,
}

impl Stores {
    /// The directories below this state directory. Each is created when it is needed.
    #[must_use]
    pub fn new(state_dir: &state_dir::StateDir) -> Self {
        Self {
            quarantine: Arc::new(quarantine::QuarantineStore::new(state_dir.quarantine())),
            crashes: Arc::new(crashes::CrashStore::new(state_dir.crashes())),
        }
    }
}
