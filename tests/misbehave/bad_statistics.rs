//! The built-in analysis, wrong in one way. It reads and writes the states of the right program.

use crate::bad_deploy::{Flaw, TOO_MUCH};
use bulkhead_worker_analytics::{Analysis, Event, Statistics, Summary};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The state of the right program, or bytes that fit nowhere.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum State {
    Right(Summary),
    TooLarge(String),
}

impl Default for State {
    fn default() -> Self {
        Self::Right(Summary::default())
    }
}

/// The analysis.
pub(crate) struct BadStatistics(pub(crate) Flaw);

impl Analysis for BadStatistics {
    type State = State;
    const NAME: &'static str = Statistics::NAME;
    const VERSION: u32 = Statistics::VERSION;

    fn apply(&self, state: &mut State, event: &Event<'_>) {
        self.0.fail_at(event);
        if let State::Right(summary) = state {
            Statistics.apply(summary, event);
        }
        if self.0 == Flaw::Grows {
            *state = State::TooLarge("x".repeat(TOO_MUCH));
        }
    }

    fn render<'a>(&'a self, series: &'a str, state: &'a State) -> impl Serialize + 'a {
        assert_ne!(self.0, Flaw::Render, "the rendering is wrong");
        match state {
            State::Right(summary) => json!(Statistics.render(series, summary)),
            State::TooLarge(_) => json!({}),
        }
    }
}
