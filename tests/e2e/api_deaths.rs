//! The API itself dies under load: nobody is refused, and what was answered 2xx is there exactly once (P1, P2).

use bulkhead_tests::{
    Bulkhead, Home,
    gate::Gate,
    http::{Client, Failure},
    killer::Killer,
};
use fastrand::Rng;
use serde_json::Value;
use std::{collections::BTreeMap, fmt::Write as _, thread};

const WRITERS: usize = 6;
const REQUESTS: usize = 150;
const KILLS: usize = 12;
/// A request has at most so many events: their values are distinct powers of two, whose sum must stay exact.
const MOST_EVENTS: usize = 20;

/// A request that was sent; its series is its own.
struct Sent {
    series: String,
    events: usize,
    /// The seqs in the answer, or nothing when the connection died: then it may have been accepted or not.
    answered: Option<(u64, u64)>,
}

#[test]
fn when_the_api_is_killed_its_successor_serves_the_same_socket_and_every_2xx_is_kept_exactly_once() {
    let bulkhead = Home::new("").start();
    let mut rng = Rng::with_seed(4);
    let gate = Gate::new(WRITERS * REQUESTS, KILLS, &mut rng);
    let sent: Vec<Sent> = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (gate, client, rng) = (&gate, bulkhead.client(), rng.fork());
                scope.spawn(move || write(writer, gate, &client, rng))
            })
            .collect();
        let mut killer = Killer::new(&bulkhead, "api", rng.fork());
        gate.each_due(0..KILLS, |_| killer.strike());
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    assert_seqs_are_disjoint(&sent);
    assert_counted_once(&bulkhead, &sent);
}

fn write(writer: usize, gate: &Gate, client: &Client, mut rng: Rng) -> Vec<Sent> {
    let mut sent = Vec::new();
    for request in 0..REQUESTS {
        let series = format!("writer-{writer}.request-{request}");
        let events = rng.usize(1..=MOST_EVENTS);
        gate.begin(1);
        let answered = match client.post_events(&body(&series, events)) {
            Ok(answer) => {
                assert_eq!(answer.status, 202, "{answer:?}");
                let answer = answer.json();
                Some((answer["first_seq"].as_u64().unwrap(), answer["last_seq"].as_u64().unwrap()))
            }
            Err(Failure::Broken(_)) => None,
            Err(Failure::Refused) => panic!("connection refused at request {request} of writer {writer}"),
        };
        gate.done(1);
        sent.push(Sent { series, events, answered });
    }
    sent
}

/// Event number i of a request has the value 2^i: the sum tells which ones were counted, and how often.
fn body(series: &str, events: usize) -> String {
    let mut body = String::from("[");
    for event in 0..events {
        let comma = if event == 0 { "" } else { "," };
        let _ = write!(body, r#"{comma}{{"series":"{series}","value":{}}}"#, 1_u64 << event);
    }
    body + "]"
}

fn assert_seqs_are_disjoint(sent: &[Sent]) {
    let mut ranges: Vec<_> =
        sent.iter().filter_map(|sent| sent.answered.map(|seqs| (seqs, sent.events))).collect();
    ranges.sort_unstable();
    for ((first, last), events) in &ranges {
        assert_eq!(last - first + 1, *events as u64, "seqs {first} to {last} for {events} events");
    }
    for pair in ranges.windows(2) {
        assert!(pair[0].0.1 < pair[1].0.0, "seqs given twice: {:?} and {:?}", pair[0], pair[1]);
    }
}

fn assert_counted_once(bulkhead: &Bulkhead, sent: &[Sent]) {
    let stats = bulkhead.settled();
    let mut found: BTreeMap<String, Value> = bulkhead.client().all_series();
    let mut counted = 0;
    for sent in sent {
        let Some(series) = found.remove(&sent.series) else {
            assert!(sent.answered.is_none(), "{} was answered 2xx and is lost", sent.series);
            continue;
        };
        assert_eq!(series["count"], sent.events, "{series}");
        let each_once = ((1_u64 << sent.events) - 1) as f64;
        assert_eq!(series["sum"].as_f64(), Some(each_once), "{series}");
        counted += sent.events;
    }
    assert!(found.is_empty(), "nobody sent these: {found:?}");
    assert_eq!(stats["accepted"], counted, "{stats}");
    let broken = sent.iter().filter(|sent| sent.answered.is_none()).count();
    assert!(broken < sent.len() / 2, "{broken} of {} requests were broken off: hardly a test", sent.len());
}
