//! Answers to operators that are read from disk. Each is read on a thread of its own, because the disk may be
//! slow.

use super::control_plane::ReplyTo;
use crate::{
    control::protocol::{CommandOutcome, Reply},
    display::error_chain,
};
use std::thread;

/// Replies when the read is done. If no thread can be started, the dropped channel reads as "shutting down".
pub(super) fn answer(name: &str, reply: ReplyTo, read: impl FnOnce() -> Reply + Send + 'static) {
    let read = move || drop(reply.send(read()));
    if let Err(error) = thread::Builder::new().name(name.to_owned()).spawn(read) {
        tracing::error!("cannot start a thread to read {name}: {error}");
    }
}

/// The reply if the disk reports an error.
pub(super) fn unreadable(error: &anyhow::Error) -> Reply {
    Reply::new(CommandOutcome::Conflict, format!("cannot read: {}", error_chain(error)))
}
