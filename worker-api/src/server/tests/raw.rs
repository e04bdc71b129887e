//! Bytes that no decent client sends: each is refused or understood in one way alone, and nobody hangs.

use super::*;
use crate::testing::Rig;

/// What follows every case, and is answered unless the case ended the connection.
const NEXT: &str = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

const EVENT: &str = r#"{"series":"s","value":1}"#;

/// A post of [`EVENT`] with these headers and this body.
fn post(headers: &str, body: &str) -> String {
    format!("POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{headers}\r\n{body}")
}

struct Peer {
    rig: Rig,
    socket: net::TcpListener,
    _server: Server,
}

impl Peer {
    fn new() -> Self {
        let (rig, socket) = (Rig::new(), socket());
        let router = crate::routes::router(Router::new(), rig.bulkhead.clone());
        let front = Front::new(router, Generation(1), &Limits::default());
        let listener = Listener::new(OwnedFd::from(socket.try_clone().unwrap())).unwrap();
        Self { rig, socket, _server: Server::start(listener, front, Limits::default()) }
    }

    /// All that is answered to these bytes.
    async fn ask(&self, bytes: &[u8]) -> String {
        let (mut read, mut write) = connect(&self.socket).await.into_split();
        let bytes = bytes.to_vec();
        // A server that has heard enough does not take the rest.
        let writing = tokio::spawn(async move {
            let _ = write.write_all(&bytes).await;
            write
        });
        let mut answer = Vec::new();
        read.read_to_end(&mut answer).await.unwrap();
        writing.await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// The statuses of the answers.
    async fn statuses(&self, bytes: &[u8]) -> Vec<u16> {
        let text = self.ask(bytes).await;
        text.split("HTTP/1.").skip(1).map(|answer| answer[2..5].parse().unwrap()).collect()
    }
}

#[tokio::test]
async fn every_malformed_head_is_refused_and_ends_the_connection() {
    let peer = Peer::new();
    for head in [
        "GARBAGE\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n",
        "GET /livez HTTP/9.9\r\nhost: x\r\n\r\n",
        "GET  /livez HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /li\0vez HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /livez HTTP/1.1\r\nho\0st: x\r\n\r\n",
        "GET /livez HTTP/1.1\r\nhost: x\0\r\n\r\n",
        "GET /livez HTTP/1.1\r\nhost : x\r\n\r\n",
        "GET /livez HTTP/1.1\r\nhost: x\r\n folded\r\n\r\n",
        "GET /livez HTTP/1.1\r\nhost: x\ry: z\r\n\r\n",
        "GET /livez HTTP/1.1\r\nno colon\r\n\r\n",
        "GET /livez HTTP/1.1\r\n: no name\r\n\r\n",
        &post("content-length: -1\r\n", EVENT),
        &post("content-length: 24, 24\r\n", EVENT),
        &post("content-length: 99999999999999999999\r\n", EVENT),
        &post("content-length: 24\r\ncontent-length: 25\r\n", EVENT),
        &post("transfer-encoding: gzip\r\n", EVENT),
        &post("transfer-encoding: chunked, identity\r\n", EVENT),
        &post("transfer-encoding: chunked\r\n", "0\r\n\r\n").replace("HTTP/1.1", "HTTP/1.0"),
    ] {
        assert_eq!(peer.statuses(format!("{head}{NEXT}").as_bytes()).await, [400], "{head:?}");
        // And when a good request stands before it.
        let behind = format!("{}{head}{NEXT}", NEXT.replace("connection: close\r\n", ""));
        assert_eq!(peer.statuses(behind.as_bytes()).await, [200, 400], "behind another: {head:?}");
    }
    assert_eq!(peer.statuses(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await, [0; 0], "HTTP/2 has other answers");
    assert_eq!(peer.rig.pending().0.len(), 0);
}

#[tokio::test]
async fn a_request_with_both_lengths_is_refused_and_what_it_might_smuggle_is_not_answered() {
    let peer = Peer::new();
    let chunk = format!("{:x}\r\n{EVENT}\r\n0\r\n\r\n", EVENT.len());
    for headers in [
        "content-length: 24\r\ntransfer-encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 24\r\n",
        "transfer-encoding: chunked\r\nx: y\r\ncontent-length: 0\r\n",
    ] {
        let both = post(headers, &format!("{chunk}{NEXT}"));
        assert_eq!(peer.statuses(both.as_bytes()).await, [400], "{headers:?}");
        let good = post("content-length: 24\r\n", EVENT);
        assert_eq!(peer.statuses(format!("{good}{both}").as_bytes()).await, [202, 400], "{headers:?}");
    }
    assert_eq!(peer.rig.pending().0.len(), 3, "the good ones");
}

#[tokio::test]
async fn a_head_that_is_found_wrong_when_its_last_piece_comes_is_answered_at_once() {
    let peer = Peer::new();
    let mut client = connect(&peer.socket).await;
    let whole = NEXT.replace("connection: close\r\n", "");
    let begun = post("content-length: 2\r\n", "");
    client.write_all(format!("{whole}{}", begun.trim_end()).as_bytes()).await.unwrap();
    // Once the first is answered, the second is looked at.
    let mut status = [0; 12];
    client.read_exact(&mut status).await.unwrap();
    client.write_all(b"\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("HTTP/1.1 400"), "{text}");
}

#[tokio::test]
async fn trailers_with_bare_line_feeds_are_refused_and_hide_no_request() {
    let peer = Peer::new();
    for trailers in ["\n", "a: b\n\n", "a: b\n\r\n"] {
        let chunked =
            post("transfer-encoding: chunked\r\n", &format!("18\r\n{EVENT}\r\n0\r\n{trailers}{NEXT}"));
        assert_eq!(peer.statuses(chunked.as_bytes()).await, [400], "{trailers:?}");
    }
    assert_eq!(peer.rig.pending().0.len(), 0);
}

#[tokio::test]
async fn a_body_with_bad_chunks_is_refused_and_ends_the_connection() {
    let peer = Peer::new();
    for body in
        ["x\r\n", "\r\n", "18\n", "-1\r\n", "fffffffffffffffff\r\n", "2\r\n{}x\r\n0\r\n\r\n", "1 1\r\n{\r\n"]
    {
        let bytes = format!("{}{NEXT}", post("transfer-encoding: chunked\r\n", body));
        assert_eq!(peer.statuses(bytes.as_bytes()).await, [400], "{body:?}");
    }
}

#[tokio::test]
async fn what_is_unusual_but_clear_is_answered_and_the_next_request_too() {
    let peer = Peer::new();
    let chunked = format!("18;x=\"y\"\r\n{EVENT}\r\n000\r\ntrailer: t\r\n\r\n");
    for (request, status) in [
        (post("content-length: 24\r\ncontent-length: 24\r\n", EVENT), 202),
        (post("transfer-encoding: Chunked\r\n", &chunked), 202),
        (post("content-length: 24\r\nexpect: 100-continue\r\n", EVENT), 202),
        (post("content-length: 24\r\nexpect: miracles\r\n", EVENT), 202),
        (post("content-length: 0\r\n", ""), 400),
        (post("", ""), 400),
        ("\r\n\r\nGET /livez HTTP/1.1\r\nhost: x\r\n\r\n".into(), 200),
        ("GET /livez HTTP/1.1\nhost: x\n\n".into(), 200),
        ("GET /livez HTTP/1.1\r\n\r\n".into(), 200),
        ("GET http://else/livez HTTP/1.1\r\nhost: x\r\n\r\n".into(), 200),
        ("GET /livez HTTP/1.0\r\nconnection: keep-alive\r\n\r\n".into(), 200),
        ("GET /livez?a=%ff&%00 HTTP/1.1\r\nhost: \u{e9}\r\n\r\n".into(), 200),
        ("GET /livez HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n".into(), 200),
        ("GET //livez HTTP/1.1\r\nhost: x\r\n\r\n".into(), 404),
        ("OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n".into(), 404),
        ("CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n".into(), 404),
        ("BREW /livez HTTP/1.1\r\nhost: x\r\n\r\n".into(), 405),
        (format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(9000)), 414),
    ] {
        let mut statuses = peer.statuses(format!("{request}{NEXT}").as_bytes()).await;
        statuses.retain(|&status| status != 100);
        assert_eq!(statuses, [status, 200], "{:?}", request.get(..200).unwrap_or(&request));
    }
}

#[tokio::test]
async fn a_head_without_end_is_refused_with_the_status_that_says_why() {
    let peer = Peer::new();
    let headers = |count, value: &str| {
        format!("GET /livez HTTP/1.1\r\n{}\r\n", format!("a: {value}\r\n").repeat(count))
    };
    for (head, status) in [
        (headers(101, ""), 431),
        (headers(10_000, ""), 431),
        (headers(10_000, "some text to make it long"), 431),
        (headers(50, &"x".repeat(4000)), 431),
        (format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(70_000)), 414),
        (format!("GET /{}", "x".repeat(1 << 20)), 431),
    ] {
        assert_eq!(peer.statuses(head.as_bytes()).await, [status]);
    }
}

#[tokio::test]
async fn who_hangs_up_in_the_middle_costs_nobody_anything() {
    let peer = Peer::new();
    let request = post("content-length: 24\r\n", EVENT);
    for length in [0, 1, 20, request.len() - EVENT.len(), request.len() - 1] {
        let mut client = connect(&peer.socket).await;
        client.write_all(&request.as_bytes()[..length]).await.unwrap();
        client.shutdown().await.unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 400"), "{length}: {text}");
    }
    assert_eq!(peer.statuses(format!("{request}{NEXT}").as_bytes()).await, [202, 200]);
    assert_eq!(peer.rig.pending().0.len(), 1);
}

#[tokio::test]
async fn crawling_uploads_beyond_all_places_do_not_keep_a_reader_out() {
    let (rig, socket) = (Rig::new(), socket());
    let limits = Limits { connections: 16, ..Limits::default() };
    let front =
        Front::new(crate::routes::router(Router::new(), rig.bulkhead.clone()), Generation(1), &limits);
    let listener = Listener::new(OwnedFd::from(socket.try_clone().unwrap())).unwrap();
    let server = Server::start(listener, front, limits);
    let mut crawlers = Vec::new();
    for _ in 0..64 {
        let mut crawler = connect(&socket).await;
        // One that has made room is closed, maybe by now.
        let _ = crawler.write_all(post("content-length: 1000000\r\n", "[").as_bytes()).await;
        crawlers.push(crawler);
    }
    let mut reader = connect(&socket).await;
    reader.write_all(NEXT.as_bytes()).await.unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    drop((crawlers, server));
}
