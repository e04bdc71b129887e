//! The worker's log: JSON lines on stderr, which the supervisor passes on with our name and generation.

use std::{
    io,
    sync::{Mutex, PoisonError},
};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// The lines that may wait while nobody reads them; further ones are dropped.
const WAITING_LINES: usize = 4096;

/// Holds the writer's thread. In a static, for the panic hook must reach it.
static WRITER: Mutex<Option<WorkerGuard>> = Mutex::new(None);

/// Starts the log. Lossy and through a thread of its own: a stopped supervisor, whose pipe is full, must not stop us.
pub(crate) fn init(filter: &str) {
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING_LINES);
    let (writer, guard) = builder.thread_name("log").finish(io::stderr());
    *WRITER.lock().unwrap_or_else(PoisonError::into_inner) = Some(guard);
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().json().flatten_event(true).with_target(false);
    let lines = lines.with_current_span(false).with_span_list(false).with_env_filter(filter);
    // Fails only when there is a log already: then that one serves.
    let _ = lines.with_writer(writer).try_init();
}

/// Writes out the lines that are waiting; gives up after about a second. Later lines are lost.
pub(crate) fn flush() {
    drop(WRITER.lock().unwrap_or_else(PoisonError::into_inner).take());
}
