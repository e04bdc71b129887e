//! The API is killed under load: no connection is refused, and every event answered 2xx is counted exactly
//! once.

use bulkhead_tests::{
    Bulkhead, Fixture,
    http::{Client, RequestError},
    injection_pacer::InjectionPacer,
    worker_killer::WorkerKiller,
};
use fastrand::Rng;
use serde_json::Value;
use std::{collections::BTreeMap, fmt::Write as _, thread};

const WRITERS: usize = 6;
const REQUESTS: usize = 150;
const KILLS: usize = 12;
/// The maximum of events in a request. Their values are distinct powers of two, whose sum must stay exact.
const MAX_EVENTS: usize = 20;

/// A request that was sent. Its series has no events of other requests.
struct Sent {
    series: String,
    events: usize,
    /// The first and last seq in the response; `None` if the connection broke. Then the request may have been
    /// accepted or not.
    seqs: Option<(u64, u64)>,
}

#[test]
fn a_killed_api_refuses_no_connection_and_every_2xx_is_counted_exactly_once() {
    let bulkhead = Fixture::new("").start();
    let mut rng = Rng::with_seed(4);
    let pacer = InjectionPacer::new(WRITERS * REQUESTS, KILLS, &mut rng);
    let sent: Vec<Sent> = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (pacer, client, rng) = (&pacer, bulkhead.client(), rng.fork());
                scope.spawn(move || write(writer, pacer, &client, rng))
            })
            .collect();
        let mut killer = WorkerKiller::new(&bulkhead, "api", rng.fork());
        pacer.inject_each(0..KILLS, |_| killer.kill_next_generation());
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    assert_seqs_are_disjoint(&sent);
    assert_counted_once(&bulkhead, &sent);
}

fn write(writer: usize, pacer: &InjectionPacer, client: &Client, mut rng: Rng) -> Vec<Sent> {
    let mut sent = Vec::new();
    for request in 0..REQUESTS {
        let series = format!("writer-{writer}.request-{request}");
        let events = rng.usize(1..=MAX_EVENTS);
        pacer.begin_work(1);
        let seqs = match client.post_events(&body(&series, events)) {
            Ok(response) => {
                assert_eq!(response.status, 202, "{response:?}");
                let response = response.json();
                Some((response["first_seq"].as_u64().unwrap(), response["last_seq"].as_u64().unwrap()))
            }
            Err(RequestError::Broken(_)) => None,
            Err(RequestError::Refused) => {
                panic!("connection refused at request {request} of writer {writer}")
            }
        };
        pacer.end_work(1);
        sent.push(Sent { series, events, seqs });
    }
    sent
}

/// Event `i` of a request has the value 2^i: the sum shows which events were counted, and how often.
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
        sent.iter().filter_map(|sent| sent.seqs.map(|seqs| (seqs, sent.events))).collect();
    ranges.sort_unstable();
    for ((first, last), events) in &ranges {
        assert_eq!(last - first + 1, *events as u64, "seqs {first} to {last} for {events} events");
    }
    for pair in ranges.windows(2) {
        assert!(pair[0].0.1 < pair[1].0.0, "seqs assigned twice: {:?} and {:?}", pair[0], pair[1]);
    }
}

fn assert_counted_once(bulkhead: &Bulkhead, sent: &[Sent]) {
    let stats = bulkhead.wait_until_committed();
    let mut found: BTreeMap<String, Value> = bulkhead.client().all_series();
    let mut counted = 0;
    for sent in sent {
        let Some(series) = found.remove(&sent.series) else {
            assert!(sent.seqs.is_none(), "{} was answered 2xx and was lost", sent.series);
            continue;
        };
        assert_eq!(series["count"], sent.events, "{series}");
        let each_once = ((1_u64 << sent.events) - 1) as f64;
        assert_eq!(series["sum"].as_f64(), Some(each_once), "{series}");
        counted += sent.events;
    }
    assert!(found.is_empty(), "series without a request: {found:?}");
    assert_eq!(stats["accepted"], counted, "{stats}");
    let broken = sent.iter().filter(|sent| sent.seqs.is_none()).count();
    assert!(
        broken < sent.len() / 2,
        "{broken} of {} requests broke: too many for a meaningful test",
        sent.len()
    );
}
