//! Answers to operators that are read from the disk, which may take its time: each on a thread of its own.

use crate::{
    control::protocol::{Ended, Reply},
    display::error_chain,
};
use std::thread;
use tokio::sync::oneshot;

/// Answers when it is read. A client that has left needs no reply, and one without a thread is told that the supervisor
/// leaves.
pub(super) fn answer(
    name: &str,
    reply: oneshot::Sender<Reply>,
    read: impl FnOnce() -> Reply + Send + 'static,
) {
    let read = move || drop(reply.send(read()));
    if let Err(error) = thread::Builder::new().name(name.to_owned()).spawn(read) {
        tracing::error!("no thread to read {name}: {error}");
    }
}

/// What is said where the disk says no.
pub(super) fn unreadable(error: &anyhow::Error) -> Reply {
    Reply::new(Ended::Conflict, format!("it cannot be read: {}", error_chain(error)))
}
