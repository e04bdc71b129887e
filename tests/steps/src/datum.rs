//! The events of the model, and what an analysis must have made of them.

use anyhow::{Context as _, Result};
use bulkhead_proto::{shm::ring::Batch, wire::event::Event};
use std::collections::BTreeMap;

/// The record of a datum with an empty label takes up this much of the ring, in bytes: two words, the event's head, and
/// three letters, zero-padded.
pub const SMALLEST: usize = 56;

/// A label may be this much longer than nothing: with it, a record is the largest that a ring of 2 KiB takes.
pub const LARGEST: usize = SMALLEST + 128;

/// One event, small enough to be written in one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datum {
    /// Its series; three letters.
    pub series: &'static str,
    /// Its value.
    pub value: u32,
    /// What it takes up in the ring, in bytes: a multiple of 8, [`SMALLEST`] to [`LARGEST`].
    pub size: usize,
    /// It is set aside: whoever comes to it skips it.
    pub skipped: bool,
}

/// A datum in short.
#[must_use]
pub const fn datum(series: &'static str, value: u32, size: usize) -> Datum {
    Datum { series, value, size, skipped: false }
}

impl Datum {
    fn label(&self) -> String {
        // Told from the value, so that bytes of another event's label are noticed.
        let letter = char::from(b'a' + u8::try_from(self.value % 26).unwrap_or_default());
        letter.to_string().repeat(self.size - SMALLEST)
    }

    /// Adds it to a batch, as an API would.
    ///
    /// # Errors
    /// When it is no event.
    pub fn push(&self, batch: &mut Batch) -> Result<()> {
        batch.push(&self.event(&self.label())).context("a datum is no event")
    }

    /// Its bytes, as they stand in the ring.
    ///
    /// # Errors
    /// When it is no event.
    pub fn payload(&self) -> Result<Vec<u8>> {
        let mut payload = Vec::new();
        self.event(&self.label()).encode(&mut payload).context("a datum is no event")?;
        Ok(payload)
    }

    fn event<'a>(&self, label: &'a str) -> Event<'a> {
        Event {
            series: self.series,
            value: self.value.into(),
            ts_ms: 1,
            arrived_ms: i64::from(self.value),
            label: Some(label),
            data: None,
            request_id: None,
        }
    }

    /// Whether a payload that was read from the ring is this datum, to the last byte.
    #[must_use]
    pub fn is(&self, payload: &[u8]) -> bool {
        let Ok(event) = Event::decode(payload) else { return false };
        event.series == self.series
            && event.value.to_bits() == f64::from(self.value).to_bits()
            && event.arrived_ms == i64::from(self.value)
            && event.label == Some(&self.label())
    }
}

/// A batch of data.
///
/// # Errors
/// When one of them is no event.
pub fn batch(data: &[Datum]) -> Result<Batch> {
    let mut batch = Batch::new();
    data.iter().try_for_each(|datum| datum.push(&mut batch))?;
    Ok(batch)
}

/// What the analysis of the model knows of one series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many events.
    pub count: u64,
    /// The sum of their values.
    pub sum: u64,
}

/// What the analysis knows, by series.
pub type Tallies = BTreeMap<String, Tally>;

/// The series whose state takes up more bytes with every event, so that it grows over the border of a page.
pub const GROWING: &str = "BIG";

impl Tally {
    /// Applies one event's value.
    pub const fn apply(&mut self, value: u64) {
        self.count += 1;
        self.sum += value;
    }

    /// The state as it is stored: its length and every byte follow from the series and the tally.
    #[must_use]
    pub fn state(&self, series: &str) -> Vec<u8> {
        let filler = if series == GROWING { index(self.count) * 1500 } else { index(self.count % 5) * 7 };
        let mut state = format!("{} {} ", self.count, self.sum).into_bytes();
        state.resize(state.len() + filler, b'a' + u8::try_from(self.sum % 26).unwrap_or_default());
        state
    }

    /// The public part as it is stored.
    #[must_use]
    pub fn public(&self, series: &str) -> Vec<u8> {
        format!(r#"{{"series":"{series}","count":{},"sum":{}}}"#, self.count, self.sum).into_bytes()
    }

    /// Reads a stored state. None when it is not exactly what [`Self::state`] makes.
    #[must_use]
    pub fn parse(series: &str, state: &[u8]) -> Option<Self> {
        let text = str::from_utf8(state).ok()?;
        let mut parts = text.splitn(3, ' ');
        let mut number = || parts.next()?.parse().ok();
        let tally = Self { count: number()?, sum: number()? };
        (tally.state(series) == state).then_some(tally)
    }
}

fn index(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// What an analysis must have made of these events.
#[must_use]
pub fn fold(data: &[Datum]) -> Tallies {
    let mut tallies = Tallies::new();
    for datum in data.iter().filter(|datum| !datum.skipped) {
        tallies.entry(datum.series.to_owned()).or_default().apply(datum.value.into());
    }
    tallies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datum_takes_up_what_it_says() {
        for size in (SMALLEST..=LARGEST).step_by(8) {
            assert_eq!(batch(&[datum("ATL", 7, size)]).unwrap().bytes(), size);
        }
    }

    #[test]
    fn a_state_is_read_back_only_when_every_byte_is_right() {
        let tally = Tally { count: 3, sum: 12 };
        let mut state = tally.state("ATL");
        assert_eq!(Tally::parse("ATL", &state), Some(tally));
        *state.last_mut().unwrap() = b'z';
        assert_eq!(Tally::parse("ATL", &state), None);
    }
}
