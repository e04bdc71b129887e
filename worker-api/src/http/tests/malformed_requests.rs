//! Malformed and unusual requests: each is refused or has exactly one interpretation, and no client hangs.

use super::*;
use crate::tests::fixture::ApiFixture;

/// Follows every case. It is answered unless the case ended the connection.
const NEXT: &str = "GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

const EVENT: &str = r#"{"series":"s","value":1}"#;

/// A POST of [`EVENT`] with these headers and this body.
fn post(headers: &str, body: &str) -> String {
    format!("POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{headers}\r\n{body}")
}

struct TestServer {
    api: ApiFixture,
    socket: net::TcpListener,
    _server: Server,
}

impl TestServer {
    fn new() -> Self {
        let (api, socket) = (ApiFixture::new(), socket());
        let router = crate::routes::router(Router::new(), api.handle.clone());
        let service = ApiService::new(
            router,
            Generation(1),
            &Limits::default(),
            AccessRules::default(),
            Arc::default(),
        );
        let listener = Listener::new(OwnedFd::from(socket.try_clone().unwrap())).unwrap();
        Self { api, socket, _server: Server::start(listener, service, Limits::default()) }
    }

    /// All responses to these bytes.
    async fn ask(&self, bytes: &[u8]) -> String {
        let (mut read, mut write) = connect(&self.socket).await.into_split();
        let bytes = bytes.to_vec();
        // The server may close before it has read all.
        let writing = tokio::spawn(async move {
            let _ = write.write_all(&bytes).await;
            write
        });
        let mut response = Vec::new();
        read.read_to_end(&mut response).await.unwrap();
        writing.await.unwrap();
        String::from_utf8(response).unwrap()
    }

    /// The status codes of the responses.
    async fn statuses(&self, bytes: &[u8]) -> Vec<u16> {
        let text = self.ask(bytes).await;
        text.split("HTTP/1.").skip(1).map(|response| response[2..5].parse().unwrap()).collect()
    }
}

#[tokio::test]
async fn every_malformed_head_is_refused_and_closes_the_connection() {
    let server = TestServer::new();
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
        assert_eq!(server.statuses(format!("{head}{NEXT}").as_bytes()).await, [400], "{head:?}");
        // The same after a valid request.
        let pipelined = format!("{}{head}{NEXT}", NEXT.replace("connection: close\r\n", ""));
        assert_eq!(server.statuses(pipelined.as_bytes()).await, [200, 400], "after another: {head:?}");
    }
    assert_eq!(
        server.statuses(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await,
        [0; 0],
        "an HTTP/2 preface gets no HTTP/1 response"
    );
    assert_eq!(server.api.pending().0.len(), 0);
}

#[tokio::test]
async fn a_request_with_both_lengths_is_refused_and_a_smuggled_request_is_not_answered() {
    let server = TestServer::new();
    let chunk = format!("{:x}\r\n{EVENT}\r\n0\r\n\r\n", EVENT.len());
    for headers in [
        "content-length: 24\r\ntransfer-encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 24\r\n",
        "transfer-encoding: chunked\r\nx: y\r\ncontent-length: 0\r\n",
    ] {
        let both = post(headers, &format!("{chunk}{NEXT}"));
        assert_eq!(server.statuses(both.as_bytes()).await, [400], "{headers:?}");
        let good = post("content-length: 24\r\n", EVENT);
        assert_eq!(server.statuses(format!("{good}{both}").as_bytes()).await, [202, 400], "{headers:?}");
    }
    assert_eq!(server.api.pending().0.len(), 3, "only the valid requests");
}

