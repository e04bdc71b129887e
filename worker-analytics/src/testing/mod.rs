//! Checks an analysis in its own tests, without a supervisor.
//!
//! ```
//! use bulkhead_worker_analytics::{Analysis, Event, testing};
//! # use serde::{Deserialize, Serialize};
//! #
//! # #[derive(Default, Serialize, Deserialize)]
//! # struct Count {
//! #     events: u64,
//! # }
//! #
//! # struct Counting;
//! #
//! # impl Analysis for Counting {
//! #     type State = Count;
//! #     const NAME: &'static str = "counting";
//! #     const VERSION: u32 = 1;
//! #     fn apply(&self, state: &mut Count, _event: &Event<'_>) {
//! #         state.events += 1;
//! #     }
//! #     fn render<'a>(&'a self, series: &'a str, state: &'a Count) -> impl Serialize + 'a {
//! #         serde_json::json!({ "series": series, "count": state.events })
//! #     }
//! # }
//! let labelled = Event { label: Some("tea"), ..Event::new("orders", 10.0) };
//! let events = [labelled, Event::new("orders", 32.0), Event::new("returns", 1.0)];
//!
//! let rendered = testing::check(|| Counting, &events).unwrap();
//!
//! assert_eq!(rendered["orders"]["count"], 2);
//! ```

mod failure;
mod reference;
mod replay;
#[cfg(test)]
mod tests;

pub use failure::{Failure, Problem};

use crate::{Analysis, Event};
use bulkhead_proto::splitmix64;
use reference::Reference;
use replay::{Step, replay};
use serde_json::Value;
use std::collections::BTreeMap;

/// How often the events are applied with commits and crashes at random places. The places are the same in each run of a
/// test.
const RANDOM_REPLAYS: u64 = 16;

/// Applies the events as a worker does, and returns what readers of each series see after the last one.
///
/// Give events that fill every field of the state, for more than one series. `new` makes the analysis: each restart needs
/// another one. Checked are, for each event:
///
/// - The event is one that the API accepts.
/// - The state can be stored, and is read as it was.
/// - The rendered form is a JSON object.
/// - State and rendered form of a series together have at most [`MAX_SERIES_BYTES`](crate::MAX_SERIES_BYTES).
/// - State and rendered form are the same when all events are applied a second time, when the analysis is restarted
///   after each event, and when it is committed and killed at random places: the events since the last commit are then
///   applied again. The order of maps and sets may differ.
///
/// The check takes about twenty times as long as the analysis itself, plus the encoding of each state.
///
/// # Errors
/// The first event after which one of these is not so, with its series and, if there is one, the field.
pub fn check<A: Analysis>(
    new: impl Fn() -> A,
    events: &[Event<'_>],
) -> Result<BTreeMap<String, Value>, Failure> {
    let reference = Reference::record(&new(), events)?;
    replay(&new, events, &reference, "in a second run with the same events", || Step::Continue)?;
    replay(&new, events, &reference, "if the analysis is restarted after each event", || Step::Restart)?;
    for seed in 0..RANDOM_REPLAYS {
        let mut random = seed;
        let when = "if the analysis crashes, and events since the last commit are applied again";
        replay(&new, events, &reference, when, || random_step(&mut random))?;
    }
    Ok(reference.into_rendered(events))
}

/// What happens after the next event, at random.
fn random_step(random: &mut u64) -> Step {
    match splitmix64::random(random) % 16 {
        0..12 => Step::Continue,
        12..15 => Step::Commit,
        _ => Step::Crash,
    }
}
