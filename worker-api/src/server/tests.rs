//! The server over real sockets: what its end costs its clients.

mod agreement;
mod limits;
mod raw;

use super::{door::Door, places::Origin, *};
use axum::{Router, extract::State, routing::get};
use bulkhead_proto::wire::ids::Generation;
use std::{net, os::fd::OwnedFd};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    time::sleep,
};

const BUDGET: Duration = Duration::from_secs(20);

/// What a handler and its test tell each other.
#[derive(Default)]
struct Signals {
    begun: Notify,
    go_on: Notify,
}

async fn slow(State(signals): State<Arc<Signals>>) -> &'static str {
    signals.begun.notify_one();
    signals.go_on.notified().await;
    "slow"
}

fn start(socket: &net::TcpListener, signals: &Arc<Signals>) -> Server {
    let router = Router::new().route("/", get(async || "quick")).route("/slow", get(slow));
    let front = Front::new(router.with_state(Arc::clone(signals)), Generation(1), &Limits::default());
    let listener = Listener::new(OwnedFd::from(socket.try_clone().unwrap())).unwrap();
    Server::start(listener, front, Limits::default())
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

/// One answer, up to the end of its body, which is one of the two words above.
async fn answer(stream: &mut TcpStream) -> String {
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
async fn a_request_in_flight_is_answered_and_its_connection_closed() {
    let (socket, signals) = (socket(), Arc::default());
    let server = start(&socket, &signals);
    let mut client = connect(&socket).await;
    ask(&mut client, "/slow").await;
    signals.begun.notified().await;
    let (left, text) = tokio::join!(server.drain(BUDGET), async {
        signals.go_on.notify_one();
        answer(&mut client).await
    });
    assert_eq!(left, 0);
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("connection: close"), "{text}");
    assert_closed(client).await;
}

#[tokio::test]
async fn an_idle_connection_may_make_one_more_request_before_it_is_closed() {
    let (socket, signals) = (socket(), Arc::default());
    let server = start(&socket, &signals);
    let (mut asking, mut fresh, idle) =
        (connect(&socket).await, connect(&socket).await, connect(&socket).await);
    ask(&mut asking, "/").await;
    assert!(!answer(&mut asking).await.contains("connection: close"));
    let (left, ()) = tokio::join!(server.drain(BUDGET), async {
        for client in [&mut asking, &mut fresh] {
            ask(client, "/").await;
        }
        assert!(answer(&mut asking).await.contains("connection: close"));
    });
    assert_eq!(left, 0);
    for client in [asking, idle] {
        assert_closed(client).await;
    }
}

#[tokio::test]
async fn a_connection_made_after_the_end_waits_for_the_successor() {
    let (socket, signals) = (socket(), Arc::default());
    assert_eq!(start(&socket, &signals).drain(BUDGET).await, 0);
    let mut client = connect(&socket).await;
    ask(&mut client, "/").await;
    let successor = start(&socket, &signals);
    assert!(answer(&mut client).await.starts_with("HTTP/1.1 200"));
    drop(client);
    assert_eq!(successor.drain(BUDGET).await, 0);
}

#[tokio::test]
async fn the_end_waits_for_no_one_beyond_its_budget() {
    let (socket, signals) = (socket(), Arc::default());
    let server = start(&socket, &signals);
    let mut client = connect(&socket).await;
    ask(&mut client, "/slow").await;
    signals.begun.notified().await;
    assert_eq!(server.drain(Duration::from_millis(1)).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_comes_whole_ends_its_connection() {
    let (socket, signals) = (socket(), Arc::default());
    let _server = start(&socket, &signals);
    let mut client = connect(&socket).await;
    client.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    assert_closed(client).await;
}

#[tokio::test]
async fn a_unix_socket_is_served_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let front =
        Front::new(Router::new().route("/", get(async || "quick")), Generation(1), &Limits::default());
    let server = Server::start(Listener::new(OwnedFd::from(socket)).unwrap(), front, Limits::default());
    let mut client = tokio::net::UnixStream::connect(&path).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("quick"), "{text}");
    assert_eq!(server.drain(BUDGET).await, 0);
}

#[tokio::test]
async fn a_client_that_sends_too_much_still_learns_why() {
    let rig = crate::testing::Rig::new();
    let socket = socket();
    let front = Front::new(
        crate::routes::router(Router::new(), rig.bulkhead.clone()),
        Generation(1),
        &Limits::default(),
    );
    let server = Server::start(
        Listener::new(OwnedFd::from(socket.try_clone().unwrap())).unwrap(),
        front,
        Limits::default(),
    );
    let mut client = connect(&socket).await;
    let length = usize::try_from(crate::testing::MAX_BODY).unwrap() * 2;
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    client.write_all(head.as_bytes()).await.unwrap();
    client.write_all(&vec![b' '; length]).await.unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 413") && text.contains("body-too-large"), "{text}");
    assert_eq!(server.drain(BUDGET).await, 0);
}

/// Answers that nobody reads must not pile up in memory: the server stops reading from such a client.
#[tokio::test]
async fn a_client_that_never_reads_is_not_answered_into_memory() {
    /// More than the sockets' own buffers hold, of requests and of answers.
    const ENDLESS: usize = 64 << 20;
    /// A write that takes so long is stuck. Too short a time could only hide a fault, never show a false one.
    const STUCK: Duration = Duration::from_secs(1);
    let (socket, signals) = (socket(), Arc::default());
    let _server = start(&socket, &signals);
    let client = tokio::net::TcpSocket::new_v4().unwrap();
    client.set_recv_buffer_size(4096).unwrap();
    let mut client = client.connect(socket.local_addr().unwrap()).await.unwrap();
    let requests = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".repeat(512);
    let mut sent = 0;
    while timeout_at(Instant::now() + STUCK, client.write_all(&requests)).await.is_ok() {
        sent += requests.len();
        assert!(sent < ENDLESS, "{sent} bytes of requests were taken in, and no answer was read");
    }
}
