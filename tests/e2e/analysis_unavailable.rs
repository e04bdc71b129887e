//! While the analysis is stopped, reads are answered from the last commit, and writes are accepted until the
//! ring is full.

use bulkhead_tests::Fixture;

/// Four events of this size make a request of about 16 KiB.
const DATA_BYTES: usize = 4000;
/// Events of a request.
const EVENTS: usize = 50;

fn bulky_batch() -> String {
    let event = format!(r#"{{"series":"bulky","value":1,"data":"{}"}}"#, "x".repeat(DATA_BYTES));
    format!("[{}]", vec![event; EVENTS].join(","))
}

#[test]
fn reads_are_answered_from_the_last_commit_while_the_analysis_is_stopped() {
    let bulkhead = Fixture::new("").start();
    let client = bulkhead.client();
    assert_eq!(client.post_events(r#"{"series":"s","value":42}"#).unwrap().status, 202);
    let before = bulkhead.wait_until_committed();
    assert_eq!(bulkhead.cli(&["stop", "analytics"]).code, Some(0));

    assert_eq!(client.post_events(r#"{"series":"s","value":43}"#).unwrap().status, 202);

    let series = client.get_json("/v1/series/s");
    assert_eq!((series["count"].as_u64(), series["max"].as_f64()), (Some(1), Some(42.0)), "{series}");
    assert_eq!(series["committed_seq"], before["committed_seq"], "{series}");
    assert_eq!(client.get_json("/v1/series?prefix=s")["items"].as_array().unwrap().len(), 1);
    let stats = client.get_json("/v1/stats");
    assert_eq!((&stats["accepted"], &stats["pending"]), (&2.into(), &1.into()), "{stats}");
    assert_eq!(client.get("/v1/series/unknown").unwrap().status, 404);
    let ready = client.get("/readyz").unwrap();
    assert_eq!((ready.status, &ready.json()["analytics"]), (200, &"stopped".into()), "{ready:?}");
}

#[test]
fn a_full_ring_refuses_the_whole_batch_with_503_and_accepts_it_later() {
    let bulkhead = Fixture::new("[link]\ncapacity = \"4MiB\"\n").start();
    let client = bulkhead.client();
    assert_eq!(bulkhead.cli(&["stop", "analytics"]).code, Some(0));
    let batch = bulky_batch();
    let mut accepted = 0;
    let refused = loop {
        let response = client.post_events(&batch).unwrap();
        if response.status != 202 {
            break response;
        }
        accepted += EVENTS;
    };

    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.header("retry-after").parse::<u32>().is_ok(), "{refused:?}");
    assert!(refused.header("content-type").starts_with("application/problem+json"), "{refused:?}");
    let stats = client.get_json("/v1/stats");
    assert_eq!((&stats["accepted"], &stats["pending"]), (&accepted.into(), &accepted.into()), "{stats}");
    assert_eq!(stats["api"]["ring_full"], 1, "{stats}");
    bulkhead.log().from_start().wait_for("a line that names the key", |line| {
        line.raw().contains("the ring is full") && line.raw().contains("link.capacity")
    });
    let ready = client.get("/readyz").unwrap();
    assert_eq!(ready.status, 200, "{ready:?}");
    assert_eq!(ready.json()["ring"], "full", "{ready:?}");
    let status = || bulkhead.cli(&["status"]).stdout;
    assert!(status().contains("link.capacity (4MiB)"), "{}", status());

    assert_eq!(bulkhead.cli(&["start", "analytics"]).code, Some(0));
    assert_eq!(bulkhead.wait_until_committed()["analysed"], accepted);
    assert!(!status().contains("link.capacity"), "{}", status());
    assert_eq!(client.post_events(&batch).unwrap().status, 202);
    assert_eq!(bulkhead.wait_until_committed()["analysed"], accepted + EVENTS);
    assert_eq!(client.get_json("/v1/series/bulky")["count"], accepted + EVENTS);
}

#[test]
fn a_batch_larger_than_the_ring_is_refused_with_413() {
    let bulkhead = Fixture::new("[link]\ncapacity = \"4MiB\"\n[api]\nmax_body = \"16MiB\"\n").start();
    let client = bulkhead.client();
    let inner = bulky_batch();
    let inner = inner.trim_start_matches('[').trim_end_matches(']');
    let response = client.post_events(&format!("[{}]", vec![inner; 30].join(","))).unwrap();
    assert_eq!(response.status, 413, "{}", response.body);
    assert_eq!(client.get_json("/v1/stats")["accepted"], 0);
}

#[test]
fn pending_events_survive_a_clean_stop() {
    let bulkhead = Fixture::new("").start();
    assert_eq!(bulkhead.cli(&["stop", "analytics"]).code, Some(0));
    for value in 0..100 {
        let body = format!(r#"{{"series":"s","value":{value}}}"#);
        assert_eq!(bulkhead.client().post_events(&body).unwrap().status, 202);
    }
    let stopped = bulkhead.stop(bulkhead_tests::process::Signal::SIGTERM);
    assert!(stopped.status.success(), "{:?} after\n{}", stopped.status, stopped.log.dump());

    let again = stopped.fixture.start();

    let stats = again.wait_until_committed();
    assert_eq!((&stats["accepted"], &stats["analysed"]), (&100.into(), &100.into()), "{stats}");
    let next = again.client().post_events(r#"{"series":"s","value":100}"#).unwrap().json();
    assert_eq!(next["first_seq"], 101, "seqs must continue: {next}");
    let first = again.last_line("worker_started", "api").number("generation").unwrap();
    let before = stopped.log.matching(|line| line.is("worker_started"));
    assert!(
        before.iter().all(|line| line.number("generation").unwrap() < first),
        "a generation number was reused"
    );
}
