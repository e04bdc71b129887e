//! The reload in progress.

use crate::{
    config::{ActiveConfig, WorkerChange},
    control::protocol::{ChangeResult, Reply},
    core::ClientId,
};
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// Where the answer to a client goes.
pub(super) type ReplyTo = oneshot::Sender<Reply>;

/// A reload in progress.
pub(in crate::runtime) struct Reload {
    /// The client that waits for its end, if it was requested by command.
    pub(super) reply: Option<ReplyTo>,
    /// The configuration before.
    pub(super) previous: ActiveConfig,
    /// The changes of workers in progress.
    pub(super) pending: BTreeMap<ClientId, (String, WorkerChange)>,
    /// The results so far.
    pub(super) done: Vec<ChangeResult>,
}
