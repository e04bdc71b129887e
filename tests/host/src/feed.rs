//! Posting events to an API that may be away.

use crate::figures::Event;
use std::time::{Duration, Instant};
use ureq::Agent;

/// An answer that takes longer will not come.
const TIMEOUT: Duration = Duration::from_secs(2);

/// After each failure twice as long until the next try, beginning and ending with these.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(16);

/// The way to the API.
pub(crate) struct Feed {
    agent: Agent,
    url: String,
    /// Since when it is away: the wait, and when it ends.
    away: Option<(Duration, Instant)>,
}

impl Feed {
    pub(crate) fn new(api: &str) -> Self {
        let agent = Agent::config_builder().timeout_global(Some(TIMEOUT)).build().into();
        Self { agent, url: format!("{api}/v1/events"), away: None }
    }

    /// Sends events, or drops them while the API is away: figures of a moment are not worth keeping.
    pub(crate) fn send(&mut self, events: &[Event]) {
        let now = Instant::now();
        if events.is_empty() || self.away.is_some_and(|(_, until)| now < until) {
            return;
        }
        match (self.post(events), self.away) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => {
                eprintln!("{} answers again", self.url);
                self.away = None;
            }
            // One line an absence is enough.
            (Err(error), None) => {
                eprintln!("{}: {error}; figures are dropped until it answers", self.url);
                self.away = Some((FIRST_WAIT, now + FIRST_WAIT));
            }
            (Err(_), Some((wait, _))) => {
                let wait = (wait * 2).min(LONGEST_WAIT);
                self.away = Some((wait, now + wait));
            }
        }
    }

    fn post(&self, events: &[Event]) -> anyhow::Result<()> {
        let body = serde_json::to_vec(events)?;
        let mut answer = self.agent.post(&self.url).content_type("application/json").send(&body)?;
        // Read to its end, so that the connection can be used again.
        answer.body_mut().read_to_vec()?;
        Ok(())
    }
}
