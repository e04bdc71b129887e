//! Compares the built-in analysis with independently computed results, and decodes hostile state bytes.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "clippy does not count the helpers of a test as test code")]

use bulkhead_worker_analytics::{Analysis, Event, Statistics, Summary, decode, encode, testing};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs};

/// In bytes. A slot of the state table holds about 64 KiB of key, state and rendered form; the largest
/// summary must stay well below that.
const SIZE_LIMIT: usize = 40 << 10;

fn event<'a>(series: &'a str, value: f64, label: Option<&'a str>, ts_ms: i64) -> Event<'a> {
    Event { ts_ms, label, ..Event::new(series, value) }
}

fn summary_of(values: &[f64]) -> Summary {
    let mut summary = Summary::default();
    values.iter().for_each(|value| Statistics.apply(&mut summary, &event("s", *value, None, 0)));
    summary
}

fn rendered(summary: &Summary) -> Value {
    serde_json::to_value(Statistics.render("s", summary)).unwrap()
}

fn encoded(summary: &Summary) -> Vec<u8> {
    let mut buffer = Vec::new();
    encode(summary, &mut buffer).unwrap();
    buffer
}

fn is_close(found: &Value, expected: &Value, relative: f64) -> bool {
    let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
    (found - expected).abs() <= relative * expected.abs()
}

/// The values at the rank of a percentile and at the adjacent ranks, which `tests/data/README.md` accepts.
fn values_around_rank(sorted: &[f64], percent: usize) -> &[f64] {
    let rank = (sorted.len() * percent).div_ceil(100) - 1;
    &sorted[rank.saturating_sub(1)..=(rank + 1).min(sorted.len() - 1)]
}

