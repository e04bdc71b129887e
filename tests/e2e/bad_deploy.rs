//! A wrong program of the analysis is deployed while events arrive. The brake parks it and quarantines few events or none; the API
//! is unharmed; after the right program is started and the quarantine is replayed, every event is counted once.

use bulkhead_proto::wire::series::OVERFLOW_SERIES;
use bulkhead_tests::{
    Bulkhead, Fixture,
    background_readers::with_background_readers,
    binaries,
    event_id::{EventId, SeriesTotals},
    eventually,
    http::Client,
};
use std::collections::BTreeMap;

/// Events of one request, requests before the wrong program, and requests in all.
const EVENTS: usize = 20;
const BEFORE: usize = 40;
const REQUESTS: usize = 120;

/// The most events that are quarantined until the brake engages by their share.
const MAX_QUARANTINED: u64 = 20;

fn program(flaw: &str) -> String {
    let binary = binaries::find("bulkhead-misbehave");
    format!("[analytics]\ncommand = [{binary:?}, \"bad-deploy={flaw}\"]\n")
}

fn deploy(bulkhead: &Bulkhead, flaw: &str) {
    bulkhead.fixture().write_config(&program(flaw));
    let output = bulkhead.cli(&["reload"]);
    // A program that dies at once may be reported as failed. What happens then is what the tests check.
    assert!(matches!(output.code, Some(0 | 1)), "{output:?}");
}

fn ids(requests: std::ops::Range<usize>) -> impl Iterator<Item = EventId> {
    (requests.start * EVENTS..requests.end * EVENTS).map(|number| EventId { writer: 0, number })
}

