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

/// A service that listens on the socket, with one event.
fn start() -> Bulkhead {
    let fixture = Fixture::new("");
    let listen = format!("unix:{}", fixture.path("api.sock").display());
    let bulkhead = fixture.listen_on(&listen).start();
    post(&bulkhead);
    bulkhead
}

/// An event is accepted. The connection may be opened before a process accepts it: it waits for the next generation.
fn post(bulkhead: &Bulkhead) {
    let response = request(bulkhead, "POST /v1/events", r#"{"series":"s","value":1}"#);
    assert!(response.starts_with("HTTP/1.1 202"), "{response}");
}

/// The next generation of the API has both events, and the stop removes the file of the socket.
fn assert_both_accepted(bulkhead: Bulkhead) {
    let response = request(&bulkhead, "GET /v1/stats", "");
    assert!(response.contains(r#""accepted":2"#), "{response}");
    let path = bulkhead.fixture().path("api.sock");
    assert!(bulkhead.stop(Signal::SIGTERM).status.success());
    assert!(!path.exists());
}

#[test]
fn a_unix_socket_survives_an_api_death_and_is_removed_at_the_stop() {
    let bulkhead = start();
    let mut log = bulkhead.log().from_now();
    bulkhead.signal_worker(bulkhead.worker_pid("api"), Signal::SIGKILL);
    post(&bulkhead);
    log.wait_for_worker("worker_activated", "api");
    assert_both_accepted(bulkhead);
}

#[test]
fn a_removed_socket_file_is_created_again_and_the_api_listens_there() {
    let bulkhead = start();
    let mut log = bulkhead.log().from_now();
    std::fs::remove_file(bulkhead.fixture().path("api.sock")).unwrap();
    log.wait_for("the warning", |line| line.raw().contains("created again"));
    post(&bulkhead);
    log.wait_for_worker("worker_activated", "api");
    assert_both_accepted(bulkhead);
}
