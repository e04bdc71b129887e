//! Limits of memory, and what is said of those who die of them.

use crate::{FAULTS, state_dir::is_root};
use bulkhead_tests::{Bulkhead, Home, process::Signal};
use std::fs;

/// This file of a worker's process.
fn of_process(bulkhead: &Bulkhead, worker: &str, file: &str) -> String {
    let path = format!("/proc/{}/{file}", bulkhead.pid_of(worker));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What a worker may take, as the kernel shows it: soft and hard limit in bytes, or `unlimited`.
fn limit(bulkhead: &Bulkhead, worker: &str) -> Vec<String> {
    let limits = of_process(bulkhead, worker, "limits");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max data size")).unwrap();
    line.split_whitespace().take(2).map(str::to_owned).collect()
}

fn reload(bulkhead: &Bulkhead, config: &str) -> String {
    bulkhead.home().configure(config);
    let said = bulkhead.say(&["reload"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    said.out
}

#[test]
fn an_event_that_makes_the_analysis_grow_beyond_its_limit_is_set_aside_with_cause_oom() {
    let bulkhead = Home::new(&format!("{FAULTS}[analytics]\nmemory_limit = \"64MiB\"\n")).start();
    let client = bulkhead.client();
    let body = r#"[{"series":"a","value":1},{"series":"__fault.oom","value":1},{"series":"a","value":2}]"#;
    assert_eq!(client.post_events(body).unwrap().status, 202);

    let stats = bulkhead.settled();

    assert_eq!((&stats["analysed"], &stats["quarantined"]), (&2.into(), &1.into()), "{stats}");
    let workers = client.json("/v1/workers");
    let analytics = workers["items"].as_array().unwrap().iter().find(|row| row["name"] == "analytics");
    let crash = &analytics.unwrap()["last_crash"];
    assert_eq!((&crash["cause"], &crash["seq"]), (&"oom".into(), &2.into()), "{crash}");
    assert_eq!(crash["detail"], "64MiB more were refused: memory_limit is 64MiB");
    let kept = client.json("/v1/quarantine/2");
    assert_eq!((&kept["cause"], &kept["attempts"]), (&"oom".into(), &2.into()), "{kept}");
    assert_eq!(bulkhead.log().all(|line| line.is("worker_parked")).len(), 0);
}

#[test]
fn an_oom_that_was_ordered_is_told_with_what_was_refused() {
    let bulkhead = Home::new(&format!("{FAULTS}[analytics]\nmemory_limit = \"256MiB\"\n")).start();
    let mut story = bulkhead.log().from_now();
    let said = bulkhead.say(&["fault", "analytics", "oom"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let died = story.wait_for_worker("worker_died", "analytics");
    assert_eq!(died.text("cause"), "requested", "{}", died.raw());
    assert_eq!(died.text("detail"), "fault oom: 64MiB more were refused: memory_limit is 256MiB");
}

#[test]
fn the_limit_of_a_plain_worker_holds_for_all_that_it_starts() {
    // `tail` keeps all that it is given.
    const GREEDY: &str = "read go <gate; head -c 128M /dev/zero | tail -c 128M >/dev/null; exit 9";
    let greedy = |limit: &str| {
        format!("[[worker]]\nname = \"greedy\"\ncommand = [\"sh\", \"-c\", \"{GREEDY}\"]\n{limit}\n")
    };
    let home = Home::new(&greedy("memory_limit = \"32MiB\""));
    let gate = home.pipe("gate");
    let bulkhead = home.start();
    let mut story = bulkhead.log().from_start();
    story.wait_for_worker("worker_ready", "greedy");
    assert_eq!(limit(&bulkhead, "greedy"), ["33554432", "33554432"]);
    fs::write(&gate, "go\n").unwrap();
    story.wait_for("its word of the refusal", |line| {
        line.text("worker") == "greedy" && line.raw().contains("memory exhausted")
    });
    let died = story.wait_for_worker("worker_died", "greedy");
    assert_eq!(died.text("cause"), "exit", "{}", died.raw());
}

#[test]
fn a_memory_limit_is_the_workers_own_and_a_changed_one_takes_another_process() {
    let bulkhead = Home::new("").start();
    let one_gib = (1_u64 << 30).to_string();
    assert_eq!(limit(&bulkhead, "analytics"), [one_gib.as_str(), one_gib.as_str()]);
    let api = limit(&bulkhead, "api");
    assert_ne!(api, limit(&bulkhead, "analytics"));

    let mut story = bulkhead.log().from_now();
    let said = reload(&bulkhead, "[analytics]\nmemory_limit = \"128MiB\"\n");

    story.wait_for_worker("worker_activated", "analytics");
    assert!(said.contains("analytics: memory_limit changed: replaced"), "{said}");
    assert_eq!(limit(&bulkhead, "analytics"), ["134217728", "134217728"]);
    assert_eq!(limit(&bulkhead, "api"), api);
}

#[test]
fn a_kill_is_taken_for_the_kernels_only_if_the_kernel_has_counted_one() {
    if !is_root() {
        return;
    }
    let home = Home::new("");
    let vmstat = home.path("vmstat");
    fs::write(&vmstat, "oom_kill 3\n").unwrap();
    let bulkhead = home.start_with_a_vmstat_of_its_own();
    let kill = || {
        let mut story = bulkhead.log().from_now();
        bulkhead.signal_worker(bulkhead.pid_of("analytics"), Signal::SIGKILL);
        let died = story.wait_for_worker("worker_died", "analytics");
        story.wait_for_worker("worker_activated", "analytics");
        (died.text("cause").to_owned(), died.text("detail").to_owned())
    };
    let by_somebody = ("signal".to_owned(), "SIGKILL".to_owned());
    assert_eq!(kill(), by_somebody);
    fs::write(&vmstat, "oom_kill 4\n").unwrap();
    assert_eq!(kill(), ("oom".to_owned(), "killed by the kernel for want of memory".to_owned()));
    assert_eq!(kill(), by_somebody);
}

#[test]
fn the_analysis_is_the_kernels_first_choice_and_the_api_is_not() {
    let bulkhead = Home::new("").start();
    let number = |text: String| text.trim().parse::<i32>().unwrap();
    let adjusted = |worker| number(of_process(&bulkhead, worker, "oom_score_adj"));
    let own = number(fs::read_to_string(format!("/proc/{}/oom_score_adj", bulkhead.pid())).unwrap());
    // Whoever runs the tests may have said more for all that it starts, and may not take it back.
    assert_eq!((adjusted("analytics"), adjusted("api")), (own.max(500), own));
}
