//! How events and entries are shown, cut, and read back.

use super::*;

#[test]
fn an_event_is_decoded_with_times_for_people() {
    let event = Event {
        series: "orders",
        value: Some(1.5),
        ts_ms: 0,
        arrived_ms: 1_700_000_000_120,
        label: Some("tea"),
        data: None,
        request_id: Some("r-1"),
    };
    let mut bytes = Vec::new();
    event.encode(&mut bytes).unwrap();
    assert_eq!(
        EventView::decode(&bytes).unwrap().to_string(),
        "series orders, value 1.5, ts 1970-01-01T00:00:00.000Z, arrived 2023-11-14T22:13:20.120Z, label tea, request r-1"
    );
    assert_eq!(EventView::decode(&bytes[1..]), None);
}

#[test]
fn a_removal_is_shown_as_one() {
    let removal = Removal { series: "orders", arrived_ms: 0, request_id: Some("r-1") };
    let mut bytes = Vec::new();
    removal.encode(&mut bytes).unwrap();
    let view = EventView::decode(&bytes).unwrap();
    assert_eq!(view.to_string(), "removal of series orders, arrived 1970-01-01T00:00:00.000Z, request r-1");
    let json = serde_json::to_value(&view).unwrap();
    assert_eq!((&json["removal"], &json["series"]), (&true.into(), &"orders".into()));
}

#[test]
fn values_are_short_at_any_magnitude() {
    let view = EventView {
        series: "x".into(),
        removal: false,
        value: None,
        ts: String::new(),
        arrived: String::new(),
        label: None,
        data: None,
        data_bytes: None,
        request_id: None,
    };
    for (value, shown) in
        [(0.0, "0"), (42.0, "42"), (-1.5, "-1.5"), (1e300, "1e300"), (-1.5e-320, "-1.5e-320")]
    {
        let text = EventView { value: Some(value), ..view.clone() }.to_string();
        assert!(text.contains(&format!(", value {shown},")), "{text}");
    }
    assert!(view.to_string().contains(", no value,"), "{view}");
}

fn entry(bytes: &str) -> Entry {
    Entry {
        seq: Seq(1),
        at: "2026-11-22T20:00:00Z".into(),
        worker: "analytics".into(),
        generation: Generation(7),
        crash: CrashId(3),
        cause: Cause::Signal,
        detail: "SIGSEGV".into(),
        during: Operation::Apply,
        attempts: 2,
        event: None,
        bytes: bytes.into(),
    }
}

#[test]
fn an_excerpt_has_the_beginning_of_long_data_and_an_entry_is_completed_from_its_bytes() {
    let long = format!("\"{}\"", "\u{e9}".repeat(MAX_EXCERPT));
    let mut bytes = Vec::new();
    Event::without_value("orders", &long).encode(&mut bytes).unwrap();
    let whole = EventView::decode(&bytes).unwrap();
    let excerpt = EventView::decode_excerpt(&bytes).unwrap();
    // A character is not cut in half.
    assert_eq!(excerpt.data.as_deref(), Some(&long[..MAX_EXCERPT - 1]));
    assert_eq!(excerpt.data_bytes, Some(long.len() as u64));
    assert!(excerpt.to_string().ends_with("\u{e9}… (8194 bytes in all)"), "{excerpt}");
    let entry = Entry { event: Some(excerpt), ..entry(&Entry::hex(&bytes)) };
    assert_eq!(entry.clone().complete().event, Some(whole));
    let damaged = Entry { bytes: "00".into(), ..entry };
    assert_eq!(damaged.clone().complete(), damaged, "an excerpt is better than nothing");
}

#[test]
fn data_up_to_the_length_of_an_excerpt_is_not_cut() {
    let data = "1".repeat(MAX_EXCERPT);
    let mut bytes = Vec::new();
    Event { data: Some(&data), ..Event::new("orders", 1.0) }.encode(&mut bytes).unwrap();
    let whole = EventView::decode(&bytes).unwrap();
    assert_eq!(EventView::decode_excerpt(&bytes), Some(whole));
}

#[test]
fn an_entry_of_an_earlier_version_is_read() {
    let file = r#"{"seq":1,"at":"2026-11-22T20:00:00Z","worker":"analytics","generation":7,"crash":3,"cause":"signal",
        "detail":"SIGSEGV","during":"apply","attempts":2,"event":{"series":"orders","value":1.5,
        "ts":"1970-01-01T00:00:00.000Z","arrived":"1970-01-01T00:00:00.000Z","data":"{}"},"bytes":"00"}"#;
    let read: Entry = serde_json::from_str(file).unwrap();
    let event = read.event.clone().unwrap();
    assert_eq!((event.value, event.data.as_deref(), event.data_bytes), (Some(1.5), Some("{}"), None));
    assert_eq!(Entry { event: None, ..read }, entry("00"));
}

#[test]
fn bytes_come_back_from_their_hexadecimal_form() {
    assert_eq!(Entry::hex(&[0, 0x7f, 0xff]), "007fff");
    assert_eq!(entry("007fff").payload(), Some(vec![0, 0x7f, 0xff]));
    for bytes in ["0", "0g", "é"] {
        assert_eq!(entry(bytes).payload(), None, "{bytes}");
    }
}
