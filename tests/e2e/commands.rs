//! What an operator can do to a worker.

use bulkhead_tests::{Bulkhead, Home, Said, binaries, http::Client};
use serde_json::Value;

fn row(client: &Client, worker: &str) -> Value {
    let rows = client.json("/v1/workers");
    let row = rows["items"].as_array().unwrap().iter().find(|row| row["name"] == worker).cloned();
    row.unwrap_or_else(|| panic!("no {worker} in {rows}"))
}

fn done(said: &Said) {
    assert_eq!(said.code, Some(0), "{said:?}");
}

/// A supervisor whose analysis is a link in its home: another program can be put in its place.
fn with_replaceable_analysis() -> Bulkhead {
    let home = Home::new("");
    let program = home.link("analysis", &binaries::find(binaries::ANALYTICS));
    std::fs::write(
        home.path("bulkhead.toml"),
        format!("[analytics]\ncommand = [{:?}]\n", program.to_str().unwrap()),
    )
    .unwrap();
    home.start()
}

#[test]
fn a_worker_that_was_stopped_stays_stopped_until_it_is_started() {
    let bulkhead = Home::new("").start();
    let client = bulkhead.client();
    let mut story = bulkhead.log().from_now();

    done(&bulkhead.say(&["stop", "analytics"]));
    let died = story.wait_for_worker("worker_died", "analytics");
    assert_eq!(died.text("cause"), "requested", "{}", died.raw());
    assert_eq!(row(&client, "analytics")["state"], "stopped");
    assert_eq!(client.post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    assert_eq!(client.json("/v1/stats")["pending"], 1);

    done(&bulkhead.say(&["start", "analytics"]));
    story.wait_for_worker("worker_activated", "analytics");
    assert_eq!(bulkhead.settled()["analysed"], 1);
}

#[test]
fn restart_analytics_starts_the_successor_before_the_old_one_leaves() {
    let bulkhead = Home::new("").start();
    let client = bulkhead.client();
    let old = bulkhead.last("worker_activated", "analytics").number("generation").unwrap();
    let mut story = bulkhead.log().from_now();

    done(&bulkhead.say(&["restart", "analytics"]));

    let ready = story.wait_for_worker("worker_ready", "analytics").number("generation").unwrap();
    let died = story.wait_for_worker("worker_died", "analytics");
    let activated = story.wait_for_worker("worker_activated", "analytics");
    assert!(ready > old);
    assert_eq!(died.number("generation"), Some(old), "{}", died.raw());
    assert_eq!(activated.number("generation"), Some(ready), "{}", activated.raw());
    assert_eq!(client.post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    assert_eq!(bulkhead.settled()["analysed"], 1);
}

#[test]
fn a_new_analysis_that_cannot_start_leaves_the_old_one_working() {
    let bulkhead = with_replaceable_analysis();
    let client = bulkhead.client();
    let old = row(&client, "analytics");
    bulkhead.home().link("analysis", "/bin/false".as_ref());

    let said = bulkhead.say(&["restart", "analytics"]);

    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(!said.err.is_empty(), "{said:?}");
    let now = row(&client, "analytics");
    assert_eq!((&now["pid"], &now["state"]), (&old["pid"], &old["state"]), "{said:?}");
    assert_eq!(client.post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    assert_eq!(bulkhead.settled()["analysed"], 1);

    bulkhead.home().link("analysis", &binaries::find(binaries::ANALYTICS));
    done(&bulkhead.say(&["restart", "analytics"]));
    assert_ne!(row(&client, "analytics")["pid"], old["pid"]);
}

#[test]
fn restart_api_refuses_nobody_and_breaks_no_request() {
    let bulkhead = Home::new("").start();
    let old = bulkhead.pid_of("api");
    std::thread::scope(|scope| {
        let restart = scope.spawn(|| bulkhead.say(&["restart", "api"]));
        let mut posted = 0;
        while !restart.is_finished() || posted == 0 {
            // A new connection each: one that is kept alive may be closed by the old API between two requests.
            let answer = bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap();
            assert_eq!(answer.status, 202, "{answer:?}");
            posted += 1;
        }
        done(&restart.join().unwrap());
        assert_eq!(bulkhead.settled()["accepted"], posted);
    });
    assert_ne!(bulkhead.pid_of("api"), old);
}

#[test]
fn restart_gives_a_plain_worker_a_new_process() {
    let bulkhead = Home::new("[[worker]]\nname = \"idle\"\ncommand = [\"sleep\", \"infinity\"]\n").start();
    bulkhead.log().from_start().wait_for_worker("worker_ready", "idle");
    let old = bulkhead.pid_of("idle");
    let mut story = bulkhead.log().from_now();
    done(&bulkhead.say(&["restart", "idle"]));
    story.wait_for_worker("worker_died", "idle");
    assert_ne!(story.wait_for_worker("worker_ready", "idle").pid(), old);
}

#[test]
fn status_tells_the_same_to_people_and_to_programs() {
    let bulkhead = Home::new("").start();
    let said = bulkhead.say(&["status"]);
    done(&said);
    for word in ["api", "analytics", "running", "accepted"] {
        assert!(said.out.contains(word), "no {word} in\n{}", said.out);
    }
    assert!(said.out.lines().all(|line| line.chars().count() <= 80), "wider than a terminal:\n{}", said.out);

    let said = bulkhead.say(&["status", "--json"]);
    done(&said);
    let status: Value = serde_json::from_str(&said.out).unwrap();
    let pids: Vec<_> =
        status["workers"].as_array().unwrap().iter().map(|row| row["pid"].as_i64().unwrap()).collect();
    for worker in ["api", "analytics"] {
        assert!(pids.contains(&i64::from(bulkhead.pid_of(worker))), "{status}");
    }
}

#[test]
fn a_command_for_an_unknown_worker_names_the_known_ones() {
    let bulkhead = Home::new("").start();
    for command in ["start", "stop", "restart"] {
        let said = bulkhead.say(&[command, "nobody"]);
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains("analytics"), "{said:?}");
    }
}

#[test]
fn without_a_supervisor_commands_say_where_they_looked() {
    let home = Home::new("");
    let said = home.say(&["status"]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.err.contains("control.sock"), "{said:?}");
}
