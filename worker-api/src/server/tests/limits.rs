//! What clients that crawl, stall or crowd are allowed, in virtual time and over streams in memory.

use super::*;
use crate::{
    limits::{MAX_HEAD, PIECE},
    server::{
        door::Welcome,
        places::{Place, TooMany},
        pulse::Phase as Pulsing,
    },
    testing::Rig,
};
use axum::{extract::Request, http::StatusCode, response::IntoResponse};
use bulkhead_proto::worker::pipe::{self, Received, Receiver};
use hyper_util::rt::TokioIo;
use tokio::io::{DuplexStream, duplex};

/// What a socket's own buffers would hold, in bytes.
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

/// A door that is not open: connections are handed to it by the test.
struct Hall {
    door: Door,
    rig: Rig,
    _phase: watch::Sender<Phase>,
}

impl Hall {
    fn new() -> Self {
        let rig = Rig::new();
        let own = Router::new()
            .route("/large", get(async || vec![b'x'; 1 << 20]))
            .route("/hang", get(std::future::pending::<()>))
            .route("/echo", get(echo));
        let router = crate::routes::router(own, rig.bulkhead.clone());
        let front = Front::new(router, Generation(1), &LIMITS);
        let listener = Listener::new(OwnedFd::from(socket())).unwrap();
        let (phase, watched) = watch::channel(Phase::Serving);
        Self { door: Door::new(listener, Arc::new(front), LIMITS, watched), rig, _phase: phase }
    }

    fn serve(&self, place: Place) -> DuplexStream {
        let (client, server) = duplex(BUFFER);
        self.door.serve(server, Welcome::Served(place));
        client
    }

    fn connect(&self) -> DuplexStream {
        self.serve(self.door.places.take(None))
    }
}

/// Ends HTTP: sends more than a client takes that does not read, and then whatever it hears.
async fn echo(request: Request) -> impl IntoResponse {
    tokio::spawn(async {
        let mut stream = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
        stream.write_all(&[b'x'; 64 * BUFFER]).await.unwrap();
        let (mut heard, mut said) = tokio::io::split(stream);
        let _ = tokio::io::copy(&mut heard, &mut said).await;
    });
    (StatusCode::SWITCHING_PROTOCOLS, [("connection", "upgrade"), ("upgrade", "echo")])
}

async fn say(client: &mut DuplexStream, text: &str) {
    client.write_all(text.as_bytes()).await.unwrap();
}

