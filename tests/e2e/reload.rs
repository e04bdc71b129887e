//! The configuration is changed while the service runs.

use crate::FAULTS;
use bulkhead_tests::{
    Bulkhead, Home, Said, binaries,
    log::Line,
    process::{self, Signal},
};
use serde_json::{Value, json};

fn idle(name: &str) -> String {
    format!("[[worker]]\nname = \"{name}\"\ncommand = [\"sleep\", \"infinity\"]\n")
}

/// Puts this configuration in place and says `bulkhead reload`.
fn reload(bulkhead: &Bulkhead, config: &str) -> Said {
    bulkhead.home().configure(config);
    bulkhead.say(&["reload"])
}

#[track_caller]
fn assert_says(said: &Said, lines: &[&str]) {
    assert_eq!((said.code, said.out.lines().collect::<Vec<_>>()), (Some(0), lines.to_vec()), "{said:?}");
}

fn rows(bulkhead: &Bulkhead) -> Vec<Value> {
    let said = bulkhead.say(&["status", "--json"]);
    let report: Value = serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    report["workers"].as_array().unwrap().clone()
}

fn row(bulkhead: &Bulkhead, worker: &str) -> Value {
    let row = rows(bulkhead).into_iter().find(|row| row["name"] == worker);
    row.unwrap_or_else(|| panic!("no {worker} in {:?}", rows(bulkhead)))
}

fn pids(bulkhead: &Bulkhead) -> Vec<(String, Value)> {
    let pid = |row: &Value| (row["name"].as_str().unwrap().to_owned(), row["pid"].clone());
    rows(bulkhead).iter().map(pid).collect()
}

/// Sends SIGHUP and waits for what comes of it.
fn hang_up(bulkhead: &Bulkhead) -> Line {
    let mut story = bulkhead.log().from_now();
    process::signal(bulkhead.pid(), Signal::SIGHUP);
    story.wait_for("the end of the reload", |line| line.is("reloaded") || line.is("reload_failed"))
}

#[test]
fn workers_are_added_and_removed_and_the_others_are_left_alone() {
    let bulkhead = Home::new(&idle("one")).start();
    bulkhead.log().from_start().wait_for_worker("worker_ready", "one");
    let before = pids(&bulkhead);

    let said = reload(&bulkhead, &format!("{}{}", idle("two"), idle("one")));
    assert_says(&said, &["worker two added: started, generation 4"]);
    assert_eq!(pids(&bulkhead)[..3], before, "nobody else was touched");
    assert_eq!(row(&bulkhead, "two")["state"], "running");

    let one = bulkhead.pid_of("one");
    let said = reload(&bulkhead, &idle("two"));
    assert_says(&said, &["worker one removed: stopped"]);
    assert!(process::parent(one).is_none(), "its process is gone");
    let names: Vec<_> = pids(&bulkhead).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["api", "analytics", "two"]);
    assert_says(&reload(&bulkhead, &idle("two")), &["nothing changed"]);
}

#[test]
fn a_wrong_file_is_explained_and_leaves_the_one_in_force() {
    let bulkhead = Home::new("").start();
    let before = pids(&bulkhead);
    let mut story = bulkhead.log().from_now();
    let said = reload(&bulkhead, "[api]\nlissten = 1\n[link]\ncapacity = \"1B\"\n");
    assert_eq!(said.code, Some(2), "{said:?}");
    for word in ["bulkhead.toml:2:1", "lissten = 1", "capacity = \"1B\"", "stays"] {
        assert!(said.err.contains(word), "no {word} in {said:?}");
    }
    let failed = story.wait_for("the record of it", |line| line.is("reload_failed"));
    let text = failed.text("message");
    assert!(text.contains("bulkhead.toml:2:1: ") && text.contains(" | "), "{text}");
    assert_eq!(pids(&bulkhead), before);
    assert_says(&reload(&bulkhead, ""), &["nothing changed"]);
}

#[test]
fn sighup_reloads_too_and_the_log_tells_what_has_changed() {
    let bulkhead = Home::new("").start();
    assert_eq!(hang_up(&bulkhead).text("message"), "nothing changed");
    bulkhead.home().configure("restart.limit = 3");
    let told = hang_up(&bulkhead);
    assert_eq!(told.text("message"), "restart.limit: 3 instead of 10", "{}", told.raw());
    assert_eq!((told.text("what"), told.text("how")), ("restart.limit", "live"));
    bulkhead.home().configure("restart.limit = \"three\"");
    assert!(hang_up(&bulkhead).is("reload_failed"));
    assert!(process::parent(bulkhead.pid_of("api")).is_some(), "SIGHUP does not stop the service");
}

