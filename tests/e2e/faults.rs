//! Induced deaths, by the three ways in, and refused unless enabled.

use crate::{FAULTS, HANGS};
use bulkhead_proto::wire::fault::FaultKind;
use bulkhead_tests::{Bulkhead, Home, faults::is_told, http::Failure, log::Line};

/// The next death of this worker, and the activation of its successor.
fn death_and_return(bulkhead: &Bulkhead, worker: &str, induce: impl FnOnce()) -> Line {
    let mut story = bulkhead.log().from_now();
    induce();
    let died = story.wait_for_worker("worker_died", worker);
    story.wait_for_worker("worker_activated", worker);
    died
}

#[test]
fn every_fault_by_command_ends_the_worker_that_was_named_and_it_comes_back() {
    let bulkhead = Home::new(HANGS).start();
    for worker in ["analytics", "api"] {
        for kind in FaultKind::ALL {
            let died = death_and_return(&bulkhead, worker, || {
                let said = bulkhead.say(&["fault", worker, kind.as_str()]);
                assert_eq!(said.code, Some(0), "{said:?}");
            });
            assert_eq!(died.text("cause"), "requested", "{}", died.raw());
            assert!(died.text("detail").contains(kind.as_str()), "{}", died.raw());
        }
    }
}

#[test]
fn every_fault_by_http_ends_the_worker_that_was_named_and_it_comes_back() {
    let bulkhead = Home::new(HANGS).start();
    for worker in ["analytics", "api"] {
        for kind in FaultKind::ALL {
            let died = death_and_return(&bulkhead, worker, || {
                let path = format!("/v1/faults/{worker}/{kind}");
                match bulkhead.client().post(&path, "application/json", "") {
                    Ok(answer) => assert_eq!(answer.status, 202, "{answer:?}"),
                    // It may have been carried out before the answer was written.
                    Err(Failure::Broken(_)) if worker == "api" => {}
                    Err(failure) => panic!("{path}: {failure:?}"),
                }
            });
            assert_eq!(died.text("cause"), "requested", "{}", died.raw());
            assert!(died.text("detail").contains(kind.as_str()), "{}", died.raw());
        }
        let rows = bulkhead.client().json("/v1/workers");
        let row = rows["items"].as_array().unwrap().iter().find(|row| row["name"] == worker).unwrap();
        assert_eq!(row["restarts"], FaultKind::ALL.len(), "{row}");
        assert_eq!(row["last_crash"]["cause"], "requested", "{row}");
    }
}

#[test]
fn every_fault_by_event_ends_the_analysis_which_is_explained_with_the_event() {
    for kind in FaultKind::ALL {
        let bulkhead = Home::new(HANGS).start();
        let mut story = bulkhead.log().from_now();
        let body = format!(r#"{{"series":"__fault.{kind}","value":1}}"#);
        let answer = bulkhead.client().post_events(&body).unwrap();
        assert_eq!(answer.status, 202, "{answer:?}");

        let died = story.wait_for_worker("worker_died", "analytics");

        assert!(is_told(*kind, died.text("cause"), died.text("detail")), "{}", died.raw());
        assert_eq!(died.number("seq"), answer.json()["first_seq"].as_u64(), "{}", died.raw());
    }
}

#[test]
fn a_plain_worker_can_be_killed_and_comes_back_and_other_faults_are_refused() {
    let config = format!("{FAULTS}[[worker]]\nname = \"idle\"\ncommand = [\"sleep\", \"infinity\"]\n");
    let bulkhead = Home::new(&config).start();
    bulkhead.log().from_start().wait_for_worker("worker_ready", "idle");
    let mut story = bulkhead.log().from_now();
    let said = bulkhead.say(&["fault", "idle", "kill"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    story.wait_for_worker("worker_died", "idle");
    story.wait_for_worker("worker_ready", "idle");
    let said = bulkhead.say(&["fault", "idle", "panic"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("kill"), "it should name the fault that works: {said:?}");
}

#[test]
fn faults_are_refused_with_a_clear_error_unless_they_are_enabled() {
    let bulkhead = Home::new("").start();
    let said = bulkhead.say(&["fault", "analytics", "panic"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("[faults]"), "it should name the setting: {said:?}");

    let answer = bulkhead.client().post("/v1/faults/analytics/panic", "application/json", "").unwrap();
    assert_eq!(answer.status, 404, "{answer:?}");

    let answer = bulkhead.client().post_events(r#"{"series":"__fault.panic","value":1}"#).unwrap();
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.header("content-type").starts_with("application/problem+json"), "{answer:?}");
    assert!(answer.body.contains("faults"), "it should name the setting: {answer:?}");

    assert_eq!(bulkhead.log().all(|line| line.is("worker_died")).len(), 0);
}

#[test]
fn an_unknown_fault_or_worker_is_an_error_that_names_the_known_ones() {
    let bulkhead = Home::new(FAULTS).start();
    let said = bulkhead.say(&["fault", "analytics", "sneeze"]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(said.err.contains("segv"), "{said:?}");
    let said = bulkhead.say(&["fault", "nobody", "panic"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.err.contains("analytics"), "{said:?}");
    let answer = bulkhead.client().post("/v1/faults/nobody/panic", "application/json", "").unwrap();
    assert_eq!(answer.status, 404, "{answer:?}");
}