#[tokio::test]
async fn a_head_that_its_last_piece_makes_invalid_is_answered_at_once() {
    let server = TestServer::new();
    let mut client = connect(&server.socket).await;
    let whole = NEXT.replace("connection: close\r\n", "");
    let begun = post("content-length: 2\r\n", "");
    client.write_all(format!("{whole}{}", begun.trim_end()).as_bytes()).await.unwrap();
    // When the first response arrives, the server has begun to read the second head.
    let mut status = [0; 12];
    client.read_exact(&mut status).await.unwrap();
    client.write_all(b"\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("HTTP/1.1 400"), "{text}");
}

#[tokio::test]
async fn trailers_with_bare_line_feeds_are_refused_and_cannot_hide_a_request() {
    let server = TestServer::new();
    for trailers in ["\n", "a: b\n\n", "a: b\n\r\n"] {
        let chunked =
            post("transfer-encoding: chunked\r\n", &format!("18\r\n{EVENT}\r\n0\r\n{trailers}{NEXT}"));
        assert_eq!(server.statuses(chunked.as_bytes()).await, [400], "{trailers:?}");
    }
    assert_eq!(server.api.pending().0.len(), 0);
}

#[tokio::test]
async fn a_body_with_invalid_chunks_is_refused_and_closes_the_connection() {
    let server = TestServer::new();
    for body in
        ["x\r\n", "\r\n", "18\n", "-1\r\n", "fffffffffffffffff\r\n", "2\r\n{}x\r\n0\r\n\r\n", "1 1\r\n{\r\n"]
    {
        let bytes = format!("{}{NEXT}", post("transfer-encoding: chunked\r\n", body));
        assert_eq!(server.statuses(bytes.as_bytes()).await, [400], "{body:?}");
    }
}

#[tokio::test]
async fn an_unusual_but_valid_request_is_answered_and_so_is_the_next() {
    let server = TestServer::new();
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
        ("GET /livez HTTP/1.1\r\n\r\n".into(), 400),
        ("GET /livez HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n".into(), 400),
        ("GET /livez HTTP/1.1\r\nhost:\r\n\r\n".into(), 200),
        (post("transfer-encoding: gzip, chunked\r\n", &chunked), 501),
        (post("transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n", &chunked), 501),
        ("GET http://else/livez HTTP/1.1\r\nhost: x\r\n\r\n".into(), 200),
        ("GET /livez HTTP/1.0\r\nconnection: keep-alive\r\n\r\n".into(), 200),
        ("GET /livez?a=%ff&%00 HTTP/1.1\r\nhost: \u{e9}\r\n\r\n".into(), 400),
        ("GET /livez HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n".into(), 200),
        ("GET /livez?a=%ff&%00 HTTP/1.1\r\nhost: x\r\n\r\n".into(), 200),
        ("GET //livez HTTP/1.1\r\nhost: x\r\n\r\n".into(), 404),
        ("OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n".into(), 404),
        ("CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n".into(), 404),
        ("BREW /livez HTTP/1.1\r\nhost: x\r\n\r\n".into(), 405),
        (format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(9000)), 414),
    ] {
        let mut statuses = server.statuses(format!("{request}{NEXT}").as_bytes()).await;
        statuses.retain(|&status| status != 100);
        assert_eq!(statuses, [status, 200], "{:?}", request.get(..200).unwrap_or(&request));
    }
}

#[tokio::test]
async fn an_oversized_head_is_refused_with_the_matching_status() {
    let server = TestServer::new();
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
        assert_eq!(server.statuses(head.as_bytes()).await, [status]);
    }
}

#[tokio::test]
async fn a_client_that_disconnects_within_a_request_affects_no_other() {
    let server = TestServer::new();
    let request = post("content-length: 24\r\n", EVENT);
    for length in [0, 1, 20, request.len() - EVENT.len(), request.len() - 1] {
        let mut client = connect(&server.socket).await;
        client.write_all(&request.as_bytes()[..length]).await.unwrap();
        client.shutdown().await.unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 400"), "{length}: {text}");
    }
    assert_eq!(server.statuses(format!("{request}{NEXT}").as_bytes()).await, [202, 200]);
    assert_eq!(server.api.pending().0.len(), 1);
}

#[tokio::test]
async fn slow_uploads_beyond_the_connection_limit_do_not_keep_a_reader_out() {
    let (api, socket) = (ApiFixture::new(), socket());
    let limits = Limits { connections: 16, ..Limits::default() };
    let service = ApiService::new(
        crate::routes::router(Router::new(), api.handle.clone()),
        Generation(1),
        &limits,
        AccessRules::default(),
        Arc::default(),
    );
    let listener = Listener::new(OwnedFd::from(socket.try_clone().unwrap())).unwrap();
    let server = Server::start(listener, service, limits);
    let mut slow_clients = Vec::new();
    for _ in 0..64 {
        let mut slow_client = connect(&socket).await;
        // A client that was evicted may already be closed.
        let _ = slow_client.write_all(post("content-length: 1000000\r\n", "[").as_bytes()).await;
        slow_clients.push(slow_client);
    }
    let mut reader = connect(&socket).await;
    reader.write_all(NEXT.as_bytes()).await.unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    drop((slow_clients, server));
}
