//! An API that listens on a Unix socket.

use bulkhead_tests::{Bulkhead, Fixture, process::Signal};
use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
};

/// Sends a request over a new connection. Returns the response.
fn request(bulkhead: &Bulkhead, head: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(bulkhead.fixture().path("api.sock")).unwrap();
    let length = body.len();
    let type_ = "content-type: application/json";
    write!(
        stream,
        "{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{type_}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

#[test]
fn a_unix_socket_survives_an_api_death_and_is_removed_at_the_stop() {
    let fixture = Fixture::new("");
    let path = fixture.path("api.sock");
    let bulkhead = fixture.listen_on(&format!("unix:{}", path.display())).start();
    let post = |bulkhead| request(bulkhead, "POST /v1/events", r#"{"series":"s","value":1}"#);
    assert!(post(&bulkhead).starts_with("HTTP/1.1 202"));

    let mut log = bulkhead.log().from_now();
    bulkhead.signal_worker(bulkhead.worker_pid("api"), Signal::SIGKILL);
    // The connection may be opened before a process accepts it: it waits for the next generation.
    assert!(post(&bulkhead).starts_with("HTTP/1.1 202"));
    log.wait_for_worker("worker_activated", "api");
    let response = request(&bulkhead, "GET /v1/stats", "");
    assert!(response.contains(r#""accepted":2"#), "{response}");

    assert!(bulkhead.stop(Signal::SIGTERM).status.success());
    assert!(!path.exists());
}

#[test]
fn a_removed_socket_file_is_created_again_and_the_api_listens_there() {
    let fixture = Fixture::new("");
    let path = fixture.path("api.sock");
    let bulkhead = fixture.listen_on(&format!("unix:{}", path.display())).start();
    let post = |bulkhead| request(bulkhead, "POST /v1/events", r#"{"series":"s","value":1}"#);
    assert!(post(&bulkhead).starts_with("HTTP/1.1 202"));
    let mut log = bulkhead.log().from_now();
    std::fs::remove_file(&path).unwrap();
    log.wait_for("the warning", |line| line.raw().contains("created again"));
    // The connection waits for the new generation.
    assert!(post(&bulkhead).starts_with("HTTP/1.1 202"));
    log.wait_for_worker("worker_activated", "api");
    let response = request(&bulkhead, "GET /v1/stats", "");
    assert!(response.contains(r#""accepted":2"#), "{response}");
    assert!(bulkhead.stop(Signal::SIGTERM).status.success());
    assert!(!path.exists());
}
