//! Sends events to an API that may be unavailable.

use crate::metrics::Event;
use std::time::{Duration, Instant};

/// The longest wait for a response, in seconds.
const TIMEOUT: u64 = 2;

/// The back-off after the first failure. It doubles with each further failure, up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(16);

/// An HTTP client for `POST /v1/events`.
pub(crate) struct ApiClient {
    url: String,
    /// While the API is unavailable: the current back-off, and the time of the next attempt.
    outage: Option<(Duration, Instant)>,
}

impl ApiClient {
    pub(crate) fn new(api: &str) -> Self {
        Self { url: format!("{api}/v1/events"), outage: None }
    }

    /// Sends events. Drops them while the API is unavailable: old samples are not worth a queue.
    pub(crate) fn send(&mut self, events: &[Event]) {
        let now = Instant::now();
        if events.is_empty() || self.outage.is_some_and(|(_, next_attempt)| now < next_attempt) {
            return;
        }
        match (self.post(events), self.outage) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => {
                eprintln!("{}: available again", self.url);
                self.outage = None;
            }
            // Only the first failure of an outage is printed.
            (Err(error), None) => {
                eprintln!("{}: {error}; samples are dropped until the API responds", self.url);
                self.outage = Some((MIN_BACKOFF, now + MIN_BACKOFF));
            }
            (Err(_), Some((backoff, _))) => {
                let backoff = (backoff * 2).min(MAX_BACKOFF);
                self.outage = Some((backoff, now + backoff));
            }
        }
    }

    fn post(&self, events: &[Event]) -> anyhow::Result<()> {
        let body = serde_json::to_vec(events)?;
        let request = minreq::post(&self.url).with_header("content-type", "application/json").with_body(body);
        let response = request.with_timeout(TIMEOUT).send()?;
        anyhow::ensure!((200..300).contains(&response.status_code), "HTTP status {}", response.status_code);
        Ok(())
    }
}
