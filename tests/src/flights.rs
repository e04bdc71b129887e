//! The flights in `tests/data/`: real events, and the results that were computed from them independently.

use fastrand::Rng;
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// The relative error that the analysis guarantees for quantiles.
const MAX_QUANTILE_ERROR: f64 = 0.01;
/// The relative error allowed for mean and standard deviation.
const MAX_MOMENT_ERROR: f64 = 1e-9;
/// Up to this number, distinct labels are counted exactly; beyond it, within 2 %.
const MAX_EXACT_DISTINCT: u64 = 100;
/// Up to this number of distinct labels, the most frequent labels are exact.
const MAX_EXACT_TOP: u64 = 64;

/// One event of the file.
#[derive(Deserialize)]
struct Flight {
    series: String,
    value: f64,
}

/// The expected state of one series.
#[derive(Deserialize)]
struct ExpectedSeries {
    count: u64,
    sum: f64,
    mean: f64,
    stddev: f64,
    min: f64,
    max: f64,
    distinct_labels: u64,
    top_labels: Value,
}

#[derive(Deserialize)]
struct ExpectedResults {
    events: usize,
    by_series: BTreeMap<String, ExpectedSeries>,
}

/// The body of a request.
pub struct Batch {
    /// The number of events.
    pub events: usize,
    /// The media type.
    pub content_type: &'static str,
    /// The text.
    pub body: String,
}

/// The events and the expected results.
pub struct Flights {
    lines: Vec<String>,
    expected: BTreeMap<String, ExpectedSeries>,
    sorted: BTreeMap<String, Vec<f64>>,
}

impl Flights {
    /// Reads both files.
    ///
    /// # Panics
    /// If a file is missing or does not have the format that its README describes.
    #[must_use]
    pub fn load() -> Self {
        let lines: Vec<String> = read("flights-20k.ndjson").lines().map(String::from).collect();
        let results: ExpectedResults = serde_json::from_str(&read("flights-20k.expected.json")).unwrap();
        assert_eq!(lines.len(), results.events, "the flights and the expected results do not match");
        let mut sorted: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for line in &lines {
            let flight: Flight = serde_json::from_str(line).unwrap();
            sorted.entry(flight.series).or_default().push(flight.value);
        }
        sorted.values_mut().for_each(|values| values.sort_by(f64::total_cmp));
        Self { lines, expected: results.by_series, sorted }
    }

    /// The number of events.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are no events.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The events from `first` up to and excluding `end`, in batches of random sizes and in all three formats.
    #[must_use]
    pub fn batches(&self, first: usize, end: usize, rng: &mut Rng) -> Vec<Batch> {
        let mut remaining = &self.lines[first..end];
        let mut batches = Vec::new();
        while !remaining.is_empty() {
            let size = *rng.choice(&[1, 1, 2, 7, 50, 133, 400]).unwrap();
            let (batch, rest) = remaining.split_at(remaining.len().min(size));
            batches.push(Batch::of(batch, rng.bool()));
            remaining = rest;
        }
        batches
    }

    /// Compares every series of the server with the expected one.
    ///
    /// # Panics
    /// With all differences, if there is one.
    pub fn assert_matches(&self, found: &BTreeMap<String, Value>) {
        let mut wrong = String::new();
        for name in found.keys().filter(|name| !self.expected.contains_key(*name)) {
            let _ = writeln!(wrong, "{name}: unexpected series");
        }
        for (name, expected) in &self.expected {
            match found.get(name) {
                None => drop(writeln!(wrong, "{name}: missing")),
                Some(series) => self.compare_series(name, expected, series, &mut wrong),
            }
        }
        assert!(wrong.is_empty(), "the results of the analysis are wrong:\n{wrong}");
    }

    fn compare_series(&self, name: &str, expected: &ExpectedSeries, found: &Value, wrong: &mut String) {
        let mut check = |field: &str, correct: bool, expected: &dyn std::fmt::Debug| {
            if !correct {
                let _ = writeln!(wrong, "{name}.{field}: expected {expected:?}, found {}", found[field]);
            }
        };
        let number = |field: &str| found[field].as_f64().unwrap_or(f64::NAN);
        check("count", found["count"] == expected.count, &expected.count);
        for (field, exact) in [("sum", expected.sum), ("min", expected.min), ("max", expected.max)] {
            check(field, number(field) == exact, &exact);
        }
        for (field, value) in [("mean", expected.mean), ("stddev", expected.stddev)] {
            check(field, is_close(number(field), value, MAX_MOMENT_ERROR), &value);
        }
        let values = &self.sorted[name];
        for (field, percent) in [("p50", 50), ("p90", 90), ("p99", 99)] {
            let allowed = around_rank(values, percent);
            let correct = allowed.iter().any(|value| is_close(number(field), *value, MAX_QUANTILE_ERROR));
            check(field, correct, &allowed);
        }
        let distinct = expected.distinct_labels;
        let slack = if distinct > MAX_EXACT_DISTINCT { distinct.div_ceil(50) } else { 0 };
        let correct =
            found["distinct_labels"].as_u64().is_some_and(|found| found.abs_diff(distinct) <= slack);
        check("distinct_labels", correct, &distinct);
        if distinct <= MAX_EXACT_TOP {
            let top_three = found["top_labels"].as_array().map(|top| top.iter().take(3).cloned().collect());
            check("top_labels", top_three == Some(expected.top_labels.clone()), &expected.top_labels);
        }
    }
}

impl Batch {
    fn of(lines: &[String], ndjson: bool) -> Self {
        let (content_type, body) = match lines {
            [one] if !ndjson => ("application/json", one.clone()),
            _ if ndjson => ("application/x-ndjson", lines.join("\n")),
            _ => ("application/json", format!("[{}]", lines.join(","))),
        };
        Self { events: lines.len(), content_type, body }
    }
}

/// The value at the nearest rank (`sorted[ceil(p * n) - 1]`) and its neighbours.
fn around_rank(sorted: &[f64], percent: usize) -> &[f64] {
    let rank = (sorted.len() * percent).div_ceil(100) - 1;
    &sorted[rank.saturating_sub(1)..sorted.len().min(rank + 2)]
}

fn is_close(found: f64, expected: f64, relative: f64) -> bool {
    // The second term is for an expected zero: a sum of rounded terms may differ from zero by a rounding error.
    (found - expected).abs() <= relative * expected.abs() + f64::EPSILON
}

fn read(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
