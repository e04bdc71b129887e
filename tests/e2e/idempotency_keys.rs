//! `Idempotency-Key`: a repeated request is not counted again, even if a process died in between.

use bulkhead_tests::{
    Bulkhead, Fixture,
    http::{Client, RequestError, Response},
    injection_pacer::InjectionPacer,
    process::Signal,
    worker_killer::WorkerKiller,
};
use fastrand::Rng;
use std::thread;

const WRITERS: usize = 6;
const REQUESTS: usize = 150;
const KILLS: usize = 12;
/// Events of a request.
const EVENTS: usize = 3;

const JSON: &str = "application/json";
const TWO: &str = r#"[{"series":"a","value":1},{"series":"a","value":2}]"#;

fn post(bulkhead: &Bulkhead, key: &str) -> Response {
    bulkhead.client().post_events_with_key(key, JSON, TWO).unwrap()
}

/// Checks that a repetition has the same response and counts nothing.
fn assert_replayed(bulkhead: &Bulkhead, first: &Response) {
    let again = post(bulkhead, "once");
    assert_eq!((again.status, &again.body), (202, &first.body));
    assert_eq!(again.header("idempotency-replayed"), "true", "{again:?}");
    assert_eq!(bulkhead.wait_until_committed()["accepted"], 2);
}

#[test]
fn a_repeated_request_is_recognized_after_an_api_death_a_takeover_and_a_service_restart() {
    let bulkhead = Fixture::new("").start();
    let first = post(&bulkhead, "once");
    assert_eq!((first.status, first.header("idempotency-replayed")), (202, ""), "{first:?}");
    assert_replayed(&bulkhead, &first);

    let mut log = bulkhead.log().from_now();
    bulkhead.signal_worker(bulkhead.worker_pid("api"), Signal::SIGKILL);
    log.wait_for_worker("worker_activated", "api");
    assert_replayed(&bulkhead, &first);

    assert_eq!(bulkhead.cli(&["restart", "api"]).code, Some(0));
    assert_replayed(&bulkhead, &first);

    let stopped = bulkhead.stop(Signal::SIGTERM);
    assert!(stopped.status.success(), "{}", stopped.log.dump());
    let bulkhead = stopped.fixture.start();
    assert_replayed(&bulkhead, &first);
    assert_eq!(post(&bulkhead, "another").json()["first_seq"], 3);
}

#[test]
fn requests_repeated_until_answered_are_counted_once_while_the_api_is_killed() {
    let bulkhead = Fixture::new("").start();
    let mut rng = Rng::with_seed(9);
    let pacer = InjectionPacer::new(WRITERS * REQUESTS, KILLS, &mut rng);
    let broken: usize = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (pacer, client) = (&pacer, bulkhead.client());
                scope.spawn(move || write(writer, pacer, &client))
            })
            .collect();
        let mut killer = WorkerKiller::new(&bulkhead, "api", rng.fork());
        pacer.inject_each(0..KILLS, |_| killer.kill_next_generation());
        writers.into_iter().map(|writer| writer.join().unwrap()).sum()
    });
    let stats = bulkhead.wait_until_committed();
    assert_eq!(stats["accepted"], WRITERS * REQUESTS * EVENTS, "{broken} responses were lost: {stats}");
    let client = bulkhead.client();
    for writer in 0..WRITERS {
        let series = client.get_json(&format!("/v1/series/writer-{writer}"));
        // The values identify the request: none was counted twice in place of another one.
        let sum: usize = (0..REQUESTS).map(|request| request * EVENTS).sum();
        assert_eq!(series["count"], REQUESTS * EVENTS, "{series}");
        assert_eq!(series["sum"].as_f64(), Some(sum as f64), "{series}");
    }
}

/// Sends each request until it is answered. Returns the number of lost responses.
fn write(writer: usize, pacer: &InjectionPacer, client: &Client) -> usize {
    let mut lost = 0;
    for request in 0..REQUESTS {
        let event = format!(r#"{{"series":"writer-{writer}","value":{request}}}"#);
        let body = format!("[{}]", vec![event; EVENTS].join(","));
        pacer.begin_work(1);
        loop {
            match client.post_events_with_key(&format!("{writer}-{request}"), JSON, &body) {
                Ok(response) => {
                    assert_eq!(response.status, 202, "{response:?}");
                    break;
                }
                Err(RequestError::Broken(_)) => lost += 1,
                Err(RequestError::Refused) => panic!("connection refused at request {request} of {writer}"),
            }
        }
        pacer.end_work(1);
    }
    lost
}
