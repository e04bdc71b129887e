//! What the supervisor keeps on disk, all below `state_dir`: reserved numbers, quarantined events, crash reports.
//!
//! Any call here may block for as long as the disk does not respond.

mod atomic_file;
pub mod crashes;
pub mod high_water;
pub mod quarantine;
mod record_writer;
pub mod state_dir;
