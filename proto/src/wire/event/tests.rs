//! Bounds, and encodings of this and of earlier versions.

use super::*;
use proptest::prelude::*;

fn sample() -> Event<'static> {
    Event {
        series: "DTW",
        value: Some(-6.5),
        ts_ms: 978_310_020_000,
        arrived_ms: 1,
        label: Some(""),
        data: None,
        request_id: Some("r-1"),
    }
}

#[test]
fn every_bound_is_checked_when_an_event_is_encoded() {
    let mut bytes = Vec::new();
    let long = "x".repeat(MAX_DATA + 1);
    for (event, field) in [
        (Event { series: "", ..sample() }, "series"),
        (Event { series: &long[..MAX_SERIES + 1], ..sample() }, "series"),
        (Event { label: Some(&long[..MAX_LABEL + 1]), ..sample() }, "label"),
        (Event { request_id: Some(&long[..MAX_REQUEST_ID + 1]), ..sample() }, "request id"),
        (Event { data: Some(&long), ..sample() }, "data"),
    ] {
        assert!(
            matches!(event.encode(&mut bytes), Err(EventError::Length { field: found, .. }) if found == field)
        );
    }
    for (value, error) in [(Some(f64::NAN), EventError::NotFinite), (None, EventError::NoValue)] {
        assert_eq!(Event { value, ..sample() }.encode(&mut bytes), Err(error));
    }
    assert!(bytes.is_empty());
}

#[test]
fn a_removal_is_not_an_event_and_an_event_is_not_a_removal() {
    let removal = Removal { series: "DTW", arrived_ms: 7, request_id: Some("r-1") };
    let (mut removed, mut applied) = (Vec::new(), Vec::new());
    removal.encode(&mut removed).unwrap();
    sample().encode(&mut applied).unwrap();
    assert_eq!(Input::decode(&removed), Ok(Input::Removal(removal)));
    assert_eq!(Event::decode(&removed), Err(EventError::Removal));
    assert_eq!(Input::decode(&applied), Ok(Input::Event(sample())));
    for (bytes, arrived) in [(removed, 7), (applied, 1)] {
        assert_eq!(Input::decode(&bytes).unwrap().arrived_ms(), arrived);
        assert_eq!(arrived_ms(&bytes[..HEAD_BYTES]), Some(arrived));
        assert_eq!(arrived_ms(&bytes[..HEAD_BYTES - 1]), None);
    }
    let nameless = Removal { series: "", ..removal };
    assert!(matches!(nameless.encode(&mut Vec::new()), Err(EventError::Length { field: "series", .. })));
}

#[test]
fn data_of_every_length_up_to_the_bound_is_encoded() {
    let long = "x".repeat(MAX_DATA);
    for length in [0, 1, 0xffff, 0x1_0000, 0x1_0001, MAX_DATA] {
        let event = Event { data: Some(&long[..length]), ..sample() };
        let mut bytes = Vec::new();
        event.encode(&mut bytes).unwrap();
        assert!(bytes.len() <= largest_event(length));
        assert_eq!(Event::decode(&bytes), Ok(event));
    }
}

#[test]
fn an_encoded_length_beyond_the_bound_is_refused() {
    let mut bytes = Vec::new();
    Event { data: Some(""), ..sample() }.encode(&mut bytes).unwrap();
    let texts = bytes.len();
    bytes.resize(texts + MAX_DATA + 1, b'x');
    let (low, high) = (24, 30);
    bytes[low..low + 2].copy_from_slice(&[1, 0]);
    bytes[high..high + 2].copy_from_slice(&[0x10, 0]);
    let found = MAX_DATA + 1;
    assert_eq!(
        Event::decode(&bytes),
        Err(EventError::Length { field: "data", found, least: 0, most: MAX_DATA })
    );
}

#[test]
fn an_event_with_data_needs_no_value() {
    let event = Event { ts_ms: 1, label: Some("tea"), ..Event::without_value("orders", "{}") };
    let mut bytes = Vec::new();
    event.encode(&mut bytes).unwrap();
    assert_eq!(Event::decode(&bytes), Ok(event));
    let flags = 26;
    bytes[flags] &= !HAS_DATA;
    assert_eq!(Event::decode(&bytes), Err(EventError::NoValue));
}

/// The bytes of layout 4: `data_len` had 16 bits, and every event a value.
#[test]
fn an_event_of_an_earlier_version_is_decoded() {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&(-6.5_f64).to_le_bytes());
    bytes.extend_from_slice(&978_310_020_000_i64.to_le_bytes());
    bytes.extend_from_slice(&1_i64.to_le_bytes());
    bytes.extend_from_slice(&4096_u16.to_le_bytes());
    // Label, data and request id are there; then the lengths of series, label and request id; then reserved bytes.
    bytes.extend_from_slice(&[1 | 2 | 4, 3, 0, 3, 0, 0]);
    bytes.extend_from_slice(b"DTWr-1");
    let data = "x".repeat(4096);
    bytes.extend_from_slice(data.as_bytes());
    assert_eq!(Event::decode(&bytes), Ok(Event { data: Some(&data), ..sample() }));

    let mut removal = bytes[..32].to_vec();
    removal[..8].fill(0);
    removal[24..32].copy_from_slice(&[0, 0, 8, 3, 0, 0, 0, 0]);
    removal.extend_from_slice(b"DTW");
    assert_eq!(
        Input::decode(&removal),
        Ok(Input::Removal(Removal { series: "DTW", arrived_ms: 1, request_id: None }))
    );
}

proptest! {
    #[test]
    fn an_encoded_event_decodes_to_itself(
        series in "\\PC{1,32}", value in proptest::option::of(-1e300..1e300f64), ts_ms: i64, arrived_ms: i64,
        label in proptest::option::of("\\PC{0,32}"), data in proptest::option::of("\\PC{0,99}"),
        repeated in 1..2000_usize,
        request_id in proptest::option::of("[a-z0-9-]{0,64}"),
    ) {
        let data = data.map(|data| data.repeat(repeated));
        let value = value.or_else(|| data.is_none().then_some(1.0));
        let event = Event {
            series: &series, value, ts_ms, arrived_ms,
            label: label.as_deref(), data: data.as_deref(), request_id: request_id.as_deref(),
        };
        let mut bytes = Vec::new();
        event.encode(&mut bytes).unwrap();
        prop_assert!(bytes.len() <= MAX_EVENT);
        prop_assert_eq!(Event::decode(&bytes).unwrap(), event);
        prop_assert!(Event::decode(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn any_bytes_are_decoded_or_refused_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(event) = Event::decode(&bytes) {
            prop_assert!(event.value.map_or(event.data.is_some(), f64::is_finite) && !event.series.is_empty());
        }
    }
}
