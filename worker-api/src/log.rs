//! The log: one JSON object per line on stderr, which is a pipe that the supervisor reads.

use std::sync::{Arc, Mutex, PoisonError};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Owns the log writer. [`Log::flush`] or dropping the last clone flushes it, within a bounded time.
#[derive(Clone, Debug)]
pub(crate) struct Log(Arc<Mutex<Option<WorkerGuard>>>);

impl Log {
    /// Sets up the process's log. The writer drops lines when the pipe is full: a stopped supervisor must not block the
    /// worker.
    pub(crate) fn start(filter: &str) -> Self {
        let (writer, guard) = NonBlockingBuilder::default().lossy(true).finish(std::io::stderr());
        let parsed = EnvFilter::try_new(filter);
        let bad = parsed.as_ref().err().map(ToString::to_string);
        let filter = parsed.unwrap_or_else(|_| EnvFilter::new("info"));
        // Fails if a logger is already set, as in tests. Then that one is kept.
        let _ = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_env_filter(filter)
            .with_writer(writer)
            .try_init();
        if let Some(bad) = bad {
            tracing::warn!("invalid log filter, using \"info\": {bad}");
        }
        Self(Arc::new(Mutex::new(Some(guard))))
    }

    /// Writes the buffered lines, within about one second. Later lines are dropped.
    pub(crate) fn flush(&self) {
        let guard = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(guard);
    }
}
