//! Limits on slow, stalled and numerous clients, in virtual time and over in-memory streams.

mod closing;

use super::*;
use crate::{
    http::{
        acceptor::{Acceptor, ServerPhase},
        conn_limits::{AddressGroup, ConnPermit, TooManyFromAddress},
        conn_state::ConnPhase,
        limits::{BODY_PROGRESS, MAX_HEAD},
    },
    tests::fixture::ApiFixture,
};
use axum::{extract::Request, http::StatusCode, response::IntoResponse};
use bulkhead_proto::{
    wire::control::FromWorker,
    worker::pipe::{self, Received, Receiver, Sender},
};
use hyper_util::rt::TokioIo;
use tokio::io::{DuplexStream, duplex};

/// The size of the in-memory stream's buffer, in bytes.
const BUFFER: usize = 1 << 10;

/// A head that announces a body.
const UPLOAD: &str = "POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n";

const LIMITS: Limits = Limits {
    connections: 3,
    per_address: 2,
    idle: Duration::from_secs(60),
    head: Duration::from_secs(10),
    stall: Duration::from_secs(10),
    request: Duration::from_secs(30),
};

/// An acceptor that does not run: the test passes connections to it.
struct AcceptorFixture {
    acceptor: Acceptor,
    api: ApiFixture,
    phase: watch::Sender<ServerPhase>,
}

impl AcceptorFixture {
    fn new() -> Self {
        let api = ApiFixture::new();
        let user_routes = Router::new()
            .route("/large", get(async || vec![b'x'; 1 << 20]))
            .route("/hang", get(std::future::pending::<()>))
            .route("/echo", get(echo));
        let router = crate::routes::router(user_routes, api.handle.clone());
        let counters = Arc::clone(api.handle.counters());
        let service = ApiService::new(router, Generation(1), &LIMITS, AccessRules::default(), counters);
        let listener = Listener::new(OwnedFd::from(socket())).unwrap();
        let (phase, receiver) = watch::channel(ServerPhase::Serving);
        Self { acceptor: Acceptor::new(listener, Arc::new(service), LIMITS, receiver), api, phase }
    }

    fn serve(&self, permit: ConnPermit) -> DuplexStream {
        let (client, server) = duplex(BUFFER);
        self.acceptor.serve(server, permit, None);
        client
    }

    fn connect(&self) -> DuplexStream {
        self.serve(self.acceptor.conn_limits.acquire_over_limit(None))
    }
}

/// Upgrades the connection, sends more than an idle client's buffer holds, then echoes what it reads.
async fn echo(request: Request) -> impl IntoResponse {
    tokio::spawn(async {
        let mut stream = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
        stream.write_all(&[b'x'; 64 * BUFFER]).await.unwrap();
        let (mut read_half, mut write_half) = tokio::io::split(stream);
        let _ = tokio::io::copy(&mut read_half, &mut write_half).await;
    });
    (StatusCode::SWITCHING_PROTOCOLS, [("connection", "upgrade"), ("upgrade", "echo")])
}

async fn write(client: &mut DuplexStream, text: &str) {
    client.write_all(text.as_bytes()).await.unwrap();
}

