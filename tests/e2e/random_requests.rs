//! Random requests, from valid to noise: each response must be valid, and only events answered 202 are
//! counted. The message of a failure has the seed.

use bulkhead_tests::{Bulkhead, Fixture};
use fastrand::Rng;
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
};

const REQUESTS: usize = 1500;
const SEED: u64 = 20_261_122;

/// Sent after each request, so that the server closes the connection.
const CLOSING_REQUEST: &str = "GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// The types of an error.
const PROBLEM_TYPES: &[&str] = &[
    "bad-event",
    "bad-request",
    "broken-body",
    "token-missing",
    "token-invalid",
    "cross-origin",
    "not-found",
    "method-not-allowed",
    "timeout",
    "uri-too-long",
    "too-many-connections",
    "conflict",
    "body-too-large",
    "batch-too-large",
    "unsupported-media-type",
    "host-not-allowed",
    "idempotency-key-reused",
    "unsupported-transfer-coding",
    "full",
    "unavailable",
];

/// The statuses of responses without a body: the server refuses these before it has parsed a request.
const STATUSES_WITHOUT_BODY: [u16; 3] = [400, 414, 431];

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
    "content-encoding: zstd",
    "content-encoding: br",
    "origin: http://evil.example",
    "sec-fetch-site: cross-site",
    "host: evil.example",
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
    "transfer-encoding: gzip, chunked",
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
    r#"[{"series":"s","data":{"k":null}},{"series":"s","value":null,"data":0}]"#,
    "[[[[[[[[",
];

/// A random request, valid or not.
fn request(rng: &mut Rng) -> Vec<u8> {
    let method = choose(METHODS, "POST", rng);
    let path = choose(PATHS, "/v1/events", rng);
    let mut body = rng.choice(BODIES).unwrap().as_bytes().to_vec();
    if rng.u8(..4) == 0 {
        mutate(&mut body, rng);
    }
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n");
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
        mutate(&mut bytes, rng);
    }
    bytes
}

/// `preferred` in half of the cases, otherwise a random choice.
fn choose(all: &[&'static str], preferred: &'static str, rng: &mut Rng) -> &'static str {
    if rng.bool() { preferred } else { rng.choice(all).unwrap() }
}

/// Changes, inserts, duplicates or cuts off bytes.
fn mutate(bytes: &mut Vec<u8>, rng: &mut Rng) {
    for _ in 0..=rng.usize(..4) {
        let position = rng.usize(..=bytes.len());
        match rng.u8(..4) {
            0 => bytes.truncate(position),
            1 => bytes.insert(position, rng.u8(..)),
            2 => bytes.extend_from_within(position..),
            _ => drop(bytes.get_mut(position).map(|byte| *byte = rng.u8(..))),
        }
    }
}

/// Sends the bytes and returns all responses. Closes the sending side of the connection, so that the server
/// does not wait for a body that was cut off.
fn exchange(bulkhead: &Bulkhead, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(bulkhead.address()).unwrap();
    // A server that has refused a request reads no more of it.
    let _ = stream.write_all(&[bytes, CLOSING_REQUEST.as_bytes()].concat());
    let _ = stream.shutdown(Shutdown::Write);
    let mut responses = Vec::new();
    let _ = stream.read_to_end(&mut responses);
    responses
}

/// Checks all responses of a connection. Returns the number of events that they accept.
fn check(mut rest: &[u8]) -> u64 {
    let mut accepted = 0;
    while !rest.is_empty() {
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n").expect("a complete head") + 4;
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
        // The response to HEAD has the length of a body that is not sent.
        let without_body = rest.is_empty() || rest.starts_with(b"HTTP/1.");
        let (body, next) = rest.split_at(if without_body { 0 } else { length });
        rest = next;
        assert!(status < 500 || status == 501 || status == 503 && header("retry-after") == "1", "{head}");
        if length == 0 && STATUSES_WITHOUT_BODY.contains(&status) {
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
    assert!(PROBLEM_TYPES.contains(&name), "{problem}");
    assert_eq!(problem["status"], status, "{problem}");
    assert!(!problem["detail"].as_str().unwrap().is_empty(), "{problem}");
}

#[test]
fn every_response_to_random_requests_is_valid_and_only_events_answered_202_are_counted() {
    let bulkhead = Fixture::new("").start();
    let mut rng = Rng::with_seed(SEED);
    let mut accepted = 0;
    for number in 0..REQUESTS {
        let bytes = request(&mut rng);
        let responses = exchange(&bulkhead, &bytes);
        let checked = std::panic::catch_unwind(|| check(&responses));
        let Ok(newly) = checked else {
            let [sent, received] = [&bytes, &responses].map(|bytes| bytes.escape_ascii().to_string());
            panic!("request {number} of seed {SEED}: {sent}\nresponses: {received}");
        };
        accepted += newly;
    }
    assert!(accepted > 0);
    assert_eq!(bulkhead.wait_until_committed()["accepted"], accepted);
    assert_eq!(bulkhead.log().matching(|line| line.is("worker_died")).len(), 0);
    assert_eq!(bulkhead.client().get("/livez").unwrap().status, 200);
}
