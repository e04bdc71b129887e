//! How connections of a draining server end, and how closed connections are counted.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_draining_server_closes_a_connection_two_seconds_after_its_last_request() {
    let (fixture, start) = (AcceptorFixture::new(), Instant::now());
    let (mut recent, old) = (fixture.connect(), fixture.connect());
    sleep(Duration::from_secs(9)).await;
    write(&mut recent, "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
    sleep(Duration::from_secs(1)).await;
    fixture.phase.send(ServerPhase::Draining).unwrap();
    assert_eq!(read_to_end(old, start).await, (String::new(), 10));
    let (text, second) = read_to_end(recent, start).await;
    assert_eq!((text.matches("HTTP/1.1 200").count(), second), (1, 11), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_draining_server_lets_a_request_in_flight_end() {
    let (fixture, start) = (AcceptorFixture::new(), Instant::now());
    let mut client = fixture.connect();
    write(&mut client, "GET /hang HTTP/1.1\r\nhost: x\r\n\r\n").await;
    sleep(Duration::from_secs(1)).await;
    fixture.phase.send(ServerPhase::Draining).unwrap();
    let (text, second) = read_to_end(client, start).await;
    assert!(text.starts_with("HTTP/1.1 408") && second == 30, "{second}: {text}");
}

#[tokio::test(start_paused = true)]
async fn closed_connections_are_counted_once_by_their_reason() {
    let fixture = AcceptorFixture::new();
    let start = Instant::now();
    let (idle, mut slow, mut unanswered) = (fixture.connect(), fixture.connect(), fixture.connect());
    write(&mut slow, UPLOAD).await;
    write(&mut unanswered, "GET /hang HTTP/1.1\r\nhost: x\r\n\r\n").await;
    for client in [idle, slow, unanswered] {
        read_to_end(client, start).await;
    }
    let conn_limits = &fixture.acceptor.conn_limits;
    let held: Vec<_> = (0..3).map(|_| conn_limits.acquire_over_limit(address(1))).collect();
    sleep(Duration::from_secs(1)).await;
    conn_limits.acquire(address(2)).await.unwrap();
    drop(held);
    let shown = fixture.api.get("/v1/stats").await.json()["api"].clone();
    for (name, count) in [
        ("idle_closed", 1),
        ("slow_closed", 1),
        ("timed_out", 1),
        ("evicted", 1),
        ("refused", 0),
        ("ring_full", 0),
    ] {
        assert_eq!(shown[name], count, "{name} in {shown}");
    }
}
