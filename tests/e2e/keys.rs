//! `Idempotency-Key`: what is sent again is not counted again, whoever died meanwhile (P3).

use bulkhead_tests::{
    Bulkhead, Home,
    gate::Gate,
    http::{Answer, Client, Failure},
    killer::Killer,
    process::Signal,
};
use fastrand::Rng;
use std::thread;

const WRITERS: usize = 6;
const REQUESTS: usize = 150;
const KILLS: usize = 12;
/// Events in a request.
const EVENTS: usize = 3;

const JSON: &str = "application/json";
const TWO: &str = r#"[{"series":"a","value":1},{"series":"a","value":2}]"#;

fn post(bulkhead: &Bulkhead, key: &str) -> Answer {
    bulkhead.client().post_keyed(key, JSON, TWO).unwrap()
}

/// The same answer again, and nothing counted.
fn assert_replayed(bulkhead: &Bulkhead, first: &Answer) {
    let again = post(bulkhead, "once");
    assert_eq!((again.status, &again.body), (202, &first.body));
    assert_eq!(again.header("idempotency-replayed"), "true", "{again:?}");
    assert_eq!(bulkhead.settled()["accepted"], 2);
}

#[test]
fn a_repeat_is_known_behind_the_apis_death_a_hand_over_and_a_restart_of_everything() {
    let bulkhead = Home::new("").start();
    let first = post(&bulkhead, "once");
    assert_eq!((first.status, first.header("idempotency-replayed")), (202, ""), "{first:?}");
    assert_replayed(&bulkhead, &first);

    let mut story = bulkhead.log().from_now();
    bulkhead.signal_worker(bulkhead.pid_of("api"), Signal::SIGKILL);
    story.wait_for_worker("worker_activated", "api");
    assert_replayed(&bulkhead, &first);

    assert_eq!(bulkhead.say(&["restart", "api"]).code, Some(0));
    assert_replayed(&bulkhead, &first);

    let stopped = bulkhead.stop(Signal::SIGTERM);
    assert!(stopped.status.success(), "{}", stopped.log.dump());
    let bulkhead = stopped.home.start();
    assert_replayed(&bulkhead, &first);
    assert_eq!(post(&bulkhead, "another").json()["first_seq"], 3);
}

#[test]
fn requests_that_are_sent_again_until_they_are_answered_are_counted_once_while_the_api_is_killed() {
    let bulkhead = Home::new("").start();
    let mut rng = Rng::with_seed(9);
    let gate = Gate::new(WRITERS * REQUESTS, KILLS, &mut rng);
    let broken: usize = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (gate, client) = (&gate, bulkhead.client());
                scope.spawn(move || write(writer, gate, &client))
            })
            .collect();
        let mut killer = Killer::new(&bulkhead, "api", rng.fork());
        gate.each_due(0..KILLS, |_| killer.strike());
        writers.into_iter().map(|writer| writer.join().unwrap()).sum()
    });
    let stats = bulkhead.settled();
    assert_eq!(stats["accepted"], WRITERS * REQUESTS * EVENTS, "{broken} answers were lost: {stats}");
    let client = bulkhead.client();
    for writer in 0..WRITERS {
        let series = client.json(&format!("/v1/series/writer-{writer}"));
        // Every request has values of its own: none was counted twice in another's place.
        let sum: usize = (0..REQUESTS).map(|request| request * EVENTS).sum();
        assert_eq!(series["count"], REQUESTS * EVENTS, "{series}");
        assert_eq!(series["sum"].as_f64(), Some(sum as f64), "{series}");
    }
}

/// Sends each request until it is answered; how many answers were lost.
fn write(writer: usize, gate: &Gate, client: &Client) -> usize {
    let mut lost = 0;
    for request in 0..REQUESTS {
        let event = format!(r#"{{"series":"writer-{writer}","value":{request}}}"#);
        let body = format!("[{}]", vec![event; EVENTS].join(","));
        gate.begin(1);
        loop {
            match client.post_keyed(&format!("{writer}-{request}"), JSON, &body) {
                Ok(answer) => {
                    assert_eq!(answer.status, 202, "{answer:?}");
                    break;
                }
                Err(Failure::Broken(_)) => lost += 1,
                Err(Failure::Refused) => panic!("connection refused at request {request} of {writer}"),
            }
        }
        gate.done(1);
    }
    lost
}
