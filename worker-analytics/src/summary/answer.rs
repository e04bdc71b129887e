//! The public part of a series: what `GET /v1/series/{name}` shows, but for the age of it, which the API adds.

use super::Summary;
use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// So many of the most frequent labels are named.
const TOP_LABELS: usize = 10;

/// Whole numbers below this are written without a fraction; an `f64` holds all of them.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// The series answer of the HTTP contract.
#[derive(Serialize)]
pub struct Answer<'a> {
    series: &'a str,
    count: u64,
    sum: Number,
    mean: Number,
    stddev: Number,
    min: Number,
    max: Number,
    p50: Number,
    p90: Number,
    p99: Number,
    distinct_labels: Number,
    top_labels: Vec<LabelCount<'a>>,
    last: Last,
}

#[derive(Serialize)]
struct LabelCount<'a> {
    label: &'a str,
    count: u64,
}

#[derive(Serialize)]
struct Last {
    value: Number,
    #[serde(serialize_with = "rfc3339")]
    ts: i64,
}

/// Written as `7`, not `7.0`, when it is whole, and as `null` when it is beyond what an `f64` can say (a sum may be).
struct Number(f64);

impl Serialize for Number {
    #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 && self.0.abs() < WHOLE {
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

/// UTC, milliseconds as far as there are any; `null` beyond the calendar.
fn rfc3339<S: Serializer>(ts_ms: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    Timestamp::from_millisecond(*ts_ms).ok().serialize(serializer)
}

impl<'a> Answer<'a> {
    pub(super) fn of(series: &'a str, summary: &'a Summary) -> Self {
        let (min, max) = (summary.min, summary.max);
        // A bucket's middle may lie beyond the extremes, which are known exactly.
        let percentile = |percent| Number(summary.quantiles.percentile(percent).clamp(min, max));
        let top = summary.labels.top(TOP_LABELS).into_iter();
        Self {
            series,
            count: summary.moments.count(),
            sum: Number(summary.moments.sum()),
            mean: Number(summary.moments.mean().clamp(min, max)),
            stddev: Number(if min == max { 0.0 } else { summary.moments.stddev() }),
            min: Number(min),
            max: Number(max),
            p50: percentile(50),
            p90: percentile(90),
            p99: percentile(99),
            distinct_labels: Number(summary.labels.distinct()),
            top_labels: top.map(|(label, count)| LabelCount { label, count }).collect(),
            last: Last { value: Number(summary.last), ts: summary.last_ts_ms },
        }
    }
}