/// All bytes until the end of the connection, and the second at which it ended.
async fn read_to_end(mut client: DuplexStream, start: Instant) -> (String, u64) {
    let mut bytes = Vec::new();
    // A reset also counts as the end.
    let _ = client.read_to_end(&mut bytes).await;
    (String::from_utf8_lossy(&bytes).into_owned(), start.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_request_is_closed_after_the_idle_timeout() {
    let start = Instant::now();
    assert_eq!(read_to_end(AcceptorFixture::new().connect(), start).await, (String::new(), 60));
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_between_requests_within_the_idle_timeout() {
    let (fixture, start) = (AcceptorFixture::new(), Instant::now());
    let mut client = fixture.connect();
    for _ in 0..3 {
        write(&mut client, "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
        sleep(Duration::from_secs(50)).await;
    }
    let (text, second) = read_to_end(client, start).await;
    assert_eq!((text.matches("HTTP/1.1 200").count(), second), (3, 160), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_arrives_too_slowly_closes_the_connection() {
    let (fixture, start) = (AcceptorFixture::new(), Instant::now());
    let mut client = fixture.connect();
    sleep(Duration::from_secs(5)).await;
    let trickle = tokio::spawn(async move {
        write(&mut client, "GET / HTTP/1.1\r\n").await;
        while client.write_all(b"a: b\r\n").await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
        client
    });
    assert_eq!(read_to_end(trickle.await.unwrap(), start).await.1, 15);
}

#[tokio::test(start_paused = true)]
async fn a_head_up_to_the_limit_is_accepted_and_one_byte_more_is_refused_at_any_speed() {
    let fixture = AcceptorFixture::new();
    for (length, status) in [(MAX_HEAD, 200), (MAX_HEAD + 1, 431), (MAX_HEAD * 3 / 2, 431)] {
        let (begin, end) = ("GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\na: ", "\r\n\r\n");
        let head = format!("{begin}{}{end}", "x".repeat(length - begin.len() - end.len()));
        for piece in [BUFFER, 2 * MAX_HEAD] {
            let (mut client, server) = duplex(piece);
            fixture.acceptor.serve(server, fixture.acceptor.conn_limits.acquire_over_limit(None), None);
            // The server may close before it has read all.
            let _ = client.write_all(head.as_bytes()).await;
            let mut text = String::new();
            client.read_to_string(&mut text).await.unwrap();
            assert!(
                text.starts_with(&format!("HTTP/1.1 {status} ")),
                "{length} in pieces of {piece}: {text}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_arrives_too_slowly_gets_408_and_closes_the_connection() {
    let (fixture, start) = (AcceptorFixture::new(), Instant::now());
    let mut client = fixture.connect();
    write(&mut client, UPLOAD).await;
    let (mut reading, mut writing) = tokio::io::split(client);
    let upload = tokio::spawn(async move {
        while writing.write_all(b" ").await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
    });
    let mut text = String::new();
    reading.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 408") && text.contains("problem:timeout"), "{text}");
    assert_eq!(start.elapsed().as_secs(), 10);
    upload.await.unwrap();
    assert_eq!(fixture.api.pending().0.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_after_a_pipelined_request_gets_408_too() {
    let (fixture, start) = (AcceptorFixture::new(), Instant::now());
    let mut client = fixture.connect();
    write(&mut client, &format!("GET /livez HTTP/1.1\r\nhost: x\r\n\r\n{UPLOAD}")).await;
    let (text, second) = read_to_end(client, start).await;
    assert_eq!((text.matches("HTTP/1.1 408").count(), second), (1, 10), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_after_a_pipelined_request_does_not_make_the_connection_evictable() {
    let fixture = AcceptorFixture::new();
    let permit = fixture.acceptor.conn_limits.acquire_over_limit(None);
    let state = Arc::clone(permit.state());
    let mut client = fixture.serve(permit);
    write(&mut client, &format!("GET /hang HTTP/1.1\r\nhost: x\r\n\r\n{UPLOAD}")).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(state.phase(), ConnPhase::Responding);
    let (text, second) = read_to_end(client, Instant::now()).await;
    assert!(text.starts_with("HTTP/1.1 408") && second == 29, "{second}: {text}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_makes_progress_is_read_until_the_request_timeout() {
    let (fixture, start) = (AcceptorFixture::new(), Instant::now());
    let client = fixture.connect();
    let (mut reading, mut writing) = tokio::io::split(client);
    let upload = tokio::spawn(async move {
        writing.write_all(UPLOAD.as_bytes()).await.unwrap();
        while writing.write_all(&[b' '; BODY_PROGRESS]).await.is_ok() {
            sleep(Duration::from_secs(5)).await;
        }
    });
    let mut text = vec![0; 12];
    reading.read_exact(&mut text).await.unwrap();
    assert_eq!((text.as_slice(), start.elapsed().as_secs()), (&b"HTTP/1.1 408"[..], 30));
    drop(reading);
    upload.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_its_response_is_closed() {
    let (fixture, start) = (AcceptorFixture::new(), Instant::now());
    let mut client = fixture.connect();
    write(&mut client, "GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
    sleep(Duration::from_secs(20)).await;
    let (text, second) = read_to_end(client, start).await;
    assert_eq!((text.len(), second), (BUFFER, 20), "the content of the buffer, then the end");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_gets_the_whole_response() {
    let fixture = AcceptorFixture::new();
    let mut client = fixture.connect();
    write(&mut client, "GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    let (mut read, mut piece) = (0, vec![0; 64 * BUFFER]);
    loop {
        sleep(Duration::from_secs(9)).await;
        match client.read(&mut piece).await.unwrap() {
            0 => break,
            some => read += some,
        }
    }
    assert!(read > 1 << 20, "{read}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_for_the_server_has_no_idle_timeout() {
    let (fixture, start) = (AcceptorFixture::new(), Instant::now());
    let mut client = fixture.connect();
    write(&mut client, "GET /hang HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let (text, second) = read_to_end(client, start).await;
    assert!(text.starts_with("HTTP/1.1 408") && second == 30, "{second}: {text}");
}

#[tokio::test(start_paused = true)]
async fn an_upgraded_connection_has_no_timeouts_and_is_not_parsed() {
    let fixture = AcceptorFixture::new();
    let mut client = fixture.connect();
    write(&mut client, "GET /echo HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await;
    sleep(Duration::from_secs(100)).await;
    let mut piece = vec![0; 64 * BUFFER];
    client.read_exact(&mut piece).await.unwrap();
    let invalid_http = "POST / HTTP/1.1\r\ncontent-length: x\r\n";
    write(&mut client, invalid_http).await;
    sleep(Duration::from_secs(100)).await;
    let mut text = String::new();
    while !text.ends_with(invalid_http) {
        text.push(client.read_u8().await.unwrap().into());
    }
}

fn address(last: u8) -> Option<AddressGroup> {
    AddressGroup::of([192, 0, 2, last].into())
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_evicts_the_longest_idle_one() {
    let fixture = AcceptorFixture::new();
    let conn_limits = &fixture.acceptor.conn_limits;
    let mut clients = Vec::new();
    for last in 0..3 {
        clients.push(fixture.serve(conn_limits.acquire(address(last)).await.unwrap()));
        sleep(Duration::from_secs(1)).await;
    }
    write(&mut clients[0], "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    let new_client = fixture.serve(conn_limits.acquire(address(9)).await.unwrap());
    assert_eq!(read_to_end(clients.remove(1), start).await, (String::new(), 0));
    drop((clients, new_client));
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_evicted_before_slow_ones_and_busy_ones_never() {
    let fixture = AcceptorFixture::new();
    let conn_limits = &fixture.acceptor.conn_limits;
    let mut clients = Vec::new();
    for (last, text) in [(0, UPLOAD), (1, "GET /hang HTTP/1.1\r\nhost: x\r\n\r\n"), (2, "")] {
        let mut client = fixture.serve(conn_limits.acquire(address(last)).await.unwrap());
        write(&mut client, text).await;
        sleep(Duration::from_secs(1)).await;
        clients.push(client);
    }
    let (idle, busy, slow) = (clients.pop().unwrap(), clients.pop().unwrap(), clients.pop().unwrap());
    let start = Instant::now();
    let first = conn_limits.acquire(address(3)).await.unwrap();
    first.state().enter(ConnPhase::Responding);
    assert_eq!(read_to_end(idle, start).await.1, 0);
    let second = conn_limits.acquire(address(4)).await.unwrap();
    second.state().enter(ConnPhase::Responding);
    assert_eq!(read_to_end(slow, start).await.1, 0);
    // All connections are busy now. The third permit is granted when the request on `busy` times out.
    let third = conn_limits.acquire(address(5)).await.unwrap();
    assert!(read_to_end(busy, start).await.0.starts_with("HTTP/1.1 408"));
    drop((first, second, third));
}

#[tokio::test(start_paused = true)]
async fn an_address_at_its_limit_evicts_its_own_idle_connections_only() {
    let fixture = AcceptorFixture::new();
    let conn_limits = &fixture.acceptor.conn_limits;
    let held =
        [conn_limits.acquire(address(1)).await.unwrap(), conn_limits.acquire(address(1)).await.unwrap()];
    assert_eq!(
        conn_limits.acquire(address(1)).await.unwrap_err(),
        TooManyFromAddress,
        "both connections are new"
    );
    sleep(Duration::from_secs(1)).await;
    held[1].state().enter(ConnPhase::Responding);
    let third = conn_limits.acquire(address(1)).await.unwrap();
    assert_eq!(held[0].state().phase(), ConnPhase::Evicted);
    assert_eq!(conn_limits.acquire(address(1)).await.unwrap_err(), TooManyFromAddress);
    drop(third);
    assert!(conn_limits.acquire(address(1)).await.is_ok());
    assert!(conn_limits.acquire(address(2)).await.is_ok());
}

#[test]
fn an_ipv6_address_is_grouped_by_its_network_and_a_mapped_one_as_ipv4() {
    let group = |text: &str| AddressGroup::of(text.parse().unwrap());
    assert_eq!(group("2001:db8::1"), group("2001:db8::ffff:0:0:1"));
    assert_ne!(group("2001:db8::1"), group("2001:db8:0:1::1"));
    assert_eq!(group("::ffff:192.0.2.1"), group("192.0.2.1"));
}

#[test]
fn loopback_addresses_have_no_limit_of_their_own() {
    for local in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(AddressGroup::of(local.parse().unwrap()), None, "{local}");
    }
}

#[tokio::test]
async fn a_connection_over_the_address_limit_gets_429_with_retry_after() {
    let api = ApiFixture::new();
    let service = ApiService::new(
        crate::routes::router(Router::new(), api.handle.clone()),
        Generation(1),
        &LIMITS,
        AccessRules::default(),
        Arc::default(),
    );
    let response = service.refuse(&Request::get("/").body(()).unwrap());
    assert_eq!(response.status(), 429);
    for header in ["connection", "retry-after", "x-request-id"] {
        assert!(response.headers().contains_key(header), "{header}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_and_the_first_connection_after_an_idle_time_is_reported() {
    let fixture = AcceptorFixture::new();
    let (reader, writer) = pipe::pair().unwrap();
    let (frames, supervisor) = (Receiver::<FromWorker>::new(reader), Arc::new(Sender::new(writer)));
    let next_frame = || {
        let Received::Frame(frame) = frames.recv().unwrap() else { panic!("expected a frame") };
        frame
    };
    fixture.acceptor.conn_limits.answer_ping(1, Arc::clone(&supervisor));
    assert_eq!(next_frame(), FromWorker::Pong { number: 1, accept_polls: 0, busy: false });
    let (_one, _two) = (fixture.connect(), fixture.connect());
    assert_eq!(next_frame(), FromWorker::Busy);
    fixture.acceptor.conn_limits.answer_ping(2, supervisor);
    assert_eq!(
        next_frame(),
        FromWorker::Pong { number: 2, accept_polls: 0, busy: true },
        "the second connection is not reported"
    );
}