#[test]
fn of_many_sighups_in_a_row_the_last_file_wins() {
    let bulkhead = Home::new("").start();
    let mut story = bulkhead.log().from_now();
    for number in 1..=9 {
        bulkhead.home().configure(&format!("restart.limit = {number}\n{}", idle(&format!("w{number}"))));
        process::signal(bulkhead.pid(), Signal::SIGHUP);
    }
    story.wait_for("the worker of the last file", |line| {
        line.is("reloaded") && line.text("what") == "w9" && line.text("how") == "added"
    });
    assert_says(&bulkhead.say(&["reload"]), &["nothing changed"]);
    let names: Vec<_> = pids(&bulkhead).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["api", "analytics", "w9"]);
}

#[test]
fn another_analysis_takes_over_under_load_and_nothing_is_lost() {
    let bulkhead = Home::new("").start();
    let (program, api) = (binaries::find(binaries::ANALYTICS), bulkhead.pid_of("api"));
    std::thread::scope(|scope| {
        let reloading = scope.spawn(|| {
            for number in 0..3 {
                let link = bulkhead.home().link(&format!("analysis-{number}"), &program);
                let said =
                    reload(&bulkhead, &format!("[analytics]\ncommand = [{:?}]\n", link.to_str().unwrap()));
                assert_eq!(said.code, Some(0), "{said:?}");
                assert!(
                    said.out.starts_with("analytics: command changed: replaced, generation "),
                    "{said:?}"
                );
            }
        });
        let client = bulkhead.client();
        let mut posted = 0;
        while !reloading.is_finished() || posted == 0 {
            let answer =
                client.post_events(r#"[{"series":"s","value":1},{"series":"t","value":2}]"#).unwrap();
            assert_eq!(answer.status, 202, "{answer:?}");
            posted += 2;
        }
        reloading.join().unwrap();
        let stats = bulkhead.settled();
        assert_eq!((&stats["accepted"], &stats["analysed"]), (&json!(posted), &json!(posted)), "{stats}");
        assert_eq!(client.json("/v1/series/s")["count"], posted / 2);
    });
    assert_eq!(bulkhead.pid_of("api"), api, "the API was left alone");
}

#[test]
fn an_analysis_that_cannot_start_leaves_the_old_one_working_until_a_good_file_mends_it() {
    let bulkhead = Home::new(FAULTS).start();
    let old = row(&bulkhead, "analytics");
    let bad = format!("{FAULTS}[analytics]\ncommand = [\"/bin/false\"]\n");

    let said = reload(&bulkhead, &bad);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.out.starts_with("analytics: command changed: failed: generation "), "{said:?}");
    assert_eq!(row(&bulkhead, "analytics")["pid"], old["pid"]);
    // Should it die, it is started again as it was.
    let mut story = bulkhead.log().from_now();
    assert_eq!(bulkhead.say(&["fault", "analytics", "kill"]).code, Some(0));
    story.wait_for_worker("worker_activated", "analytics");

    assert_eq!(reload(&bulkhead, &bad).code, Some(1), "it is tried again, and told again");
    assert_says(&reload(&bulkhead, FAULTS), &["nothing changed"]);
    let good = format!("{FAULTS}[analytics]\ncommand = [{:?}]\n", binaries::find(binaries::ANALYTICS));
    let said = reload(&bulkhead, &good);
    assert!(said.out.starts_with("analytics: command changed: replaced, generation "), "{said:?}");
    assert_eq!(bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    assert_eq!(bulkhead.settled()["analysed"], 1);
}

#[test]
fn a_worker_that_was_stopped_stays_stopped_and_starts_with_its_new_command() {
    let bulkhead = Home::new(&idle("one")).start();
    bulkhead.log().from_start().wait_for_worker("worker_ready", "one");
    assert_eq!(bulkhead.say(&["stop", "one"]).code, Some(0));
    let said = reload(&bulkhead, &idle("one").replace("sleep\", \"infinity", "tail\", \"-f\", \"/dev/null"));
    assert_says(&said, &["one: command changed: takes effect when it is started, for it is stopped"]);
    assert_eq!(row(&bulkhead, "one")["state"], "stopped");
    assert_eq!(bulkhead.say(&["start", "one"]).code, Some(0));
    let pid = &row(&bulkhead, "one")["pid"];
    let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(command.starts_with("tail\0"), "{command:?}");
}

#[test]
fn faults_are_enabled_and_disabled_while_events_go_on() {
    let bulkhead = Home::new("").start();
    let induce =
        || bulkhead.client().post("/v1/faults/analytics/kill", "application/json", "").unwrap().status;
    let poison = || bulkhead.client().post_events(r#"{"series":"__fault.exit","value":1}"#).unwrap().status;
    assert_eq!((induce(), poison(), bulkhead.say(&["fault", "api", "kill"]).code), (404, 400, Some(1)));

    let said = reload(&bulkhead, FAULTS);
    assert_eq!(said.out.lines().next(), Some("faults.enabled: true instead of false"), "{said:?}");
    for worker in ["api", "analytics"] {
        assert!(said.out.contains(&format!("{worker}: faults.enabled changed: replaced")), "{said:?}");
    }
    let mut story = bulkhead.log().from_now();
    let mut comes_back = || {
        // Lines of the reload may still be on their way: those of the death come behind them.
        story.wait_for("its death", |line| {
            line.tells("worker_died", "analytics") && line.raw().contains("fault kill")
        });
        story.wait_for_worker("worker_activated", "analytics");
    };
    assert_eq!(induce(), 202);
    comes_back();
    assert_eq!(bulkhead.say(&["fault", "analytics", "kill"]).code, Some(0));
    comes_back();

    assert_eq!(reload(&bulkhead, "").code, Some(0));
    assert_eq!((induce(), poison(), bulkhead.say(&["fault", "api", "kill"]).code), (404, 400, Some(1)));
}

#[test]
fn what_only_a_start_of_the_service_can_change_is_told_each_time_and_stays() {
    let bulkhead = Home::new("").start();
    let later = "link.capacity: takes effect at the next start of the service (running: 64MiB, file: 128MiB)";
    for _ in 0..2 {
        assert_says(&reload(&bulkhead, "link.capacity = \"128MiB\""), &[later]);
        assert_eq!(bulkhead.client().json("/v1/stats")["ring"]["capacity_bytes"], 64 << 20);
    }
    let warned = bulkhead.log().all(|line| line.is("reloaded"));
    assert!(warned.iter().all(|line| line.text("level") == "WARN"), "{}", bulkhead.log().dump());
    assert_says(&reload(&bulkhead, ""), &["nothing changed"]);

    bulkhead.home().configure("link.capacity = \"128MiB\"");
    let bulkhead = bulkhead.stop(Signal::SIGTERM).home.start();
    assert_eq!(bulkhead.client().json("/v1/stats")["ring"]["capacity_bytes"], 128 << 20);
}

#[test]
fn the_log_changes_its_level_and_its_form() {
    let bulkhead = Home::new("").start();
    assert_says(
        &reload(&bulkhead, "log.level = \"warn\""),
        &["log.level: warn instead of info; the API and the analysis follow when they are started again"],
    );
    assert_eq!(bulkhead.say(&["restart", "analytics"]).code, Some(0));
    let mut story = bulkhead.log().from_now();
    assert_eq!(reload(&bulkhead, "log.format = \"pretty\"").code, Some(0));
    story.wait_for("a line for people", |line| line.raw().contains(" INFO reloaded: log.level: info"));
    let started = bulkhead.log().all(|line| line.is("worker_started"));
    assert_eq!(started.len(), 2, "of the restart under \"warn\" nothing is told");
}

#[test]
fn programs_are_told_as_json() {
    let bulkhead = Home::new("").start();
    bulkhead.home().configure("restart.limit = 3\nstate_dir = \"/elsewhere\"\napi.max_body = \"1MiB\"");
    let said = bulkhead.say(&["reload", "--json"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let told: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        told,
        json!({"changes": [
            {"what": "restart.limit", "how": "live", "text": "restart.limit: 3 instead of 10"},
            {"what": "api", "how": "replaced", "text": "api: max_body changed: replaced, generation 3"},
        ]}),
        "BULKHEAD_STATE_DIR overrides the file's"
    );
    let nothing = bulkhead.say(&["reload", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&nothing.out).unwrap(), json!({"changes": []}));
}
