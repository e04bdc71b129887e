//! The flights of `tests/data/`: real events, and answers that were computed from them independently.

use fastrand::Rng;
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// The error that DESIGN 9 allows to quantiles, relative to the value.
const QUANTILE_ERROR: f64 = 0.01;
/// The error allowed to mean and standard deviation, relative.
const MOMENT_ERROR: f64 = 1e-9;
/// So many labels are counted exactly; beyond, their number is right within 2 %.
const EXACT_DISTINCT: u64 = 100;
/// Up to so many labels the most frequent ones are exact.
const EXACT_TOP: u64 = 64;

/// One event, as the file has it.
#[derive(Deserialize)]
struct Flight {
    series: String,
    value: f64,
}

/// What is expected of one series.
#[derive(Deserialize)]
struct Expected {
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
struct Answers {
    events: usize,
    by_series: BTreeMap<String, Expected>,
}

/// A request's body.
pub struct Batch {
    /// How many events it has.
    pub events: usize,
    /// Their media type.
    pub content_type: &'static str,
    /// Their text.
    pub body: String,
}

/// The events and what is right.
pub struct Flights {
    lines: Vec<String>,
    expected: BTreeMap<String, Expected>,
    sorted: BTreeMap<String, Vec<f64>>,
}

impl Flights {
    /// Reads both files.
    ///
    /// # Panics
    /// When they are not there or not what their README says.
    #[must_use]
    pub fn load() -> Self {
        let lines: Vec<String> = read("flights-20k.ndjson").lines().map(String::from).collect();
        let answers: Answers = serde_json::from_str(&read("flights-20k.expected.json")).unwrap();
        assert_eq!(lines.len(), answers.events, "the flights and their answers do not belong together");
        let mut sorted: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for line in &lines {
            let flight: Flight = serde_json::from_str(line).unwrap();
            sorted.entry(flight.series).or_default().push(flight.value);
        }
        sorted.values_mut().for_each(|values| values.sort_by(f64::total_cmp));
        Self { lines, expected: answers.by_series, sorted }
    }

    /// The number of events.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The events from `first` to before `end`, in batches of mixed sizes and all three forms.
    #[must_use]
    pub fn batches(&self, first: usize, end: usize, rng: &mut Rng) -> Vec<Batch> {
        let mut left = &self.lines[first..end];
        let mut batches = Vec::new();
        while !left.is_empty() {
            let size = *rng.choice(&[1, 1, 2, 7, 50, 133, 400]).unwrap();
            let (batch, rest) = left.split_at(left.len().min(size));
            batches.push(Batch::of(batch, rng.bool()));
            left = rest;
        }
        batches
    }

    /// Compares every series that the server knows with what is expected.
    ///
    /// # Panics
    /// With all differences.
    pub fn compare(&self, found: &BTreeMap<String, Value>) {
        let mut wrong = String::new();
        for name in found.keys().filter(|name| !self.expected.contains_key(*name)) {
            let _ = writeln!(wrong, "{name}: there is no such series");
        }
        for (name, expected) in &self.expected {
            match found.get(name) {
                None => drop(writeln!(wrong, "{name}: missing")),
                Some(series) => self.compare_one(name, expected, series, &mut wrong),
            }
        }
        assert!(wrong.is_empty(), "the analysis is wrong:\n{wrong}");
    }

    fn compare_one(&self, name: &str, expected: &Expected, found: &Value, wrong: &mut String) {
        let mut check = |field: &str, right: bool, expected: &dyn std::fmt::Debug| {
            if !right {
                let _ = writeln!(wrong, "{name}.{field}: {expected:?} expected, {} found", found[field]);
            }
        };
        let number = |field: &str| found[field].as_f64().unwrap_or(f64::NAN);
        check("count", found["count"] == expected.count, &expected.count);
        for (field, exact) in [("sum", expected.sum), ("min", expected.min), ("max", expected.max)] {
            check(field, number(field) == exact, &exact);
        }
        for (field, value) in [("mean", expected.mean), ("stddev", expected.stddev)] {
            check(field, near(number(field), value, MOMENT_ERROR), &value);
        }
        let values = &self.sorted[name];
        for (field, percent) in [("p50", 50), ("p90", 90), ("p99", 99)] {
            let allowed = at_and_beside_rank(values, percent);
            let right = allowed.iter().any(|value| near(number(field), *value, QUANTILE_ERROR));
            check(field, right, &allowed);
        }
        let distinct = expected.distinct_labels;
        let slack = if distinct > EXACT_DISTINCT { distinct.div_ceil(50) } else { 0 };
        let right = found["distinct_labels"].as_u64().is_some_and(|found| found.abs_diff(distinct) <= slack);
        check("distinct_labels", right, &distinct);
        if distinct <= EXACT_TOP {
            let most = found["top_labels"].as_array().map(|top| top.iter().take(3).cloned().collect());
            check("top_labels", most == Some(expected.top_labels.clone()), &expected.top_labels);
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

/// The value at the nearest rank (`sorted[ceil(p * n) - 1]`), and those beside it.
fn at_and_beside_rank(sorted: &[f64], percent: usize) -> &[f64] {
    let at = (sorted.len() * percent).div_ceil(100) - 1;
    &sorted[at.saturating_sub(1)..sorted.len().min(at + 2)]
}

fn near(found: f64, expected: f64, relative: f64) -> bool {
    // The second term is for an expected zero, which a sum of rounded terms may miss by a rounding error.
    (found - expected).abs() <= relative * expected.abs() + f64::EPSILON
}

fn read(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
