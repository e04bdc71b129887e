//! An analysis that panics while it renders or loads the state of a series, not while it applies an event.

use bulkhead_proto::wire::event::Event;
use bulkhead_worker_analytics::Analysis;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A state with this sum can be committed, but not loaded.
const UNLOADABLE_SUM: u64 = 13;

pub(crate) struct PanicOutsideApply;

/// The sum of all values.
#[derive(Default, Serialize, Deserialize)]
#[serde(from = "u64")]
pub(crate) struct Sum(u64);

impl From<u64> for Sum {
    fn from(sum: u64) -> Self {
        assert_ne!(sum, UNLOADABLE_SUM, "a state with this sum cannot be loaded");
        Self(sum)
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
        sum.0 += event.value as u64;
    }

    fn render<'a>(&'a self, series: &'a str, sum: &'a Sum) -> impl Serialize + 'a {
        assert_ne!(series, "unrenderable", "this series cannot be rendered");
        json!({ "series": series, "count": sum.0 })
    }
}