fn flights() -> Vec<Value> {
    let text = fs::read_to_string("../tests/data/flights-20k.ndjson").unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn expected_results() -> Value {
    serde_json::from_str(&fs::read_to_string("../tests/data/flights-20k.expected.json").unwrap()).unwrap()
}

/// Compares a rendered series with the independent result. `sorted` has the values of the series.
fn compare(series: &str, found: &Value, expected: &Value, sorted: &[f64]) {
    for exact in ["count", "sum", "distinct_labels"] {
        assert_eq!(found[exact], expected[exact], "{exact} of {series}");
    }
    for (field, relative) in [("min", 0.0), ("max", 0.0), ("mean", 1e-9), ("stddev", 1e-9)] {
        assert!(is_close(&found[field], &expected[field], relative), "{field} of {series}: {found}");
    }
    for (field, percent) in [("p50", 50), ("p90", 90), ("p99", 99)] {
        let near = |value: &f64| is_close(&found[field], &json!(value), 0.01);
        assert!(values_around_rank(sorted, percent).iter().any(near), "{field} of {series}: {found}");
    }
    let top = &found["top_labels"].as_array().unwrap()[..expected["top_labels"].as_array().unwrap().len()];
    assert_eq!(&json!(top), &expected["top_labels"], "top_labels of {series}");
}

#[test]
fn every_series_of_the_flights_equals_the_independent_result() {
    let flights = flights();
    let mut series_of = BTreeMap::<_, (Summary, Vec<f64>)>::new();
    for flight in &flights {
        let (series, value) = (flight["series"].as_str().unwrap(), flight["value"].as_f64().unwrap());
        let event = event(series, value, flight["label"].as_str(), flight["ts"].as_i64().unwrap());
        let (state, values) = series_of.entry(series).or_default();
        Statistics.apply(state, &event);
        values.push(value);
        // A successor reads the state that was written before a crash: at any moment, a state that is written
        // and read again must be the same.
        if values.len() % 37 == 0 {
            *state = decode(&encoded(state)).unwrap();
        }
    }
    let results = expected_results();
    let expected = results["by_series"].as_object().unwrap();
    assert_eq!(series_of.len(), expected.len());
    for (series, expected) in expected {
        let (state, values) = series_of.get_mut(series.as_str()).unwrap();
        values.sort_by(f64::total_cmp);
        let found = serde_json::to_value(Statistics.render(series, state)).unwrap();
        compare(series, &found, expected, values);
        assert!(encoded(state).len() < 3 << 10, "a typical state must be small");
    }
}

#[test]
fn a_summary_survives_a_crash_after_each_event() {
    let names: Vec<String> = (0..200).map(|i| format!("label-{i}")).collect();
    let labelled = names.iter().enumerate().map(|(i, name)| event("s", i as f64, Some(name), 7));
    let events: Vec<_> = labelled.chain([event("s", -0.0, None, i64::MIN)]).collect();
    let rendered = testing::check(|| Statistics, &events).unwrap();
    assert_eq!(rendered["s"]["count"], events.len());
}

#[test]
fn a_rendered_summary_has_the_fields_of_the_contract_in_its_order() {
    let mut summary = Summary::default();
    for (value, label) in [(2.0, "b"), (-0.5, "a\"\u{1}"), (2.0, "b")] {
        Statistics.apply(&mut summary, &event("s", value, Some(label), 978_310_020_123));
    }
    let text = serde_json::to_string(&Statistics.render("s \"1\"", &summary)).unwrap();
    let expected = concat!(
        r#"{"series":"s \"1\"","count":3,"sum":3.5,"mean":1.1666666666666667,"stddev":1.1785113019775793,"#,
        r#""min":-0.5,"max":2,"p50":2,"p90":2,"p99":2,"distinct_labels":2,"#,
        r#""top_labels":[{"label":"b","count":2},{"label":"a\"\u0001","count":1}],"#,
        r#""last":{"value":2,"ts":"2001-01-01T00:47:00.123Z"}}"#
    );
    assert_eq!(text, expected);
}

#[test]
fn an_event_without_a_value_counts_with_its_label_and_changes_no_other_number() {
    let mut summary = summary_of(&[1.0, 3.0]);
    let without_value = Event { label: Some("tea"), ts_ms: 5, ..Event::without_value("s", "{}") };
    Statistics.apply(&mut summary, &without_value);
    let found = rendered(&summary);
    let mut expected = rendered(&summary_of(&[1.0, 3.0]));
    expected["count"] = json!(3);
    expected["distinct_labels"] = json!(1);
    expected["top_labels"] = json!([{ "label": "tea", "count": 1 }]);
    expected["last"] = json!({ "value": null, "ts": "1970-01-01T00:00:00.005Z" });
    assert_eq!(found, expected);
    Statistics.apply(&mut summary, &event("s", 2.0, None, 0));
    assert_eq!((&rendered(&summary)["count"], &rendered(&summary)["mean"]), (&json!(4), &json!(2)));
}

#[test]
fn a_series_without_any_value_has_a_count_and_labels_only() {
    let events = [Event::without_value("s", "1"), Event::without_value("s", "2")];
    let found = &testing::check(|| Statistics, &events).unwrap()["s"];
    let expected = json!({
        "series": "s", "count": 2, "sum": 0, "mean": null, "stddev": null, "min": null, "max": null,
        "p50": null, "p90": null, "p99": null, "distinct_labels": 0, "top_labels": [],
        "last": { "value": null, "ts": "1970-01-01T00:00:00Z" },
    });
    assert_eq!(found, &expected);
}

/// The state before events could be without a value: `last` was a number, and there was no field `without_value`.
#[test]
fn a_state_of_an_earlier_program_is_read() {
    let summary = summary_of(&[1.0, 3.0]);
    let bytes = encoded(&summary);
    let is_in = |name: &str| bytes.windows(name.len()).any(|window| window == name.as_bytes());
    assert!(
        is_in("last") && !is_in("without_value"),
        "the encoding has changed: write the former one down here"
    );
    let mut last = b"\xa4last\xcb".to_vec();
    last.extend_from_slice(&3.0_f64.to_be_bytes());
    assert!(bytes.windows(last.len()).any(|window| window == last), "{bytes:?}");
    assert_eq!(rendered(&decode(&bytes).unwrap()), rendered(&summary));
}

#[test]
fn a_sum_beyond_the_range_of_an_f64_is_null_and_the_rest_is_right() {
    let found = rendered(&summary_of(&[f64::MAX, f64::MAX]));
    assert_eq!(found["sum"], Value::Null);
    assert_eq!(
        (&found["mean"], &found["stddev"], &found["p50"]),
        (&json!(f64::MAX), &json!(0), &json!(f64::MAX))
    );
}

#[test]
fn equal_values_have_a_standard_deviation_of_zero() {
    assert_eq!(rendered(&summary_of(&[0.1; 1000]))["stddev"], json!(0));
}

#[test]
fn the_largest_state_fits_a_slot_with_room_to_spare() {
    let mut summary = Summary::default();
    for i in 0..60_000_u32 {
        let label = format!("{i:0>128}");
        let value = 1.021_f64.powi(i32::try_from(i % 1500).unwrap()) * if i % 2 == 0 { 1.0 } else { -1.0 };
        Statistics.apply(&mut summary, &event("s", value, Some(&label), i64::MAX));
    }
    let public = serde_json::to_vec(&Statistics.render("s", &summary)).unwrap().len();
    let state = encoded(&summary).len();
    assert!(state + public < SIZE_LIMIT, "{state} and {public} bytes");
}

fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![-1000.0..1000.0, -1e300..1e300, (-1000_i32..1000).prop_map(f64::from)]
}

