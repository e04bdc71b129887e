//! The JSON object that `GET /v1/series/{name}` returns, without the age of the data, which the API adds.

use super::Summary;
use bulkhead_proto::wire::time;
use serde::{Serialize, Serializer};

/// The number of most frequent labels that are listed.
const TOP_LABELS: usize = 10;

/// 2^53. An `f64` holds every integer below it exactly; such values are written without a fraction.
const EXACT_INTEGER_LIMIT: f64 = 9_007_199_254_740_992.0;

/// What readers see of a [`Summary`]: the fields of the HTTP contract, in its order.
#[derive(Serialize)]
pub struct SummaryView<'a> {
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

/// A number written as `7`, not `7.0`, if it is an integer, and as `null` if it is infinite (a sum can exceed
/// an `f64`) or NaN (there is no such number).
struct Number(f64);

impl Serialize for Number {
    #[expect(clippy::cast_possible_truncation, reason = "an integer below 2^53")]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 && self.0.abs() < EXACT_INTEGER_LIMIT {
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

/// Serialises Unix milliseconds as RFC 3339 in UTC, with a fraction only if there is one; `null` if the time
/// is outside the years -9999 to 9999.
fn rfc3339<S: Serializer>(ts_ms: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    time::utc(*ts_ms).map(|time| format!("{time}Z")).serialize(serializer)
}

impl<'a> SummaryView<'a> {
    pub(super) fn new(series: &'a str, summary: &'a Summary) -> Self {
        let (min, max) = (summary.min, summary.max);
        let of_values = |number: f64| Number(if summary.moments.count() > 0 { number } else { f64::NAN });
        // The middle of a bucket can lie outside of the extremes, which are exact.
        let percentile = |percent| of_values(summary.quantiles.percentile(percent).clamp(min, max));
        let top = summary.labels.top(TOP_LABELS).into_iter();
        Self {
            series,
            count: summary.events(),
            sum: Number(summary.moments.sum()),
            mean: of_values(summary.moments.mean().clamp(min, max)),
            stddev: of_values(if min == max { 0.0 } else { summary.moments.stddev() }),
            min: of_values(min),
            max: of_values(max),
            p50: percentile(50),
            p90: percentile(90),
            p99: percentile(99),
            distinct_labels: Number(summary.labels.distinct()),
            top_labels: top.map(|(label, count)| LabelCount { label, count }).collect(),
            last: Last { value: Number(summary.last.unwrap_or(f64::NAN)), ts: summary.last_ts_ms },
        }
    }
}
