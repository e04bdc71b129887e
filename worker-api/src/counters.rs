//! What this process refused, closed or gave up, since its start. Each kind has a counter in `GET /v1/stats`, and most
//! have a log line that names the key to change, at most once a minute.

use serde::{Serialize, Serializer};
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The least time between two log lines of one counter.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// A counter that is shown as a number.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Serialize for Counter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.total())
    }
}

/// A counter whose growth is logged.
#[derive(Debug, Default)]
pub(crate) struct LoggedCounter {
    counter: Counter,
    /// When the last line was written, and the count that it gave.
    logged: Mutex<Option<(Instant, u64)>>,
}

impl LoggedCounter {
    /// Counts one, and calls `log` with the number since its last call, unless that was less than [`LOG_INTERVAL`] ago.
    pub(crate) fn count(&self, log: impl FnOnce(u64)) {
        self.count_at(Instant::now(), log);
    }

    fn count_at(&self, now: Instant, log: impl FnOnce(u64)) {
        self.counter.count();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let (due, before) =
            logged.map_or((true, 0), |(at, before)| (now.duration_since(at) >= LOG_INTERVAL, before));
        if due {
            let total = self.counter.total();
            *logged = Some((now, total));
            drop(logged);
            log(total - before);
        }
    }
}

impl Serialize for LoggedCounter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.counter.serialize(serializer)
    }
}

/// The counters of this process. The names are part of the HTTP interface.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Counters {
    /// Requests that found the ring full.
    pub(crate) ring_full: LoggedCounter,
    /// Requests for whose body no memory was left.
    pub(crate) body_memory_full: LoggedCounter,
    /// Connections that were closed to make room for new ones.
    pub(crate) evicted: LoggedCounter,
    /// Connections of addresses with too many connections.
    pub(crate) refused: LoggedCounter,
    /// Connections that were closed after `api.idle_timeout`.
    pub(crate) idle_closed: Counter,
    /// Connections that were closed because the client sent or read too slowly.
    pub(crate) slow_closed: LoggedCounter,
    /// Requests that were not answered within `api.request_timeout`.
    pub(crate) timed_out: LoggedCounter,
    /// Requests whose `Host` is not a name of this service.
    pub(crate) host_not_allowed: LoggedCounter,
    /// Requests of web pages of other sites that could have changed state.
    pub(crate) cross_origin: LoggedCounter,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_due_at_the_first_count_and_then_once_a_minute_with_the_number_since() {
        let (counter, start, mut lines) = (LoggedCounter::default(), Instant::now(), Vec::new());
        for second in [0, 1, 59, 60, 61, 200] {
            counter.count_at(start + Duration::from_secs(second), |number| lines.push((second, number)));
        }
        assert_eq!(lines, [(0, 1), (60, 3), (200, 2)]);
        assert_eq!(counter.counter.total(), 6);
    }
}
