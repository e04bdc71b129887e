//! The configuration in use, and the reload that changes it.

use super::reload::Reload;
use crate::{config::ActiveConfig, log::Log};
use std::path::PathBuf;

/// The configuration in use.
pub(super) struct Configuration {
    pub(super) active: ActiveConfig,
    /// The path of `--config`: a reload looks there first.
    pub(super) path: Option<PathBuf>,
    pub(super) log: Log,
    /// The reload in progress; at most one.
    pub(super) reload: Option<Reload>,
    /// Origin of a reload signal that arrived during a reload: one more reload follows.
    pub(super) queued_reload: Option<String>,
}