/// All that comes until the end, and the second in which the end came.
async fn ending(mut client: DuplexStream, start: Instant) -> (String, u64) {
    let mut bytes = Vec::new();
    // An end that is no orderly one is an end.
    let _ = client.read_to_end(&mut bytes).await;
    (String::from_utf8_lossy(&bytes).into_owned(), start.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn who_never_asks_is_closed() {
    let start = Instant::now();
    assert_eq!(ending(Hall::new().connect(), start).await, (String::new(), 60));
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_between_requests() {
    let (hall, start) = (Hall::new(), Instant::now());
    let mut client = hall.connect();
    for _ in 0..3 {
        say(&mut client, "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
        sleep(Duration::from_secs(50)).await;
    }
    let (text, second) = ending(client, start).await;
    assert_eq!((text.matches("HTTP/1.1 200").count(), second), (3, 160), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_in_ends_its_connection() {
    let (hall, start) = (Hall::new(), Instant::now());
    let mut client = hall.connect();
    sleep(Duration::from_secs(5)).await;
    let trickle = tokio::spawn(async move {
        say(&mut client, "GET / HTTP/1.1\r\n").await;
        while client.write_all(b"a: b\r\n").await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
        client
    });
    assert_eq!(ending(trickle.await.unwrap(), start).await.1, 15);
}

#[tokio::test(start_paused = true)]
async fn a_head_is_as_long_as_it_may_be_and_not_a_byte_longer_however_fast_it_comes() {
    let hall = Hall::new();
    for (length, status) in [(MAX_HEAD, 200), (MAX_HEAD + 1, 431), (MAX_HEAD * 3 / 2, 431)] {
        let (begin, end) = ("GET /livez HTTP/1.1\r\nconnection: close\r\na: ", "\r\n\r\n");
        let head = format!("{begin}{}{end}", "x".repeat(length - begin.len() - end.len()));
        for piece in [BUFFER, 2 * MAX_HEAD] {
            let (mut client, server) = duplex(piece);
            hall.door.serve(server, Welcome::Served(hall.door.places.take(None)));
            // A server that has heard enough does not take the rest.
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
async fn a_body_that_crawls_is_answered_408_and_ends_its_connection() {
    let (hall, start) = (Hall::new(), Instant::now());
    let mut client = hall.connect();
    say(&mut client, UPLOAD).await;
    let (mut reading, mut writing) = tokio::io::split(client);
    let crawl = tokio::spawn(async move {
        while writing.write_all(b" ").await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
    });
    let mut text = String::new();
    reading.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 408") && text.contains("problem:timeout"), "{text}");
    assert_eq!(start.elapsed().as_secs(), 10);
    crawl.await.unwrap();
    assert_eq!(hall.rig.pending().0.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_crawls_behind_another_request_is_no_better_off() {
    let (hall, start) = (Hall::new(), Instant::now());
    let mut client = hall.connect();
    say(&mut client, &format!("GET /livez HTTP/1.1\r\nhost: x\r\n\r\n{UPLOAD}")).await;
    let (text, second) = ending(client, start).await;
    assert_eq!((text.matches("HTTP/1.1 408").count(), second), (1, 10), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_crawls_behind_another_request_does_not_cost_that_ones_place() {
    let hall = Hall::new();
    let place = hall.door.places.take(None);
    let pulse = Arc::clone(place.pulse());
    let mut client = hall.serve(place);
    say(&mut client, &format!("GET /hang HTTP/1.1\r\nhost: x\r\n\r\n{UPLOAD}")).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(pulse.phase(), Pulsing::Answering);
    let (text, second) = ending(client, Instant::now()).await;
    assert!(text.starts_with("HTTP/1.1 408") && second == 29, "{second}: {text}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_moves_on_is_waited_for_until_the_request_takes_too_long() {
    let (hall, start) = (Hall::new(), Instant::now());
    let client = hall.connect();
    let (mut reading, mut writing) = tokio::io::split(client);
    let upload = tokio::spawn(async move {
        writing.write_all(UPLOAD.as_bytes()).await.unwrap();
        while writing.write_all(&[b' '; PIECE]).await.is_ok() {
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
async fn who_never_reads_its_answer_is_closed() {
    let (hall, start) = (Hall::new(), Instant::now());
    let mut client = hall.connect();
    say(&mut client, "GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
    sleep(Duration::from_secs(20)).await;
    let (text, second) = ending(client, start).await;
    assert_eq!((text.len(), second), (BUFFER, 20), "what the buffer held, and then the end");
}

#[tokio::test(start_paused = true)]
async fn who_reads_slowly_gets_the_whole_answer() {
    let hall = Hall::new();
    let mut client = hall.connect();
    say(&mut client, "GET /large HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
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
async fn who_waits_for_us_is_never_closed_for_it() {
    let (hall, start) = (Hall::new(), Instant::now());
    let mut client = hall.connect();
    say(&mut client, "GET /hang HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let (text, second) = ending(client, start).await;
    assert!(text.starts_with("HTTP/1.1 408") && second == 30, "{second}: {text}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_no_longer_speaks_http_is_neither_timed_nor_understood() {
    let hall = Hall::new();
    let mut client = hall.connect();
    say(&mut client, "GET /echo HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await;
    sleep(Duration::from_secs(100)).await;
    let mut piece = vec![0; 64 * BUFFER];
    client.read_exact(&mut piece).await.unwrap();
    let spoilt_in_http = "POST / HTTP/1.1\r\ncontent-length: x\r\n";
    say(&mut client, spoilt_in_http).await;
    sleep(Duration::from_secs(100)).await;
    let mut text = String::new();
    while !text.ends_with(spoilt_in_http) {
        text.push(client.read_u8().await.unwrap().into());
    }
}

fn address(last: u8) -> Option<Origin> {
    Origin::of([192, 0, 2, last].into())
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_takes_the_place_of_the_longest_idle() {
    let hall = Hall::new();
    let places = &hall.door.places;
    let mut clients = Vec::new();
    for last in 0..3 {
        clients.push(hall.serve(places.find(address(last)).await.unwrap()));
        sleep(Duration::from_secs(1)).await;
    }
    say(&mut clients[0], "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    let newcomer = hall.serve(places.find(address(9)).await.unwrap());
    assert_eq!(ending(clients.remove(1), start).await, (String::new(), 0));
    drop((clients, newcomer));
}

#[tokio::test(start_paused = true)]
async fn idle_connections_make_room_before_crawling_ones_and_busy_ones_never() {
    let hall = Hall::new();
    let places = &hall.door.places;
    let mut clients = Vec::new();
    for (last, text) in [(0, UPLOAD), (1, "GET /hang HTTP/1.1\r\nhost: x\r\n\r\n"), (2, "")] {
        let mut client = hall.serve(places.find(address(last)).await.unwrap());
        say(&mut client, text).await;
        sleep(Duration::from_secs(1)).await;
        clients.push(client);
    }
    let (idle, busy, crawling) = (clients.pop().unwrap(), clients.pop().unwrap(), clients.pop().unwrap());
    let start = Instant::now();
    let first = places.find(address(3)).await.unwrap();
    first.pulse().enter(Pulsing::Answering);
    assert_eq!(ending(idle, start).await.1, 0);
    let second = places.find(address(4)).await.unwrap();
    second.pulse().enter(Pulsing::Answering);
    assert_eq!(ending(crawling, start).await.1, 0);
    // All are busy now: the third waits until the busy one was given up by its handler, and is idle.
    let third = places.find(address(5)).await.unwrap();
    assert!(ending(busy, start).await.0.starts_with("HTTP/1.1 408"));
    drop((first, second, third));
}

#[tokio::test(start_paused = true)]
async fn an_address_has_its_own_limit_within_which_its_connections_make_room_for_each_other() {
    let hall = Hall::new();
    let places = &hall.door.places;
    let held = [places.find(address(1)).await.unwrap(), places.find(address(1)).await.unwrap()];
    assert_eq!(places.find(address(1)).await.unwrap_err(), TooMany, "they are fresh");
    sleep(Duration::from_secs(1)).await;
    held[1].pulse().enter(Pulsing::Answering);
    let third = places.find(address(1)).await.unwrap();
    assert_eq!(held[0].pulse().phase(), Pulsing::Evicted);
    assert_eq!(places.find(address(1)).await.unwrap_err(), TooMany);
    drop(third);
    assert!(places.find(address(1)).await.is_ok());
    assert!(places.find(address(2)).await.is_ok());
}

#[test]
fn an_ipv6_host_is_its_network_and_a_mapped_address_is_an_ipv4_one() {
    let origin = |text: &str| Origin::of(text.parse().unwrap());
    assert_eq!(origin("2001:db8::1"), origin("2001:db8::ffff:0:0:1"));
    assert_ne!(origin("2001:db8::1"), origin("2001:db8:0:1::1"));
    assert_eq!(origin("::ffff:192.0.2.1"), origin("192.0.2.1"));
}

#[test]
fn this_machine_has_no_limit_of_its_own_for_a_proxy_on_it_speaks_for_many() {
    for local in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
        assert_eq!(Origin::of(local.parse().unwrap()), None, "{local}");
    }
}

#[tokio::test]
async fn the_request_of_a_connection_too_many_is_refused_and_told_when_to_come_back() {
    let rig = Rig::new();
    let front =
        Front::new(crate::routes::router(Router::new(), rig.bulkhead.clone()), Generation(1), &LIMITS);
    let response = front.refuse(&Request::get("/").body(()).unwrap());
    assert_eq!(response.status(), 429);
    for header in ["connection", "retry-after", "x-request-id"] {
        assert!(response.headers().contains_key(header), "{header}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_and_the_first_connection_behind_a_quiet_time_told_of() {
    let hall = Hall::new();
    let (from, to) = pipe::pair().unwrap();
    let (said, supervisor) = (Receiver::<FromWorker>::new(from), Arc::new(Sender::new(to)));
    let heard = || {
        let Received::Frame(frame) = said.recv().unwrap() else { panic!("nothing was said") };
        frame
    };
    hall.door.places.pong(1, Arc::clone(&supervisor));
    assert_eq!(heard(), FromWorker::Pong { number: 1, accept_polls: 0, busy: false });
    let (_one, _two) = (hall.connect(), hall.connect());
    assert_eq!(heard(), FromWorker::Busy);
    hall.door.places.pong(2, supervisor);
    assert_eq!(
        heard(),
        FromWorker::Pong { number: 2, accept_polls: 0, busy: true },
        "the second connection was no news"
    );
}
