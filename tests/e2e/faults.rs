//! Faults by command, by HTTP and by event, and their refusal unless they are enabled.

use crate::common::{FAULTS_AND_SHORT_HANG_TIMEOUTS, FAULTS_ENABLED};
use bulkhead_proto::wire::fault::FaultKind;
use bulkhead_tests::{Bulkhead, Fixture, expected_death::death_matches, http::RequestError, log::Line};

/// The next death of this worker. Waits for the activation of the next generation.
fn death_and_restart(bulkhead: &Bulkhead, worker: &str, induce: impl FnOnce()) -> Line {
    let mut log = bulkhead.log().from_now();
    induce();
    let died = log.wait_for_worker("worker_died", worker);
    log.wait_for_worker("worker_activated", worker);
    died
}

#[test]
fn every_fault_by_command_kills_the_named_worker_which_is_restarted() {
    let bulkhead = Fixture::new(FAULTS_AND_SHORT_HANG_TIMEOUTS).start();
    for worker in ["analytics", "api"] {
        for kind in FaultKind::ALL {
            let died = death_and_restart(&bulkhead, worker, || {
                let output = bulkhead.cli(&["fault", worker, kind.as_str()]);
                assert_eq!(output.code, Some(0), "{output:?}");
            });
            assert_eq!(died.text("cause"), "requested", "{}", died.raw());
            assert!(died.text("detail").contains(kind.as_str()), "{}", died.raw());
        }
    }
}

#[test]
fn every_fault_by_http_kills_the_named_worker_which_is_restarted() {
    let bulkhead = Fixture::new(FAULTS_AND_SHORT_HANG_TIMEOUTS).start();
    for worker in ["analytics", "api"] {
        for kind in FaultKind::ALL {
            let died = death_and_restart(&bulkhead, worker, || {
                let path = format!("/v1/faults/{worker}/{kind}");
                match bulkhead.client().post(&path, "application/json", "") {
                    Ok(response) => assert_eq!(response.status, 202, "{response:?}"),
                    // The fault may have been executed before the API wrote the response.
                    Err(RequestError::Broken(_)) if worker == "api" => {}
                    Err(error) => panic!("{path}: {error:?}"),
                }
            });
            assert_eq!(died.text("cause"), "requested", "{}", died.raw());
            assert!(died.text("detail").contains(kind.as_str()), "{}", died.raw());
        }
        let rows = bulkhead.client().get_json("/v1/workers");
        let row = rows["items"].as_array().unwrap().iter().find(|row| row["name"] == worker).unwrap();
        assert_eq!(row["restarts"], FaultKind::ALL.len(), "{row}");
        assert_eq!(row["last_crash"]["cause"], "requested", "{row}");
    }
}

#[test]
fn every_fault_by_event_kills_the_analysis_and_the_log_names_the_event() {
    for kind in FaultKind::ALL {
        let bulkhead = Fixture::new(FAULTS_AND_SHORT_HANG_TIMEOUTS).start();
        let mut log = bulkhead.log().from_now();
        let body = format!(r#"{{"series":"__fault.{kind}","value":1}}"#);
        let response = bulkhead.client().post_events(&body).unwrap();
        assert_eq!(response.status, 202, "{response:?}");

        let died = log.wait_for_worker("worker_died", "analytics");

        assert!(death_matches(*kind, died.text("cause"), died.text("detail")), "{}", died.raw());
        assert_eq!(died.number("seq"), response.json()["first_seq"].as_u64(), "{}", died.raw());
    }
}

#[test]
fn a_plain_worker_accepts_only_the_kill_fault() {
    let config =
        format!("{FAULTS_ENABLED}[[worker]]\nname = \"idle\"\ncommand = [\"sleep\", \"infinity\"]\n");
    let bulkhead = Fixture::new(&config).start();
    bulkhead.log().from_start().wait_for_worker("worker_ready", "idle");
    let mut log = bulkhead.log().from_now();
    let output = bulkhead.cli(&["fault", "idle", "kill"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    log.wait_for_worker("worker_died", "idle");
    log.wait_for_worker("worker_ready", "idle");
    let output = bulkhead.cli(&["fault", "idle", "panic"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("kill"), "the error must name the supported fault: {output:?}");
}

#[test]
fn faults_are_refused_unless_they_are_enabled() {
    let bulkhead = Fixture::new("").start();
    let output = bulkhead.cli(&["fault", "analytics", "panic"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("[faults]"), "the error must name the setting: {output:?}");

    let response = bulkhead.client().post("/v1/faults/analytics/panic", "application/json", "").unwrap();
    assert_eq!(response.status, 404, "{response:?}");

    let response = bulkhead.client().post_events(r#"{"series":"__fault.panic","value":1}"#).unwrap();
    assert_eq!(response.status, 400, "{response:?}");
    assert!(response.header("content-type").starts_with("application/problem+json"), "{response:?}");
    assert!(response.body.contains("faults"), "the error must name the setting: {response:?}");

    assert_eq!(bulkhead.log().matching(|line| line.is("worker_died")).len(), 0);
}

#[test]
fn an_unknown_fault_or_worker_is_an_error_that_names_the_known_ones() {
    let bulkhead = Fixture::new(FAULTS_ENABLED).start();
    let output = bulkhead.cli(&["fault", "analytics", "sneeze"]);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("segv"), "{output:?}");
    let output = bulkhead.cli(&["fault", "unknown", "panic"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("analytics"), "{output:?}");
    let response = bulkhead.client().post("/v1/faults/unknown/panic", "application/json", "").unwrap();
    assert_eq!(response.status, 404, "{response:?}");
}
