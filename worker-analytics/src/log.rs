//! The worker's log: JSON lines on stderr. The supervisor forwards them with the worker's name and
//! generation.

use std::{
    io,
    sync::{Mutex, PoisonError},
};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// The most lines that wait while the supervisor does not read. Further lines are dropped.
const MAX_QUEUED_LINES: usize = 4096;

/// The guard of the log's thread. A static, because the panic hook must reach it.
static WRITER: Mutex<Option<WorkerGuard>> = Mutex::new(None);

/// Starts the log. It drops lines rather than wait, and writes in its own thread: if the supervisor is
/// stopped and its pipe is full, the worker must continue.
pub(crate) fn init(filter: &str) {
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MAX_QUEUED_LINES);
    let (writer, guard) = builder.thread_name("log").finish(io::stderr());
    *WRITER.lock().unwrap_or_else(PoisonError::into_inner) = Some(guard);
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().json().flatten_event(true).with_target(false);
    let lines = lines.with_current_span(false).with_span_list(false).with_env_filter(filter);
    // Fails only if the program has installed a log of its own: then that one is used.
    let _ = lines.with_writer(writer).try_init();
}

/// Writes the queued lines; gives up after about a second. Lines logged later are lost.
pub(crate) fn flush() {
    drop(WRITER.lock().unwrap_or_else(PoisonError::into_inner).take());
}
