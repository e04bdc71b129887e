//! The events of the model, and the totals that an analysis must compute from them.

use anyhow::{Context as _, Result};
use bulkhead_proto::{
    shm::ring::Batch,
    wire::event::{Event, Input, Removal},
};
use std::collections::BTreeMap;

/// The ring bytes of the record of an event with an empty label: two words, the event's head, and three
/// letters, zero-padded.
pub const MIN_RECORD: usize = 56;

/// The ring bytes of the largest record that a ring of 2 KiB accepts. The label fills the difference.
pub const MAX_RECORD: usize = MIN_RECORD + 128;

/// One event, small enough to be written in one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestEvent {
    /// The series; three letters.
    pub series: &'static str,
    /// The value.
    pub value: u32,
    /// The ring bytes of its record: a multiple of 8, from [`MIN_RECORD`] to [`MAX_RECORD`].
    pub size: usize,
    /// The event is quarantined: every analysis skips it.
    pub skipped: bool,
    /// It is the removal of the series. Its value is the time of its arrival.
    pub removes: bool,
}

/// Creates an event.
#[must_use]
pub const fn test_event(series: &'static str, value: u32, size: usize) -> TestEvent {
    TestEvent { series, value, size, skipped: false, removes: false }
}

/// Creates the removal of a series.
#[must_use]
pub const fn removal(series: &'static str, value: u32) -> TestEvent {
    TestEvent { removes: true, ..test_event(series, value, MIN_RECORD) }
}

impl TestEvent {
    fn label(&self) -> String {
        // Derived from the value, so that bytes of another event's label are noticed.
        let letter = char::from(b'a' + u8::try_from(self.value % 26).unwrap_or_default());
        letter.to_string().repeat(self.size - MIN_RECORD)
    }

    /// Adds the event to a batch, as an API does.
    ///
    /// # Errors
    /// When the event is not valid.
    pub fn push(&self, batch: &mut Batch) -> Result<()> {
        let pushed = if self.removes {
            batch.push_removal(&self.removal())
        } else {
            batch.push(&self.event(&self.label()))
        };
        pushed.context("a test event is not valid")
    }

    /// The encoded event, as it is stored in the ring.
    ///
    /// # Errors
    /// When the event is not valid.
    pub fn payload(&self) -> Result<Vec<u8>> {
        let mut payload = Vec::new();
        let encoded = if self.removes {
            self.removal().encode(&mut payload)
        } else {
            self.event(&self.label()).encode(&mut payload)
        };
        encoded.context("a test event is not valid")?;
        Ok(payload)
    }

    fn removal(&self) -> Removal<'_> {
        Removal { series: self.series, arrived_ms: self.value.into(), request_id: None }
    }

    fn event<'a>(&self, label: &'a str) -> Event<'a> {
        Event {
            series: self.series,
            value: Some(self.value.into()),
            ts_ms: 1,
            arrived_ms: i64::from(self.value),
            label: Some(label),
            data: None,
            request_id: None,
        }
    }

    /// Whether a payload from the ring is exactly this event.
    #[must_use]
    pub fn matches(&self, payload: &[u8]) -> bool {
        let event = match Input::decode(payload) {
            Ok(Input::Event(event)) if !self.removes => event,
            Ok(Input::Removal(removal)) => return self.removes && removal == self.removal(),
            Ok(Input::Event(_)) | Err(_) => return false,
        };
        event.series == self.series
            && event.value == Some(self.value.into())
            && event.arrived_ms == i64::from(self.value)
            && event.label == Some(&self.label())
    }
}

/// A batch of these events.
///
/// # Errors
/// When an event is not valid.
pub fn batch(data: &[TestEvent]) -> Result<Batch> {
    let mut batch = Batch::new();
    data.iter().try_for_each(|event| event.push(&mut batch))?;
    Ok(batch)
}

/// The totals of one series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SeriesTotal {
    /// The number of events.
    pub count: u64,
    /// The sum of their values.
    pub sum: u64,
}

/// The totals by series.
pub type SeriesTotals = BTreeMap<String, SeriesTotal>;

/// The series whose state grows with every event, so that it crosses a page boundary.
pub const GROWING: &str = "BIG";

impl SeriesTotal {
    /// Applies the value of one event.
    pub const fn apply(&mut self, value: u64) {
        self.count += 1;
        self.sum += value;
    }

    /// The encoded state. Its length and every byte follow from the series and the totals.
    #[must_use]
    pub fn state(&self, series: &str) -> Vec<u8> {
        let filler =
            if series == GROWING { to_usize(self.count) * 1500 } else { to_usize(self.count % 5) * 7 };
        let mut state = format!("{} {} ", self.count, self.sum).into_bytes();
        state.resize(state.len() + filler, b'a' + u8::try_from(self.sum % 26).unwrap_or_default());
        state
    }

    /// The encoded public part.
    #[must_use]
    pub fn public(&self, series: &str) -> Vec<u8> {
        format!(r#"{{"series":"{series}","count":{},"sum":{}}}"#, self.count, self.sum).into_bytes()
    }

    /// Decodes a stored state. `None` unless it is exactly what [`Self::state`] encodes.
    #[must_use]
    pub fn parse(series: &str, state: &[u8]) -> Option<Self> {
        let text = str::from_utf8(state).ok()?;
        let mut parts = text.splitn(3, ' ');
        let mut number = || parts.next()?.parse().ok();
        let total = Self { count: number()?, sum: number()? };
        (total.state(series) == state).then_some(total)
    }
}

fn to_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The totals that an analysis must compute from these events.
#[must_use]
pub fn fold(data: &[TestEvent]) -> SeriesTotals {
    let mut totals = SeriesTotals::new();
    for event in data.iter().filter(|event| !event.skipped) {
        if event.removes {
            totals.remove(event.series);
        } else {
            totals.entry(event.series.to_owned()).or_default().apply(event.value.into());
        }
    }
    totals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_event_occupies_its_size_in_the_ring() {
        for size in (MIN_RECORD..=MAX_RECORD).step_by(8) {
            assert_eq!(batch(&[test_event("ATL", 7, size)]).unwrap().bytes(), size);
        }
    }

    #[test]
    fn a_state_decodes_only_when_every_byte_is_right() {
        let total = SeriesTotal { count: 3, sum: 12 };
        let mut state = total.state("ATL");
        assert_eq!(SeriesTotal::parse("ATL", &state), Some(total));
        *state.last_mut().unwrap() = b'z';
        assert_eq!(SeriesTotal::parse("ATL", &state), None);
    }
}
