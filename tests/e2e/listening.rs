//! Where the API listens.

use bulkhead_tests::{Bulkhead, Home, process::Signal};
use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
};

/// The answer to a request over a connection of its own.
fn ask(bulkhead: &Bulkhead, head: &str, body: &str) -> String {
    let mut stream = UnixStream::connect(bulkhead.home().path("api.sock")).unwrap();
    let length = body.len();
    let type_ = "content-type: application/json";
    write!(
        stream,
        "{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{type_}\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn an_api_at_a_socket_of_the_file_system_survives_its_death_and_takes_the_file_along_at_the_end() {
    let home = Home::new("");
    let path = home.path("api.sock");
    let bulkhead = home.listen(&format!("unix:{}", path.display())).start();
    let post = |bulkhead| ask(bulkhead, "POST /v1/events", r#"{"series":"s","value":1}"#);
    assert!(post(&bulkhead).starts_with("HTTP/1.1 202"));

    let mut story = bulkhead.log().from_now();
    bulkhead.signal_worker(bulkhead.pid_of("api"), Signal::SIGKILL);
    // Connected before anybody is there to accept: it waits for the successor.
    assert!(post(&bulkhead).starts_with("HTTP/1.1 202"));
    story.wait_for_worker("worker_activated", "api");
    let answer = ask(&bulkhead, "GET /v1/stats", "");
    assert!(answer.contains(r#""accepted":2"#), "{answer}");

    assert!(bulkhead.stop(Signal::SIGTERM).status.success());
    assert!(!path.exists());
}
