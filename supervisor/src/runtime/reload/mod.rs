//! Reload of the configuration.

mod apply;
mod change_report;
mod in_progress;

pub(super) use in_progress::Reload;
