//! The log: a JSON object a line on stderr, which is a pipe that the supervisor reads.

use std::sync::{Arc, Mutex, PoisonError};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Keeps the log's writer alive; flushes it, within a bounded time, when it is told to or when the last one is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Log(Arc<Mutex<Option<WorkerGuard>>>);

impl Log {
    /// Sets the process's log up. The writer drops lines rather than wait for a supervisor that is stopped.
    pub(crate) fn start(filter: &str) -> Self {
        let (writer, guard) = NonBlockingBuilder::default().lossy(true).finish(std::io::stderr());
        let parsed = EnvFilter::try_new(filter);
        let bad = parsed.as_ref().err().map(ToString::to_string);
        let filter = parsed.unwrap_or_else(|_| EnvFilter::new("info"));
        // Somebody else's logger, as in a test, stays.
        let _ = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_env_filter(filter)
            .with_writer(writer)
            .try_init();
        if let Some(bad) = bad {
            tracing::warn!("the log filter is not understood, \"info\" is used instead: {bad}");
        }
        Self(Arc::new(Mutex::new(Some(guard))))
    }

    /// Writes out what is waiting, within about a second. The log is silent afterwards.
    pub(crate) fn flush(&self) {
        let guard = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(guard);
    }
}
