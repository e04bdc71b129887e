//! Hangs: found out by missing progress, ended, explained; and what is none.

use crate::{FAULTS, crashes::report};
use bulkhead_tests::{Bulkhead, Home, eventually, log::Line, process};
use serde_json::Value;
use std::{io::Write as _, net::TcpStream};

/// A service whose worker misbehaves in this way, is soon found hanging, and is parked after its first death.
fn service(worker: &str, way: &str) -> Bulkhead {
    let config = format!(
        "restart.limit = 1\n[{worker}]\nhang_timeout = \"200ms\"\ncommand = [{:?}, {way:?}]\n",
        env!("CARGO_BIN_EXE_bulkhead-misbehave")
    );
    Home::new(&config).begin()
}

/// The first death of that worker, which was for a hang.
fn hang(bulkhead: &Bulkhead, worker: &str, way: &str) -> Line {
    let died = bulkhead.log().from_start().wait_for_worker("worker_died", worker);
    assert_eq!(died.text("cause"), "hang", "{way}: {}", died.raw());
    let threads = bulkhead.last("worker_examined", worker);
    assert!(threads.text("message").contains("its threads: "), "{way}: {}", threads.raw());
    died
}

/// Series by series, what is to be counted is; the rest is set aside.
fn assert_counts(bulkhead: &Bulkhead, series: &str, count: u64, set_aside: u64) {
    let stats = bulkhead.settled();
    assert_eq!((&stats["analysed"], &stats["quarantined"]), (&count.into(), &set_aside.into()), "{stats}");
    assert_eq!(bulkhead.client().json(&format!("/v1/series/{series}"))["count"], count);
}

#[test]
fn an_analysis_that_gets_nowhere_in_any_way_is_ended_while_the_api_accepts_and_answers() {
    for (way, why) in [
        ("spins", "no progress for"),
        ("deadlocks", "no progress for"),
        ("freezes", "no progress for"),
        ("runs-backwards", "no progress for"),
        ("runs-ahead", "no progress for"),
        ("stays-parked", "no progress for"),
        ("drips", "no commit for"),
        ("closes-all-pipes-at-work", "no commit for"),
    ] {
        let bulkhead = service("analytics", way);
        bulkhead.log().from_start().wait_for_worker("worker_activated", "api");
        let client = bulkhead.client();
        // More than one that drips gets through until it is found out.
        let events = [r#"{"series":"s","value":1}"#; 1000].join(",");
        assert_eq!(client.post_events(&format!("[{events}]")).unwrap().status, 202);
        let died = hang(&bulkhead, "analytics", way);
        assert!(died.text("detail").contains(why), "{way}: {}", died.raw());
        assert_eq!(client.post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
        assert_eq!(client.json("/v1/stats")["pending"], 1001, "{way}");
    }
}

#[test]
fn an_event_that_hangs_the_analysis_is_set_aside_and_the_others_count() {
    for kind in ["hang", "freeze"] {
        let bulkhead = Home::new(&format!("{FAULTS}[analytics]\nhang_timeout = \"200ms\"\n")).start();
        let client = bulkhead.client();
        let events = format!(
            r#"[{{"series":"s","value":1}},{{"series":"__fault.{kind}","value":1}},{{"series":"s","value":1}}]"#
        );
        assert_eq!(client.post_events(&events).unwrap().status, 202);
        assert_counts(&bulkhead, "s", 2, 1);
        // The log may come later than the answers: behind this line, all of them are there.
        bulkhead.log().from_start().wait_for_worker("event_quarantined", "analytics");
        let deaths = bulkhead.log().all(|line| line.tells("worker_died", "analytics"));
        assert_eq!(deaths.len(), 2, "{}", bulkhead.log().dump());
        for died in deaths {
            assert_eq!((died.text("cause"), died.number("seq")), ("hang", Some(2)), "{}", died.raw());
            // While it lived, it told where.
            let report = report(&bulkhead, died.number("crash").unwrap());
            let place =
                |frame: &Value| frame.as_str().is_some_and(|frame| frame.contains("fault::execute at "));
            assert!(
                report["backtrace"].as_array().is_some_and(|all| all.iter().any(place)),
                "{kind}: {report}"
            );
        }
    }
}

#[test]
fn slow_events_are_no_hang_and_one_that_is_too_slow_is() {
    let config = format!(
        "[analytics]\nhang_timeout = \"400ms\"\ncommand = [{:?}, \"applies-slowly\"]\n",
        env!("CARGO_BIN_EXE_bulkhead-misbehave")
    );
    let bulkhead = Home::new(&config).start();
    let client = bulkhead.client();
    // Quick ones before them: the clock is looked at seldom then. Together they take longer than a commit may; each of them,
    // little enough for a machine on which others work as well.
    let events =
        [[r#"{"series":"s","value":0}"#; 100].join(","), [r#"{"series":"s","value":100}"#; 24].join(",")];
    assert_eq!(client.post_events(&format!("[{}]", events.join(","))).unwrap().status, 202);
    assert_counts(&bulkhead, "s", 124, 0);
    assert_eq!(bulkhead.log().all(|line| line.is("worker_died")).len(), 0, "{}", bulkhead.log().dump());

    assert_eq!(client.post_events(r#"{"series":"s","value":3600000}"#).unwrap().status, 202);
    assert_counts(&bulkhead, "s", 124, 1);
    hang(&bulkhead, "analytics", "an hour");
}

#[test]
fn an_api_that_does_not_accept_is_ended_whether_it_answers_the_supervisor_or_not() {
    for (way, why) in [("is-deaf", "no progress for"), ("accepts-nobody", "no connection accepted for")] {
        let bulkhead = service("api", way);
        bulkhead.log().from_start().wait_for_worker("worker_activated", "api");
        let _waits = TcpStream::connect(bulkhead.address()).unwrap();
        let died = hang(&bulkhead, "api", way);
        assert!(died.text("detail").contains(why), "{way}: {}", died.raw());
    }
}

#[test]
fn an_api_that_is_stopped_while_it_has_connections_is_replaced_and_those_that_come_wait_for_its_successor() {
    let bulkhead = Home::new("api.hang_timeout = \"200ms\"\n").start();
    let mut open = TcpStream::connect(bulkhead.address()).unwrap();
    open.write_all(b"GET /livez HTTP/1.1\r\n").unwrap();
    let mut story = bulkhead.log().from_now();
    let api = bulkhead.pid_of("api");
    bulkhead.signal_worker(api, process::Signal::SIGSTOP);
    // One that still ran could accept whom its successor is to answer.
    eventually(bulkhead.log(), "the API to be stopped", || process::is_stopped(api));
    let client = bulkhead.client();
    assert_eq!(client.get("/livez").unwrap().status, 200, "by the successor");
    let died = story.wait_for_worker("worker_died", "api");
    assert_eq!(died.text("cause"), "hang", "{}", died.raw());
}

#[test]
fn an_analysis_that_is_stopped_without_work_is_left_alone_until_there_is_some() {
    let bulkhead = Home::new("analytics.hang_timeout = \"200ms\"\n").start();
    let pid = bulkhead.pid_of("analytics");
    bulkhead.signal_worker(pid, process::Signal::SIGSTOP);
    let mut story = bulkhead.log().from_now();
    assert_eq!(bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    let died = story.wait_for_worker("worker_died", "analytics");
    assert_eq!((died.text("cause"), died.pid()), ("hang", pid), "{}", died.raw());
    assert_counts(&bulkhead, "s", 1, 0);
    eventually(bulkhead.log(), "status to tell of it", || bulkhead.say(&["status"]).out.contains("hang"));
}
