//! What makes the final state tell which events are in it.
//!
//! An event's value is a power of two that no other event of its series has. Then a series whose `count` is the number
//! of bits in its `sum` has counted exactly the events of those bits, each of them once: that many powers of two have a
//! sum with as many bits only if all of them differ (two equal ones merge into one bit, and bits only get fewer by that). With [`BITS`] events a series the sum stays below 2^53, where both the analysis and JSON are exact.
//!
//! Neighbouring events go to neighbouring series, so that nearly every batch, and every commit, changes many at once.

use serde::{Deserialize, Serialize};

/// The events of a series.
const BITS: usize = 50;
/// The series over which a writer's events go round.
const ROUND: usize = 50;

/// An event, by whom it was sent and its place among all that this writer sends, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct EventId {
    pub writer: usize,
    pub number: usize,
}

impl EventId {
    /// The series that counts it.
    pub(crate) fn series(self) -> String {
        let block = self.number / (BITS * ROUND);
        format!("w{}-{block:03}-{:02}", self.writer, self.number % ROUND)
    }

    /// Its value, and its bit in the series' sum.
    pub(crate) const fn value(self) -> u64 {
        1 << (self.number % (BITS * ROUND) / ROUND)
    }
}

/// How many series so many events of one writer need.
pub(crate) const fn series_for(events: usize) -> usize {
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