fn post(client: &Client, requests: std::ops::Range<usize>) {
    for request in requests {
        let events: Vec<_> = ids(request..request + 1)
            .map(|id| format!(r#"{{"series":"{}","value":{}}}"#, id.series(), id.value()))
            .collect();
        let response = client.post_events(&format!("[{}]", events.join(","))).unwrap();
        assert_eq!(response.status, 202, "{response:?}");
    }
}

/// Every event of `requests` is counted once, by its id.
fn assert_each_counted_once(client: &Client, requests: std::ops::Range<usize>) {
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for id in ids(requests) {
        *expected.entry(id.series()).or_default() |= id.value();
    }
    let found: BTreeMap<String, u64> = client
        .all_series()
        .values()
        .map(SeriesTotals::of)
        .filter(|totals| totals.series != OVERFLOW_SERIES && totals.series != "bad")
        .map(|totals| {
            assert!(totals.each_counted_once(), "an event was counted twice: {totals:?}");
            (totals.series, totals.sum.unwrap())
        })
        .collect();
    assert_eq!(found, expected);
}

/// A service with this program that has committed the first events.
fn running(flaw: &str) -> (Bulkhead, Client) {
    let bulkhead = Fixture::new(&program(flaw)).start();
    let client = bulkhead.client();
    post(&client, 0..BEFORE);
    bulkhead.wait_until_committed();
    (bulkhead, client)
}

/// The analysis in `GET /v1/workers`.
fn analytics(client: &Client) -> serde_json::Value {
    let workers = client.get_json("/v1/workers");
    let rows = workers["items"].as_array().unwrap();
    rows.iter().find(|row| row["name"] == "analytics").unwrap_or_else(|| panic!("{workers}")).clone()
}

/// The number of deaths of the analysis in the log.
fn deaths(bulkhead: &Bulkhead) -> usize {
    bulkhead.log().matching(|line| line.is_worker_event("worker_died", "analytics")).len()
}

/// Deploys a wrong program while events arrive, and waits until the brake parks it. Returns the running service.
fn braked(flaw: &str) -> Bulkhead {
    let (bulkhead, client) = running("none");
    let mut log = bulkhead.log().from_now();
    with_background_readers(&bulkhead, 1, || {
        deploy(&bulkhead, flaw);
        post(&client, BEFORE..REQUESTS);
        log.wait_for_worker("worker_braked", "analytics");
    });
    assert_eq!(client.get_json("/readyz")["analytics"], "parked");
    let status = bulkhead.cli(&["status"]);
    assert!(status.stdout.contains("brake of analytics: "), "{status:?}");
    bulkhead
}

/// Starts the right program, replays the quarantine, and checks that every event is counted once.
fn mend(bulkhead: &Bulkhead) {
    deploy(bulkhead, "none");
    bulkhead.wait_until_committed();
    let output = bulkhead.cli(&["quarantine", "replay", "--all"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    bulkhead.wait_until_committed();
    assert_eq!(bulkhead.client().get_json("/v1/quarantine")["items"], serde_json::json!([]));
    assert_each_counted_once(&bulkhead.client(), 0..REQUESTS);
}

/// The number of quarantined events, once the failed events that were not skipped have left the quarantine.
fn quarantined(bulkhead: &Bulkhead) -> u64 {
    let client = bulkhead.client();
    let mut stored = 0;
    eventually(bulkhead.log(), "the quarantine to hold what was skipped", || {
        stored = client.all_items("/v1/quarantine?limit=100").len() as u64;
        client.get_json("/v1/stats")["quarantined"] == stored
    });
    stored
}

#[test]
fn a_program_that_panics_at_every_event_has_nothing_quarantined() {
    let bulkhead = braked("100");
    assert_eq!(quarantined(&bulkhead), 0);
    let starts = || bulkhead.log().matching(|line| line.is_worker_event("worker_started", "analytics")).len();
    let before = starts();
    mend(&bulkhead);
    assert_eq!(starts(), before + 1, "the reload starts the right program, and no other one before it");
}

#[test]
fn a_program_whose_state_grows_too_large_has_nothing_quarantined() {
    let bulkhead = braked("grows");
    assert_eq!(quarantined(&bulkhead), 0);
    let died = bulkhead.last_line("worker_died", "analytics");
    assert!(died.text("detail").contains("is too large"), "{}", died.raw());
    mend(&bulkhead);
}

#[test]
fn a_program_that_panics_at_half_of_the_events_has_at_most_twenty_quarantined() {
    let bulkhead = braked("50");
    let count = quarantined(&bulkhead);
    assert!(count <= MAX_QUARANTINED, "{count}");
    mend(&bulkhead);
}

#[test]
fn a_program_that_cannot_render_counts_every_event_and_reads_say_so() {
    let (bulkhead, client) = running("none");
    deploy(&bulkhead, "render");
    post(&client, BEFORE..REQUESTS);
    bulkhead.wait_until_committed();
    let series = EventId { writer: 0, number: REQUESTS * EVENTS - 1 }.series();
    let response = client.get(&format!("/v1/series/{series}")).unwrap();
    assert_eq!(response.status, 500, "{response:?}");
    assert_eq!(response.json()["type"], "urn:bulkhead:problem:render-failed", "{response:?}");
    assert!(
        response.body.contains("render panicked: ") && response.body.contains("bad_deploy.rs"),
        "{response:?}"
    );
    assert_eq!(deaths(&bulkhead), 1);
    assert_eq!(quarantined(&bulkhead), 0);
    deploy(&bulkhead, "none");
    post(&client, REQUESTS..2 * REQUESTS);
    bulkhead.wait_until_committed();
    // A series is rendered again when it changes.
    let rendered = client
        .get(&format!("/v1/series/{}", EventId { writer: 0, number: 2 * REQUESTS * EVENTS - 1 }.series()));
    assert_eq!(rendered.unwrap().status, 200);
}

#[test]
fn a_program_that_panics_at_one_percent_of_the_events_is_not_parked() {
    let bulkhead = Fixture::new(&program("1")).start();
    let client = bulkhead.client();
    post(&client, 0..REQUESTS);
    bulkhead.wait_until_committed();
    let failed = quarantined(&bulkhead);
    assert!(failed > 0, "no event failed: the test shows nothing");
    for event_name in ["worker_braked", "worker_parked"] {
        assert_eq!(bulkhead.log().matching(|line| line.is(event_name)).len(), 0, "{event_name}");
    }
    mend(&bulkhead);
}

#[test]
fn a_program_whose_state_does_not_fit_is_refused_while_its_predecessor_continues() {
    let (bulkhead, client) = running("none");
    let before = bulkhead.worker_pid("analytics");
    bulkhead.fixture().write_config(&program("changed-state"));
    let output = bulkhead.cli(&["reload"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stdout.contains("config: the stored states do not fit this program"), "{output:?}");
    assert!(output.stdout.contains("missing field `largest`"), "{output:?}");
    post(&client, BEFORE..REQUESTS);
    bulkhead.wait_until_committed();
    assert_each_counted_once(&client, 0..REQUESTS);
    let row = analytics(&client);
    assert_eq!((&row["state"], &row["pid"]), (&"running".into(), &before.into()), "{row}");
}

#[test]
fn quarantined_events_are_replayed_and_dropped_in_bulk_by_filter() {
    let bulkhead =
        Fixture::new(&program("20").replace("[analytics]", "[analytics]\nbrake = \"off\"")).start();
    let client = bulkhead.client();
    post(&client, 0..BEFORE);
    bulkhead.wait_until_committed();
    let all = quarantined(&bulkhead);
    let of_series = |prefix: &str| {
        let entries = client.all_items("/v1/quarantine?limit=100");
        entries.iter().filter(|entry| entry["event"]["series"].as_str().unwrap().starts_with(prefix)).count()
            as u64
    };
    let selected = of_series("w0-000-1");
    assert!(selected > 0 && selected < all, "{selected} of {all}");
    deploy(&bulkhead, "none");

    let refused = client.post("/v1/quarantine/replay", "", "").unwrap();
    assert_eq!(refused.status, 400, "{refused:?}");
    let none = bulkhead.cli(&["quarantine", "drop", "--all", "--cause", "hang"]);
    assert_eq!((none.code, none.stdout.trim()), (Some(0), "0 events dropped"), "{none:?}");
    let replayed = client.post("/v1/quarantine/replay?series=w0-000-1&cause=panic", "", "").unwrap();
    assert_eq!(
        (replayed.status, replayed.json()),
        (202, serde_json::json!({ "replayed": selected })),
        "{replayed:?}"
    );
    assert_eq!(of_series("w0-000-1"), 0);
    let output = bulkhead.cli(&["quarantine", "replay", "--all", "--series", "w0-000-2", "--json"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let output = bulkhead.cli(&["quarantine", "replay", "--all"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    bulkhead.wait_until_committed();
    assert_each_counted_once(&client, 0..BEFORE);
    let dropped = client.post("/v1/quarantine/drop?all=true", "", "").unwrap();
    assert_eq!(dropped.json(), serde_json::json!({ "dropped": 0 }));
}

#[test]
fn a_series_whose_events_all_fail_is_isolated_while_the_others_are_counted() {
    let bulkhead = Fixture::new(&program("series:bad")).start();
    let client = bulkhead.client();
    let mut log = bulkhead.log().from_now();
    // One event of the bad series after each request: fewer than the share that engages the brake.
    let bad = |values: std::ops::Range<usize>, requests: usize| {
        for value in values.clone() {
            post(&client, requests + value - values.start..requests + value - values.start + 1);
            let event = format!(r#"{{"series":"bad","value":{value}}}"#);
            assert_eq!(client.post_events(&event).unwrap().status, 202);
        }
    };
    bad(0..20, 0);
    let isolated = log.wait_for_worker("series_isolated", "analytics");
    assert!(isolated.raw().contains("bad"), "{}", isolated.raw());
    bulkhead.wait_until_committed();
    let before = deaths(&bulkhead);
    bad(20..40, 20);
    bulkhead.wait_until_committed();
    assert_each_counted_once(&client, 0..40);
    assert_eq!(deaths(&bulkhead), before, "an isolated series causes no deaths");
    assert_eq!(quarantined(&bulkhead), 40);
    let status = bulkhead.cli(&["status"]);
    assert!(status.stdout.contains("series bad is isolated"), "{status:?}");
    let row = analytics(&client);
    assert_eq!(row["isolated"], serde_json::json!(["bad"]), "{row}");

    deploy(&bulkhead, "none");
    let output = bulkhead.cli(&["quarantine", "replay", "--all", "--series", "bad"]);
    assert_eq!(output.stdout.trim(), "40 events replayed", "{output:?}");
    bulkhead.wait_until_committed();
    // Each value once: the values are 0 to 39.
    let series = client.get_json("/v1/series/bad");
    assert_eq!((&series["count"], &series["sum"]), (&40.into(), &780.into()), "{series}");
    assert!(!bulkhead.cli(&["status"]).stdout.contains("isolated"));
}
