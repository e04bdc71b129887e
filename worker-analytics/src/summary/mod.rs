//! The built-in analysis: the series answer of the HTTP contract.

mod answer;
mod labels;
mod moments;
mod pair;
mod quantiles;

pub use answer::Answer;

use crate::analysis::Analysis;
use bincode::{Decode, Encode, de::Decoder, error::DecodeError};
use bulkhead_proto::wire::event::Event;
use labels::Labels;
use moments::Moments;
use quantiles::Quantiles;

/// Counts, moments, quantiles and labels of each series.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics;

/// What is known of one series. It was never empty, once an event was applied.
#[derive(Clone, Debug, Default, PartialEq, Encode)]
pub struct Summary {
    moments: Moments,
    quantiles: Quantiles,
    labels: Labels,
    min: f64,
    max: f64,
    last: f64,
    last_ts_ms: i64,
}

impl Summary {
    fn add(&mut self, event: &Event<'_>) {
        let value = event.value;
        let first = self.moments.count() == 0;
        self.min = if first { value } else { self.min.min(value) };
        self.max = if first { value } else { self.max.max(value) };
        self.moments.add(value);
        self.quantiles.add(value);
        if let Some(label) = event.label {
            self.labels.add(label);
        }
        (self.last, self.last_ts_ms) = (value, event.ts_ms);
    }

    fn is_sound(&self) -> bool {
        let finite = [self.min, self.max, self.last].into_iter().all(f64::is_finite);
        finite
            && self.min <= self.max
            && self.moments.is_sound()
            && self.moments.count() == self.quantiles.count()
    }
}

impl<Context> Decode<Context> for Summary {
    fn decode<D: Decoder<Context = Context>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let summary = Self {
            moments: Decode::decode(decoder)?,
            quantiles: Decode::decode(decoder)?,
            labels: Decode::decode(decoder)?,
            min: Decode::decode(decoder)?,
            max: Decode::decode(decoder)?,
            last: Decode::decode(decoder)?,
            last_ts_ms: Decode::decode(decoder)?,
        };
        summary.is_sound().then_some(summary).ok_or(DecodeError::Other("the parts of a summary disagree"))
    }
}

impl Analysis for Statistics {
    type State = Summary;
    const NAME: &'static str = "statistics";
    const VERSION: u32 = 1;

    fn apply(&self, state: &mut Summary, event: &Event<'_>) {
        state.add(event);
    }

    fn render<'a>(&'a self, series: &'a str, state: &'a Summary) -> impl serde::Serialize + 'a {
        Answer::of(series, state)
    }
}
