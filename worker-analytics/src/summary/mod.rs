//! The built-in analysis. It renders the series object of the HTTP contract.

mod double_double;
mod labels;
mod moments;
mod quantiles;
mod varint;
mod view;

pub use view::SummaryView;

use crate::analysis::Analysis;
use bulkhead_proto::wire::event::Event;
use labels::Labels;
use moments::Moments;
use quantiles::Quantiles;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The built-in analysis: counts, moments, quantiles and labels of each series.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics;

/// The state of one series. At least one event has been applied to every state that is rendered or stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
// The derived functions become `Summary::serialize` and `Summary::deserialize`, without a trait: the traits below check
// what was read.
#[serde(remote = "Self")]
pub struct Summary {
    moments: Moments,
    quantiles: Quantiles,
    labels: Labels,
    min: f64,
    max: f64,
    /// The number of events without a value. Most series have none, and a state of an earlier version has no such field.
    #[serde(default, skip_serializing_if = "is_zero")]
    without_value: u64,
    /// The value of the last event, if it has one.
    last: Option<f64>,
    last_ts_ms: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Summary {
    fn add(&mut self, event: &Event<'_>) {
        match event.value {
            Some(value) => self.add_value(value),
            None => self.without_value = self.without_value.saturating_add(1),
        }
        if let Some(label) = event.label {
            self.labels.add(label);
        }
        (self.last, self.last_ts_ms) = (event.value, event.ts_ms);
    }

    fn add_value(&mut self, value: f64) {
        let first = self.moments.count() == 0;
        self.min = if first { value } else { self.min.min(value) };
        self.max = if first { value } else { self.max.max(value) };
        self.moments.add(value);
        self.quantiles.add(value);
    }

    /// The number of events, with and without a value.
    fn events(&self) -> u64 {
        self.moments.count().saturating_add(self.without_value)
    }

    /// Whether this state can result from applying events.
    fn is_consistent(&self) -> bool {
        let finite = [Some(self.min), Some(self.max), self.last].into_iter().flatten().all(f64::is_finite);
        finite
            && self.min <= self.max
            && self.moments.is_valid()
            && self.moments.count() == self.quantiles.count()
    }
}

impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Summary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let summary = Self::deserialize(deserializer)?;
        let error = || D::Error::custom("the parts of a summary contradict each other");
        summary.is_consistent().then_some(summary).ok_or_else(error)
    }
}

impl Analysis for Statistics {
    type State = Summary;
    const NAME: &'static str = "statistics";
    const VERSION: u32 = 1;

    fn apply(&self, state: &mut Summary, event: &Event<'_>) {
        state.add(event);
    }

    fn render<'a>(&'a self, series: &'a str, state: &'a Summary) -> impl Serialize + 'a {
        SummaryView::new(series, state)
    }
}