fn any_summary() -> impl Strategy<Value = Summary> {
    let any_event = (prop::option::of(any_value()), prop::option::of(0..300_u32), any::<i64>());
    prop::collection::vec(any_event, 1..400).prop_map(|events| {
        let mut summary = Summary::default();
        for (value, label, ts_ms) in events {
            let label = label.map(|number| format!("label-{number}"));
            let data = value.is_none().then_some("0");
            let event = Event { value, data, ..event("s", 0.0, label.as_deref(), ts_ms) };
            Statistics.apply(&mut summary, &event);
        }
        summary
    })
}

proptest! {
    #[test]
    fn a_state_is_unchanged_by_encoding_and_decoding(summary in any_summary()) {
        let decoded: Summary = decode(&encoded(&summary)).unwrap();
        prop_assert_eq!(encoded(&decoded), encoded(&summary));
        prop_assert_eq!(rendered(&decoded), rendered(&summary));
    }

    #[test]
    fn damaged_bytes_never_panic_and_a_decoded_state_is_usable(
        summary in any_summary(),
        edits in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4),
        cut in any::<usize>(),
    ) {
        let mut bytes = encoded(&summary);
        for (at, byte) in edits {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(if cut % 4 == 0 { cut % bytes.len() } else { bytes.len() });
        if let Ok(mut summary) = decode::<Summary>(&bytes) {
            (0..200).for_each(|i| Statistics.apply(&mut summary, &event("s", 1.0, Some(&i.to_string()), 0)));
            rendered(&summary);
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        let _ = decode::<Summary>(&bytes);
    }

    #[test]
    fn everything_but_the_last_value_is_independent_of_the_order(values in prop::collection::vec(any_value(), 1..100)) {
        let reversed: Vec<f64> = values.iter().rev().copied().collect();
        let (forward, backward) = (rendered(&summary_of(&values)), rendered(&summary_of(&reversed)));
        for field in ["count", "min", "max", "p50", "p90", "p99", "distinct_labels"] {
            prop_assert_eq!(&forward[field], &backward[field]);
        }
        let size = values.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
        for field in ["mean", "stddev"] {
            let difference = (forward[field].as_f64().unwrap() - backward[field].as_f64().unwrap()).abs();
            prop_assert!(difference <= 1e-15 * size, "{field}: {forward} {backward}");
        }
    }
}
