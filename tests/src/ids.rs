//! What makes the final state tell which events are in it.
//!
//! An event's value is a power of two that no other event of its series has. Then a series whose `count` is the number
//! of bits in its `sum` has counted exactly the events of those bits, each of them once: that many powers of two have a
//! sum with as many bits only if all of them differ (two equal ones merge into one bit, and bits only get fewer by that). With [`BITS`] events a series the sum stays below 2^53, where both the analysis and JSON are exact.
//!
//! Neighbouring events go to neighbouring series, so that nearly every batch, and every commit, changes many at once.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The events of a series.
const BITS: usize = 50;
/// The series over which a writer's events go round.
const ROUND: usize = 50;

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EventId {
    /// Who sends it.
    pub writer: usize,
    /// Its place among all that this writer sends, from 0.
    pub number: usize,
}

impl EventId {
    /// The series that counts it.
    #[must_use]
    pub fn series(self) -> String {
        let block = self.number / (BITS * ROUND);
        format!("w{}-{block:03}-{:02}", self.writer, self.number % ROUND)
    }

    /// Its value, and its bit in the series' sum.
    #[must_use]
    pub const fn value(self) -> u64 {
        1 << (self.number % (BITS * ROUND) / ROUND)
    }
}

/// What a series has counted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Counted {
    /// Its name.
    pub series: String,
    /// How many events.
    pub count: u64,
    /// Its events' bits; none if the sum is no whole number that could be such.
    pub sum: Option<u64>,
}

impl Counted {
    /// From the answer about a series.
    #[must_use]
    pub fn of(answer: &Value) -> Self {
        Self {
            series: answer["series"].as_str().unwrap_or_default().to_owned(),
            count: answer["count"].as_u64().unwrap_or_default(),
            sum: answer["sum"].as_u64(),
        }
    }

    /// Whether it has counted each of its events once.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.sum.is_some_and(|sum| u64::from(sum.count_ones()) == self.count)
    }
}

/// How many series so many events of one writer need.
#[must_use]
pub const fn series_for(events: usize) -> usize {
    events.div_ceil(BITS * ROUND) * ROUND
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn every_event_has_a_bit_of_its_own() {
        let mut sums: HashMap<String, u64> = HashMap::new();
        for number in 0..10_000 {
            let id = EventId { writer: 3, number };
            let sum = sums.entry(id.series()).or_default();
            assert_eq!(*sum & id.value(), 0, "{id:?}");
            *sum |= id.value();
        }
        assert!(sums.values().all(|sum| *sum == (1 << BITS) - 1));
        assert_eq!(sums.len(), series_for(10_000));
    }
}
