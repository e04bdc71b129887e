//! Requests of every kind, from good ones to noise: whatever is sent, the answer is one of the contract's, and what was
//! not answered 202 is not counted. The seed is in the failure's message.

use bulkhead_tests::{Bulkhead, Home};
use fastrand::Rng;
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
};

const REQUESTS: usize = 1500;
const SEED: u64 = 20_261_122;

/// Behind every request, so that each connection comes to its end.
const LAST: &str = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

/// The types that an error may have.
const TYPES: &[&str] = &[
    "bad-event",
    "bad-request",
    "broken-body",
    "token-missing",
    "token-invalid",
    "not-found",
    "method-not-allowed",
    "timeout",
    "uri-too-long",
    "too-many-connections",
    "conflict",
    "body-too-large",
    "batch-too-large",
    "unsupported-media-type",
    "idempotency-key-reused",
    "full",
    "unavailable",
];

/// What is refused before it is a request has an answer without a body.
const BARE: [u16; 3] = [400, 414, 431];

const METHODS: &[&str] = &["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "BREW"];

const PATHS: &[&str] = &[
    "/v1/events",
    "/v1/stats",
    "/v1/series",
    "/v1/series?prefix=a&limit=7&after=b",
    "/v1/series?limit=-1",
    "/v1/series/s",
    "/v1/series/%00%ff",
    "/v1/workers",
    "/v1/crashes",
    "/v1/crashes/1",
    "/v1/quarantine",
    "/v1/faults/analytics/segv",
    "/livez",
    "/healthz",
    "/readyz",
    "/",
    "*",
    "/..%2f..//v1/events/",
    "http://else/livez",
];

const HEADERS: &[&str] = &[
    "content-type: application/json",
    "content-type: application/json",
    "content-type: application/x-ndjson",
    "content-type: text/plain",
    "content-type: application/json; charset=utf-16",
    "content-encoding: gzip",
    "accept: */*",
    "x-request-id: mine",
    "x-request-id: \u{7f}",
    "authorization: Bearer x",
    "idempotency-key: k",
    "idempotency-key:",
    "expect: 100-continue",
    "connection: close",
    "upgrade: websocket",
    "transfer-encoding: chunked",
    "content-length: 5",
    "a: b\0c",
    " folded",
];

const BODIES: &[&str] = &[
    "",
    r#"{"series":"s","value":1}"#,
    r#"[{"series":"a","value":-1e300,"label":"l"},{"series":"b","value":0,"ts":"2026-01-01T00:00:00Z"}]"#,
    "{\"series\":\"n\",\"value\":1}\n\n{\"series\":\"n\",\"value\":2,\"data\":{\"k\":[1,\"\\ud83d\\ude00\"]}}\n",
    r#"[{"series":"s","value":1},{"series":"s","value":null}]"#,
    "[[[[[[[[",
];

/// A request, good or bad.
fn request(rng: &mut Rng) -> Vec<u8> {
    let method = one_of(METHODS, "POST", rng);
    let path = one_of(PATHS, "/v1/events", rng);
    let mut body = rng.choice(BODIES).unwrap().as_bytes().to_vec();
    if rng.u8(..4) == 0 {
        spoil(&mut body, rng);
    }
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\n");
    for _ in 0..rng.usize(..4) {
        head += rng.choice(HEADERS).unwrap();
        head += "\r\n";
    }
    if rng.u8(..8) > 0 {
        head += &format!("content-length: {}\r\n", body.len());
    }
    let mut bytes = format!("{head}\r\n").into_bytes();
    bytes.extend(body);
    if rng.u8(..6) == 0 {
        spoil(&mut bytes, rng);
    }
    bytes
}

/// Every other time the one that matters most.
fn one_of(all: &[&'static str], most: &'static str, rng: &mut Rng) -> &'static str {
    if rng.bool() { most } else { rng.choice(all).unwrap() }
}

/// Changes, drops, doubles or cuts off bytes.
fn spoil(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..=rng.usize(..4) {
        let place = rng.usize(..=bytes.len());
        match rng.u8(..4) {
            0 => bytes.truncate(place),
            1 => bytes.insert(place, rng.u8(..)),
            2 => bytes.extend_from_within(place..),
            _ => drop(bytes.get_mut(place).map(|byte| *byte = rng.u8(..))),
        }
    }
}

/// All that is answered. The client's end of the connection is closed, so that nobody waits for what was cut off.
fn ask(bulkhead: &Bulkhead, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(bulkhead.address()).unwrap();
    // A server that has refused a request takes no more of it.
    let _ = stream.write_all(&[bytes, LAST.as_bytes()].concat());
    let _ = stream.shutdown(Shutdown::Write);
    let mut answers = Vec::new();
    let _ = stream.read_to_end(&mut answers);
    answers
}

/// Checks all answers of a connection, and says how many events they accept.
fn check(mut rest: &[u8]) -> u64 {
    let mut accepted = 0;
    while !rest.is_empty() {
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n").expect("a whole head") + 4;
        let head = str::from_utf8(&rest[..end]).unwrap().to_ascii_lowercase();
        rest = &rest[end..];
        let status: u16 = head[9..12].parse().unwrap();
        if status == 100 {
            continue;
        }
        let header = |name: &str| {
            head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default()
        };
        let length: usize = header("content-length").parse().expect("a length");
        // An answer to HEAD tells the length of a body that does not come.
        let without_body = rest.is_empty() || rest.starts_with(b"HTTP/1.");
        let (body, behind) = rest.split_at(if without_body { 0 } else { length });
        rest = behind;
        assert!(status < 500 || status == 503 && header("retry-after") == "1", "{head}");
        if length == 0 && BARE.contains(&status) {
            assert!(rest.is_empty() && header("connection") == "close", "{head}");
            continue;
        }
        assert_ne!(header("x-request-id"), "", "{head}");
        if status >= 400 {
            assert_eq!(header("content-type"), "application/problem+json", "{head}");
            if !body.is_empty() {
                check_problem(body, status);
            }
        } else if status == 202 && header("idempotency-replayed").is_empty() {
            accepted += serde_json::from_slice::<Value>(body).unwrap()["accepted"].as_u64().unwrap();
        }
    }
    accepted
}

fn check_problem(body: &[u8], status: u16) {
    let problem: Value = serde_json::from_slice(body).unwrap();
    let name = problem["type"].as_str().unwrap().strip_prefix("urn:bulkhead:problem:").unwrap();
    assert!(TYPES.contains(&name), "{problem}");
    assert_eq!(problem["status"], status, "{problem}");
    assert!(!problem["detail"].as_str().unwrap().is_empty(), "{problem}");
}

#[test]
fn whatever_is_sent_the_answer_is_one_of_the_contracts_and_only_what_was_answered_202_is_counted() {
    let bulkhead = Home::new("").start();
    let mut rng = Rng::with_seed(SEED);
    let mut accepted = 0;
    for number in 0..REQUESTS {
        let bytes = request(&mut rng);
        let answers = ask(&bulkhead, &bytes);
        let checked = std::panic::catch_unwind(|| check(&answers));
        let Ok(newly) = checked else {
            let [asked, answered] = [&bytes, &answers].map(|bytes| bytes.escape_ascii().to_string());
            panic!("request {number} of seed {SEED}: {asked}\nwas answered: {answered}");
        };
        accepted += newly;
    }
    assert!(accepted > 0);
    assert_eq!(bulkhead.settled()["accepted"], accepted);
    assert_eq!(bulkhead.log().all(|line| line.is("worker_died")).len(), 0);
    assert_eq!(bulkhead.client().get("/livez").unwrap().status, 200);
}
