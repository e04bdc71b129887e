//! Which bodies are accepted, and which are refused with which index and field.

use super::*;
use proptest::prelude::*;

const CONTEXT: BatchContext<'static> =
    BatchContext { arrived_ms: 77, request_id: Some("r"), faults: false, max_data: 4096 };

/// Parses a body and returns each event as a short text.
fn read_with(
    context: &BatchContext<'_>,
    format: BodyFormat,
    body: impl AsRef<[u8]>,
) -> Result<Vec<String>, BatchError> {
    let mut seen = Vec::new();
    parse(body.as_ref(), format, context, &mut |event| {
        let Event { series, value, ts_ms, label, data, .. } = event;
        assert_eq!((event.arrived_ms, event.request_id), (context.arrived_ms, context.request_id));
        let value = value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        seen.push(format!("{series} {value} {ts_ms} {label:?} {data:?}"));
        Ok(())
    })?;
    Ok(seen)
}

fn json(body: impl AsRef<[u8]>) -> Result<Vec<String>, BatchError> {
    read_with(&CONTEXT, BodyFormat::Json, body)
}

fn ndjson(body: impl AsRef<[u8]>) -> Result<Vec<String>, BatchError> {
    read_with(&CONTEXT, BodyFormat::Ndjson, body)
}

#[test]
fn the_three_layouts_are_parsed() {
    let (a, b) = (r#"{"series":"a","value":1}"#, r#"{"value":-2.5,"series":"b"}"#);
    let both = vec!["a 1 77 None None".to_owned(), "b -2.5 77 None None".to_owned()];
    assert_eq!(json(a).unwrap(), both[..1]);
    assert_eq!(json(format!(" [ {a} ,\n{b} ] ")).unwrap(), both);
    assert_eq!(ndjson(format!("{a}\n{b}")).unwrap(), both);
    assert_eq!(ndjson(format!("\n{a}\r\n \t\r\n{b}\n\n")).unwrap(), both);
}

#[test]
fn every_field_is_parsed_and_data_is_kept_verbatim() {
    let body = r#"{"label":"x\n\u00e9","data": {"b": 1.0e2, "a":[ ] } ,"ts":"1970-01-01T00:00:01Z","series":"\u0073 é","value":1e3}"#;
    assert_eq!(json(body).unwrap(), [r#"s é 1000 1000 Some("x\né") Some("{\"b\": 1.0e2, \"a\":[ ] }")"#]);
    assert_eq!(
        json(r#"{"series":"s","value":0,"label":null,"ts":null,"data":null}"#).unwrap(),
        [r#"s 0 77 None Some("null")"#]
    );
    assert_eq!(
        json(r#"{"series":"s","value":18446744073709551615,"ts":-1,"label":""}"#).unwrap(),
        [r#"s 18446744073709552000 -1 Some("") None"#]
    );
}

#[test]
fn strings_at_their_bounds_are_accepted() {
    let body = format!(
        r#"{{"series":"{}","value":1,"label":"{}","data":"{}"}}"#,
        "s".repeat(128),
        "l".repeat(128),
        "d".repeat(4094)
    );
    assert_eq!(json(body).unwrap().len(), 1);
    let nested = format!(r#"{{"series":"s","value":1,"data":{}{}}}"#, "[".repeat(64), "]".repeat(64));
    assert_eq!(json(nested).unwrap().len(), 1);
    assert_eq!(json(r#"{"series":"s","value":1,"data":"[[[[\"[[[[\\"}"#).unwrap().len(), 1);
}

#[test]
fn an_event_with_data_needs_no_value() {
    for body in [
        r#"{"series":"s","data":{"a":1}}"#,
        r#"{"series":"s","data":{"a":1},"value":null}"#,
        r#"{"value":null,"data":{"a":1},"series":"s"}"#,
    ] {
        assert_eq!(json(body).unwrap(), [r#"s - 77 None Some("{\"a\":1}")"#], "{body}");
    }
    assert_eq!(ndjson(r#"{"series":"s","data":[]}"#).unwrap(), [r#"s - 77 None Some("[]")"#]);
}

#[test]
fn data_is_accepted_up_to_the_configured_length_in_an_array_and_in_lines() {
    let data = |length: usize| format!("\"{}\"", "d".repeat(length - 2));
    for max_data in [1024, 65_536, 1 << 20] {
        let context = BatchContext { max_data, ..CONTEXT };
        let event = |length: usize| format!(r#"{{"series":"s","value":1,"data":{}}}"#, data(length));
        let (largest, larger) = (event(max_data), event(max_data + 1));
        for (format, bodies) in [
            (BodyFormat::Json, [format!("[{largest},{largest}]"), format!("[{largest},{larger}]")]),
            (BodyFormat::Ndjson, [format!("{largest}\n{largest}\n"), format!("{largest}\n{larger}\n")]),
        ] {
            let mut lengths = Vec::new();
            let mut sink = |event: &Event<'_>| {
                lengths.push(event.data.map_or(0, str::len));
                Ok(())
            };
            parse(bodies[0].as_bytes(), format, &context, &mut sink).unwrap();
            assert_eq!(lengths, [max_data; 2]);
            let error = read_with(&context, format, &bodies[1]).unwrap_err();
            assert_eq!((error.index, error.field.as_deref()), (Some(1), Some("data")));
            let expected =
                format!("at most {max_data} bytes of JSON (`api.max_event`); found {}", max_data + 1);
            assert!(error.detail.contains(&expected), "{error:?}");
        }
    }
}

#[test]
fn every_bad_field_is_named() {
    let long = "x".repeat(129);
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let large = format!("\"{}\"", "d".repeat(4095));
    for (field, rest) in [
        ("series", r#""value":1"#.to_owned()),
        ("series", r#""series":"","value":1"#.into()),
        ("series", format!(r#""series":"{long}","value":1"#)),
        ("series", r#""series":null,"value":1"#.into()),
        ("series", r#""series":7,"value":1"#.into()),
        ("series", r#""series":"a","series":"a","value":1"#.into()),
        ("series", r#""series":"__state","value":1"#.into()),
        ("series", r#""series":"__fault.panic","value":1"#.into()),
        ("series", r#""series":"\ud800","value":1"#.into()),
        ("value", r#""series":"a""#.into()),
        ("value", r#""series":"a","value":null"#.into()),
        ("value", r#""series":"a","value":null,"label":"b""#.into()),
        ("value", r#""series":"a","data":null"#.into()),
        ("value", r#""series":"a","value":null,"data":null"#.into()),
        ("value", r#""series":"a","value":null,"value":1"#.into()),
        ("value", r#""series":"a","data":1,"value":"1""#.into()),
        ("value", r#""series":"a","value":"1""#.into()),
        ("value", r#""series":"a","value":true"#.into()),
        ("value", r#""series":"a","value":1e999"#.into()),
        ("value", r#""series":"a","value":-1e999"#.into()),
        ("value", r#""series":"a","value":NaN"#.into()),
        ("value", r#""series":"a","value":Infinity"#.into()),
        ("value", r#""series":"a","value":01"#.into()),
        ("value", r#""series":"a","value":1,"value":2"#.into()),
        ("value", r#""series":"a","value":1,"val\u0075e":2"#.into()),
        ("label", format!(r#""series":"a","value":1,"label":"{long}""#)),
        ("label", r#""series":"a","value":1,"label":5"#.into()),
        ("label", r#""series":"a","value":1,"label":null,"label":"b""#.into()),
        ("ts", r#""series":"a","value":1,"ts":"yesterday""#.into()),
        ("ts", r#""series":"a","value":1,"ts":1.5"#.into()),
        ("ts", r#""series":"a","value":1,"ts":253402300800000"#.into()),
        ("ts", r#""series":"a","value":1,"ts":18446744073709551615"#.into()),
        ("ts", r#""series":"a","value":1,"ts":{}"#.into()),
        ("data", format!(r#""series":"a","value":1,"data":{deep}"#)),
        ("data", format!(r#""series":"a","value":1,"data":{large}"#)),
        ("data", r#""series":"a","value":1,"data":nonsense"#.into()),
        ("data", r#""series":"a","value":1,"data":1,"data":1"#.into()),
        ("data", r#""series":"a","value":1,"data":"\ud800""#.into()),
        ("data", r#""series":"a","value":1,"data":{"k\udfff":1}"#.into()),
        ("data", r#""series":"a","value":1,"data":["\ud83d\u0041"]"#.into()),
        ("data", r#""series":"a","value":1,"data":["\ud83d","\ude00"]"#.into()),
        ("data", format!(r#""series":"a","value":1,"data":{}{}"#, "[".repeat(100_000), "]".repeat(100_000))),
        ("label", r#""series":"a","value":1,"label":"\udc00""#.into()),
        ("label", r#""series":"a","value":1,"label":"\ud800\ud800""#.into()),
        ("colour", r#""series":"a","value":1,"colour":"red""#.into()),
    ] {
        let good = r#"{"series":"good","value":1}"#;
        for (format, body) in [
            (BodyFormat::Json, format!("[{good},{{{rest}}},{good}]")),
            (BodyFormat::Ndjson, format!("{good}\n\n{{{rest}}}\n{good}")),
        ] {
            let error = read_with(&CONTEXT, format, &body).expect_err(&body);
            assert_eq!((error.index, error.field.as_deref()), (Some(1), Some(field)), "{body}: {error:?}");
        }
    }
}

#[test]
fn character_escapes_in_data_are_accepted_and_kept() {
    for data in [r#""\ud83d\ude00""#, r#""\\ud800""#, r#"["\u0041\ud83D\uDe00\n\\"]"#, r#""\\\\u""#] {
        let body = format!(r#"{{"series":"a","value":1,"data":{data}}}"#);
        assert!(json(&body).unwrap()[0].ends_with(&format!("Some({data:?})")), "{body}");
    }
}

#[test]
fn invalid_utf8_is_refused_with_its_event_and_field() {
    let good = "{\"series\":\"a\",\"value\":1}";
    let bad = "{\"series\":\"a\",\"label\":\"\u{e9}\",\"value\":1}";
    let cut = |body: String| body.bytes().filter(|&byte| byte != 0xa9).collect::<Vec<u8>>();
    for error in [json(cut(format!("[{good},{bad}]"))), ndjson(cut(format!("{good}\n{bad}\n")))] {
        let error = error.unwrap_err();
        assert_eq!((error.index, error.field.as_deref()), (Some(1), Some("label")), "{error:?}");
        assert!(error.detail.contains("UTF-8"), "{error:?}");
    }
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let with_byte_order_mark = format!("\u{feff}{good}");
    for body in [&utf16, with_byte_order_mark.as_bytes(), &[b"\xff\xfe", &*utf16].concat()] {
        assert!(json(body).is_err() && ndjson(body).is_err(), "{body:?}");
    }
}

#[test]
fn every_malformed_body_is_refused_with_its_index_if_it_has_one() {
    for (index, body) in [
        (None, "".as_bytes()),
        (None, b" \n"),
        (None, b"[]"),
        (None, b"[ ] x"),
        (None, b"\xff\xfe"),
        (Some(0), b"7"),
        (Some(0), b"null"),
        (Some(0), b"\"{}\""),
        (Some(0), b"{"),
        (Some(0), b"{}"),
        (Some(0), b"{\"series\":\"a\",\"value\":1"),
        (Some(0), b"{'series':'a'}"),
        (Some(0), b"[[{\"series\":\"a\",\"value\":1}]]"),
        (Some(0), b"[,]"),
        (None, b"["),
        (None, b"[{\"series\":\"a\",\"value\":1}"),
        (None, b"[{\"series\":\"a\",\"value\":1},]"),
        (None, b"[{\"series\":\"a\",\"value\":1} {\"series\":\"a\",\"value\":1}]"),
        (None, b"{\"series\":\"a\",\"value\":1} {\"series\":\"a\",\"value\":1}"),
        (Some(1), b"[{\"series\":\"a\",\"value\":1},7]"),
    ] {
        let error = json(body).expect_err(&String::from_utf8_lossy(body));
        assert_eq!(error.index, index, "{}: {error:?}", String::from_utf8_lossy(body));
    }
    assert_eq!(ndjson("{\"series\":\"a\",\"value\":1}\n[]").unwrap_err().index, Some(1));
    assert!(ndjson("{\"series\":\"a\",\n\"value\":1}").is_err(), "an event does not span lines");
    assert!(ndjson("\n\n").is_err());
}

#[test]
fn an_error_has_a_position_and_quotes_a_bounded_text() {
    let error = ndjson("{\"series\":\"a\",\"value\":1}\n{\"series\":\"a\",\"value\":x}").unwrap_err();
    assert_eq!(error.detail, "line 2, column 23: expected value");
    let huge = "x".repeat(1 << 20);
    for body in
        [format!(r#"{{"{huge}":1}}"#), format!(r#"{{"series":"a","value":"{huge}"}}"#), format!("\"{huge}\"")]
    {
        let error = json(body).unwrap_err();
        assert!(error.detail.len() < 600 && error.field.is_none_or(|field| field.len() <= 64));
    }
}

#[test]
fn fault_series_are_accepted_only_when_enabled_and_known() {
    let faults = BatchContext { faults: true, ..CONTEXT };
    let body = |series: &str| format!(r#"{{"series":"{series}","value":1}}"#);
    assert!(read_with(&faults, BodyFormat::Json, body("__fault.panic")).is_ok());
    let unknown = read_with(&faults, BodyFormat::Json, body("__fault.flood")).unwrap_err();
    assert!(unknown.detail.contains("expected one of: panic, abort"), "{unknown:?}");
    assert!(read_with(&faults, BodyFormat::Json, body("__overflow__")).is_err());
    let disabled = json(body("__fault.panic")).unwrap_err();
    assert!(disabled.detail.contains("faults are not enabled"), "{disabled:?}");
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (json(&body), ndjson(&body));
    }

    #[test]
    fn almost_json_is_parsed_or_refused(body in r#"[\[\]{}:,"\\ a-z0-9.eE+-]{0,60}"#) {
        let _ = (json(&body), ndjson(&body));
    }

    #[test]
    fn what_serde_json_writes_is_parsed_back(
        series in "\\PC{1,32}", value in -1e300..1e300f64, label in proptest::option::of("[\\PC\\n\"]{0,32}"),
        ts in proptest::option::of(-1_000_000_000_000..1_000_000_000_000i64),
    ) {
        prop_assume!(!series.starts_with("__"));
        let body = serde_json::json!({ "series": series, "value": value, "label": label, "ts": ts }).to_string();
        let expected = format!("{series} {value} {} {label:?} None", ts.unwrap_or(77));
        prop_assert_eq!(json(&body).unwrap(), std::slice::from_ref(&expected));
        prop_assert_eq!(ndjson(body).unwrap(), [expected]);
    }
}
