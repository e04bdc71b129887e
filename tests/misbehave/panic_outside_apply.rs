//! An analysis that panics while it stores or loads the state of a series, not while it applies an event.

use bulkhead_proto::wire::event::Event;
use bulkhead_worker_analytics::Analysis;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::json;

/// A state with this sum can be committed, but not loaded.
const UNLOADABLE_SUM: u64 = 13;

/// A state with this sum cannot be committed.
const UNSTORABLE_SUM: u64 = 14;

pub(crate) struct PanicOutsideApply;

/// The sum of all values.
#[derive(Default, Deserialize)]
#[serde(from = "u64")]
pub(crate) struct Sum(u64);

impl From<u64> for Sum {
    fn from(sum: u64) -> Self {
        assert_ne!(sum, UNLOADABLE_SUM, "a state with this sum cannot be loaded");
        Self(sum)
    }
}

impl Serialize for Sum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert_ne!(self.0, UNSTORABLE_SUM, "a state with this sum cannot be stored");
        self.0.serialize(serializer)
    }
}

impl Analysis for PanicOutsideApply {
    type State = Sum;
    const NAME: &'static str = "brittle";
    const VERSION: u32 = 1;

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the tests send small numbers"
    )]
    fn apply(&self, sum: &mut Sum, event: &Event<'_>) {
        sum.0 += event.value.unwrap_or_default() as u64;
    }

    fn render<'a>(&'a self, series: &'a str, sum: &'a Sum) -> impl Serialize + 'a {
        json!({ "series": series, "count": sum.0 })
    }
}
