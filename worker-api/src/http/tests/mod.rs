//! The server over real sockets: what draining means for its clients.

mod access;
mod framing_agreement;
mod limits;
mod malformed_requests;

use super::{
    limits::Limits,
    listener::Listener,
    server::Server,
    service::{AccessRules, ApiService},
};
use axum::{Router, extract::State, routing::get};
use bulkhead_proto::wire::ids::Generation;
use std::{net, os::fd::OwnedFd, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Notify, watch},
    time::{Instant, sleep, timeout_at},
};

const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// Synchronizes a handler with its test.
#[derive(Default)]
struct HandlerSync {
    entered: Notify,
    release: Notify,
}

async fn slow(State(sync): State<Arc<HandlerSync>>) -> &'static str {
    sync.entered.notify_one();
    sync.release.notified().await;
    "slow"
}

fn start(socket: &net::TcpListener, sync: &Arc<HandlerSync>) -> Server {
    let router = Router::new().route("/", get(async || "quick")).route("/slow", get(slow));
    let service = ApiService::new(
        router.with_state(Arc::clone(sync)),
        Generation(1),
        &Limits::default(),
        AccessRules::default(),
        Arc::default(),
    );
    let listener = Listener::new(OwnedFd::from(socket.try_clone().unwrap())).unwrap();
    Server::start(listener, service, Limits::default())
}

fn socket() -> net::TcpListener {
    net::TcpListener::bind("127.0.0.1:0").unwrap()
}

async fn connect(socket: &net::TcpListener) -> TcpStream {
    TcpStream::connect(socket.local_addr().unwrap()).await.unwrap()
}

async fn ask(stream: &mut TcpStream, path: &str) {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
}

/// One response, up to the end of its body, which is "quick" or "slow".
async fn read_response(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    while !(text.ends_with("quick") || text.ends_with("slow")) {
        let byte = stream.read_u8().await.unwrap_or_else(|error| panic!("{error} after {text:?}"));
        text.push(byte.into());
    }
    text
}

async fn assert_closed(mut stream: TcpStream) {
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_drain_answers_the_request_in_flight_and_closes_its_connection() {
    let (socket, sync) = (socket(), Arc::default());
    let server = start(&socket, &sync);
    let mut client = connect(&socket).await;
    ask(&mut client, "/slow").await;
    sync.entered.notified().await;
    let (left, text) = tokio::join!(server.drain(DRAIN_TIMEOUT), async {
        sync.release.notify_one();
        read_response(&mut client).await
    });
    assert_eq!(left, 0);
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("connection: close"), "{text}");
    assert_closed(client).await;
}

#[tokio::test]
async fn a_drain_answers_one_more_request_on_an_idle_connection_before_it_is_closed() {
    let (socket, sync) = (socket(), Arc::default());
    let server = start(&socket, &sync);
    let (mut asking, mut fresh, idle) =
        (connect(&socket).await, connect(&socket).await, connect(&socket).await);
    ask(&mut asking, "/").await;
    assert!(!read_response(&mut asking).await.contains("connection: close"));
    let (left, ()) = tokio::join!(server.drain(DRAIN_TIMEOUT), async {
        for client in [&mut asking, &mut fresh] {
            ask(client, "/").await;
        }
        assert!(read_response(&mut asking).await.contains("connection: close"));
    });
    assert_eq!(left, 0);
    for client in [asking, idle] {
        assert_closed(client).await;
    }
}

#[tokio::test]
async fn a_connection_made_after_a_drain_waits_for_the_next_generation() {
    let (socket, sync) = (socket(), Arc::default());
    assert_eq!(start(&socket, &sync).drain(DRAIN_TIMEOUT).await, 0);
    let mut client = connect(&socket).await;
    ask(&mut client, "/").await;
    let successor = start(&socket, &sync);
    assert!(read_response(&mut client).await.starts_with("HTTP/1.1 200"));
    drop(client);
    assert_eq!(successor.drain(DRAIN_TIMEOUT).await, 0);
}

#[tokio::test]
async fn a_drain_ends_when_its_timeout_expires() {
    let (socket, sync) = (socket(), Arc::default());
    let server = start(&socket, &sync);
    let mut client = connect(&socket).await;
    ask(&mut client, "/slow").await;
    sync.entered.notified().await;
    assert_eq!(server.drain(Duration::from_millis(1)).await, 1);
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_head_closes_the_connection_after_the_head_timeout() {
    let (socket, sync) = (socket(), Arc::default());
    let _server = start(&socket, &sync);
    let mut client = connect(&socket).await;
    client.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    assert_closed(client).await;
}

#[tokio::test]
async fn a_unix_socket_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let service = ApiService::new(
        Router::new().route("/", get(async || "quick")),
        Generation(1),
        &Limits::default(),
        AccessRules::default(),
        Arc::default(),
    );
    let server = Server::start(Listener::new(OwnedFd::from(socket)).unwrap(), service, Limits::default());
    let mut client = tokio::net::UnixStream::connect(&path).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("quick"), "{text}");
    assert_eq!(server.drain(DRAIN_TIMEOUT).await, 0);
}

#[tokio::test]
async fn a_client_that_sends_a_body_over_the_limit_receives_the_413_response() {
    let api = crate::tests::fixture::ApiFixture::new();
    let socket = socket();
    let service = ApiService::new(
        crate::routes::router(Router::new(), api.handle.clone()),
        Generation(1),
        &Limits::default(),
        AccessRules::default(),
        Arc::default(),
    );
    let server = Server::start(
        Listener::new(OwnedFd::from(socket.try_clone().unwrap())).unwrap(),
        service,
        Limits::default(),
    );
    let mut client = connect(&socket).await;
    let length = usize::try_from(crate::tests::fixture::MAX_BODY).unwrap() * 2;
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&vec![b' '; length]).await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 413") && text.contains("body-too-large"), "{text}");
    assert_eq!(server.drain(DRAIN_TIMEOUT).await, 0);
}

/// Responses that a client does not read must not fill memory: the server stops reading from such a client.
#[tokio::test]
async fn responses_to_a_client_that_never_reads_do_not_fill_memory() {
    /// More than the socket buffers hold, of requests and of responses.
    const ENDLESS: usize = 64 << 20;
    /// A write that takes this long is blocked. A shorter time could hide a defect, but never report a false one.
    const STUCK: Duration = Duration::from_secs(1);
    let (socket, sync) = (socket(), Arc::default());
    let _server = start(&socket, &sync);
    let client = tokio::net::TcpSocket::new_v4().unwrap();
    client.set_recv_buffer_size(4096).unwrap();
    let mut client = client.connect(socket.local_addr().unwrap()).await.unwrap();
    let requests = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(512);
    let mut sent = 0;
    while timeout_at(Instant::now() + STUCK, client.write_all(&requests)).await.is_ok() {
        sent += requests.len();
        assert!(sent < ENDLESS, "the server read {sent} bytes of requests although no response was read");
    }
}
