//! Event ids from which the final state shows which events were counted.
//!
//! The value of an event is a power of two that no other event of its series has. A series whose `count` equals the
//! number of one bits in its `sum` has counted exactly the events of these bits, each once. Proof: n powers of two have a
//! sum with n one bits only if all of them differ, since two equal ones merge into one bit, and merging only reduces the
//! number of bits. With [`EVENTS_PER_SERIES`] events a series, the sum stays below 2^53, where both the analysis and JSON
//! are exact.
//!
//! Consecutive events go to different series, so that nearly every batch and every commit changes many series.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Events of one series.
const EVENTS_PER_SERIES: usize = 50;
/// Series that a writer uses in turn.
const SERIES_PER_BLOCK: usize = 50;

/// The identity of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EventId {
    /// The number of the writer that sends it.
    pub writer: usize,
    /// Its index among the events of this writer, from 0.
    pub number: usize,
}

impl EventId {
    /// Event `index` of a writer whose consecutive events go to the same series.
    #[must_use]
    pub const fn in_one_series(writer: usize, index: usize) -> Self {
        Self { writer, number: index * SERIES_PER_BLOCK }
    }

    /// The series that counts the event.
    #[must_use]
    pub fn series(self) -> String {
        let block = self.number / (EVENTS_PER_SERIES * SERIES_PER_BLOCK);
        format!("w{}-{block:03}-{:02}", self.writer, self.number % SERIES_PER_BLOCK)
    }

    /// The value of the event, which is its bit in the sum of the series.
    #[must_use]
    pub const fn value(self) -> u64 {
        1 << (self.number % (EVENTS_PER_SERIES * SERIES_PER_BLOCK) / SERIES_PER_BLOCK)
    }
}

/// The totals of a series.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SeriesTotals {
    /// The name of the series.
    pub series: String,
    /// The number of events.
    pub count: u64,
    /// The bits of the events; `None` if the sum is not an unsigned integer.
    pub sum: Option<u64>,
}

impl SeriesTotals {
    /// Reads the totals from the API's response about a series.
    #[must_use]
    pub fn of(response: &Value) -> Self {
        Self {
            series: response["series"].as_str().unwrap_or_default().to_owned(),
            count: response["count"].as_u64().unwrap_or_default(),
            sum: response["sum"].as_u64(),
        }
    }

    /// Whether the series has counted each of its events once.
    #[must_use]
    pub fn each_counted_once(&self) -> bool {
        self.sum.is_some_and(|sum| u64::from(sum.count_ones()) == self.count)
    }
}

/// The number of series for this many events of one writer.
#[must_use]
pub const fn series_count(events: usize) -> usize {
    events.div_ceil(EVENTS_PER_SERIES * SERIES_PER_BLOCK) * SERIES_PER_BLOCK
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn the_events_of_one_series_differ_in_their_bits() {
        let ids = (0..EVENTS_PER_SERIES).map(|index| EventId::in_one_series(8, index));
        let sum = ids.map(|id| (id.series() == "w8-000-00", id.value())).fold(0, |sum, (same, bit)| {
            assert!(same && sum & bit == 0);
            sum | bit
        });
        assert_eq!(sum, (1 << EVENTS_PER_SERIES) - 1);
    }

    #[test]
    fn each_event_has_its_own_bit() {
        let mut sums: HashMap<String, u64> = HashMap::new();
        for number in 0..10_000 {
            let id = EventId { writer: 3, number };
            let sum = sums.entry(id.series()).or_default();
            assert_eq!(*sum & id.value(), 0, "{id:?}");
            *sum |= id.value();
        }
        assert!(sums.values().all(|sum| *sum == (1 << EVENTS_PER_SERIES) - 1));
        assert_eq!(sums.len(), series_count(10_000));
    }
}
