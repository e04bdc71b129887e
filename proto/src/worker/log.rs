//! The log of a worker: JSON lines on stderr, a pipe that the supervisor reads. The supervisor adds the worker's name and
//! generation.

use std::{
    io,
    sync::{Mutex, PoisonError},
};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    Layer as _, filter::Targets, fmt, layer::SubscriberExt as _, registry, util::SubscriberInitExt as _,
};

/// The most lines that wait while the supervisor does not read. Further lines are dropped.
const MAX_QUEUED_LINES: usize = 4096;

/// The guard of the log's thread. A static, because a panic hook must reach it.
static WRITER: Mutex<Option<WorkerGuard>> = Mutex::new(None);

/// Starts the log. It drops lines rather than wait, and writes in its own thread: if the supervisor is stopped and its
/// pipe is full, the worker must continue. `targets`: whether lines name the module that logs them.
pub fn start(filter: &str, targets: bool) {
    let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(MAX_QUEUED_LINES);
    let (writer, guard) = builder.thread_name("log").finish(io::stderr());
    *WRITER.lock().unwrap_or_else(PoisonError::into_inner) = Some(guard);
    let parsed = filter.parse::<Targets>();
    let invalid = parsed.as_ref().err().map(ToString::to_string);
    let parsed = parsed.unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO));
    let lines = fmt::layer().json().flatten_event(true).with_target(targets).with_writer(writer);
    // Fails only if the program has installed a log of its own: then that one is used.
    let _ = registry().with(lines.with_filter(parsed)).try_init();
    if let Some(error) = invalid {
        tracing::warn!("invalid log filter, using \"info\": {error}");
    }
}

/// Writes the queued lines; gives up after about a second. Lines logged later are lost.
pub fn flush() {
    drop(WRITER.lock().unwrap_or_else(PoisonError::into_inner).take());
}
