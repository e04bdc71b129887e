//! The reload in progress.

use crate::{
    config::{ActiveConfig, WorkerChange},
    control::protocol::ChangeResult,
    core::ClientId,
    runtime::control_plane::ReplyTo,
};
use std::collections::BTreeMap;

/// A reload in progress.
pub(in crate::runtime) struct Reload {
    /// The client that waits for its end, if it was requested by command.
    pub(super) reply: Option<ReplyTo>,
    /// The warnings about the new configuration, for the client.
    pub(super) warnings: String,
    /// The configuration before.
    pub(super) previous: ActiveConfig,
    /// The changes of workers in progress.
    pub(super) pending: BTreeMap<ClientId, (String, WorkerChange)>,
    /// The results so far.
    pub(super) done: Vec<ChangeResult>,
}
