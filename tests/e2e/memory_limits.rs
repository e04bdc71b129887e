//! Memory limits, and how deaths for lack of memory are reported.

use crate::common::{FAULTS_ENABLED, is_root};
use bulkhead_tests::{Bulkhead, Fixture, process::Signal};
use std::fs;

/// The content of a file in the /proc directory of a worker.
fn proc_file(bulkhead: &Bulkhead, worker: &str, file: &str) -> String {
    let path = format!("/proc/{}/{file}", bulkhead.worker_pid(worker));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The memory limit of a worker in the kernel: soft and hard limit in bytes, or `unlimited`.
fn memory_limit(bulkhead: &Bulkhead, worker: &str) -> Vec<String> {
    let limits = proc_file(bulkhead, worker, "limits");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max data size")).unwrap();
    line.split_whitespace().take(2).map(str::to_owned).collect()
}

fn reload(bulkhead: &Bulkhead, config: &str) -> String {
    bulkhead.fixture().write_config(config);
    let output = bulkhead.cli(&["reload"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    output.stdout
}

#[test]
fn an_event_that_exceeds_the_memory_limit_is_quarantined_with_cause_oom() {
    let bulkhead = Fixture::new(&format!("{FAULTS_ENABLED}[analytics]\nmemory_limit = \"64MiB\"\n")).start();
    let client = bulkhead.client();
    let body = r#"[{"series":"a","value":1},{"series":"__fault.oom","value":1},{"series":"a","value":2}]"#;
    assert_eq!(client.post_events(body).unwrap().status, 202);

    let stats = bulkhead.wait_until_committed();

    assert_eq!((&stats["analysed"], &stats["quarantined"]), (&2.into(), &1.into()), "{stats}");
    let workers = client.get_json("/v1/workers");
    let analytics = workers["items"].as_array().unwrap().iter().find(|row| row["name"] == "analytics");
    let crash = &analytics.unwrap()["last_crash"];
    assert_eq!((&crash["cause"], &crash["seq"]), (&"oom".into(), &2.into()), "{crash}");
    assert_eq!(crash["detail"], "an allocation of 64MiB failed: memory_limit is 64MiB");
    let entry = client.get_json("/v1/quarantine/2");
    assert_eq!((&entry["cause"], &entry["attempts"]), (&"oom".into(), &2.into()), "{entry}");
    assert_eq!(bulkhead.log().matching(|line| line.is("worker_parked")).len(), 0);
}

#[test]
fn a_requested_oom_is_logged_with_the_refused_allocation() {
    let bulkhead = Fixture::new(&format!("{FAULTS_ENABLED}[analytics]\nmemory_limit = \"256MiB\"\n")).start();
    let mut log = bulkhead.log().from_now();
    let output = bulkhead.cli(&["fault", "analytics", "oom"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let died = log.wait_for_worker("worker_died", "analytics");
    assert_eq!(died.text("cause"), "requested", "{}", died.raw());
    assert_eq!(died.text("detail"), "fault oom: an allocation of 64MiB failed: memory_limit is 256MiB");
}

#[test]
fn the_memory_limit_of_a_plain_worker_applies_to_its_children() {
    // `tail -c` keeps all its input in memory.
    const GREEDY: &str = "read go <gate; head -c 128M /dev/zero | tail -c 128M >/dev/null; exit 9";
    let greedy = |memory_limit: &str| {
        format!("[[worker]]\nname = \"greedy\"\ncommand = [\"sh\", \"-c\", \"{GREEDY}\"]\n{memory_limit}\n")
    };
    let fixture = Fixture::new(&greedy("memory_limit = \"32MiB\""));
    let gate = fixture.named_pipe("gate");
    let bulkhead = fixture.start();
    let mut log = bulkhead.log().from_start();
    log.wait_for_worker("worker_ready", "greedy");
    assert_eq!(memory_limit(&bulkhead, "greedy"), ["33554432", "33554432"]);
    fs::write(&gate, "go\n").unwrap();
    log.wait_for("the error of the refused allocation", |line| {
        line.text("worker") == "greedy" && line.raw().contains("memory exhausted")
    });
    let died = log.wait_for_worker("worker_died", "greedy");
    assert_eq!(died.text("cause"), "exit", "{}", died.raw());
}

#[test]
fn a_memory_limit_applies_to_one_worker_and_a_changed_limit_replaces_its_process() {
    let bulkhead = Fixture::new("").start();
    let one_gib = (1_u64 << 30).to_string();
    assert_eq!(memory_limit(&bulkhead, "analytics"), [one_gib.as_str(), one_gib.as_str()]);
    let api = memory_limit(&bulkhead, "api");
    assert_ne!(api, memory_limit(&bulkhead, "analytics"));

    let mut log = bulkhead.log().from_now();
    let output = reload(&bulkhead, "[analytics]\nmemory_limit = \"128MiB\"\n");

    log.wait_for_worker("worker_activated", "analytics");
    assert!(output.contains("analytics: memory_limit changed: replaced"), "{output}");
    assert_eq!(memory_limit(&bulkhead, "analytics"), ["134217728", "134217728"]);
    assert_eq!(memory_limit(&bulkhead, "api"), api);
}

#[test]
fn a_sigkill_is_attributed_to_the_oom_killer_only_if_its_count_grew() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new("");
    let vmstat = fixture.path("vmstat");
    fs::write(&vmstat, "oom_kill 3\n").unwrap();
    let bulkhead = fixture.start_with_fake_vmstat();
    let kill = || {
        let mut log = bulkhead.log().from_now();
        bulkhead.signal_worker(bulkhead.worker_pid("analytics"), Signal::SIGKILL);
        let died = log.wait_for_worker("worker_died", "analytics");
        log.wait_for_worker("worker_activated", "analytics");
        (died.text("cause").to_owned(), died.text("detail").to_owned())
    };
    let by_other_process = ("signal".to_owned(), "SIGKILL".to_owned());
    assert_eq!(kill(), by_other_process);
    fs::write(&vmstat, "oom_kill 4\n").unwrap();
    assert_eq!(kill(), ("oom".to_owned(), "killed by the kernel: out of memory".to_owned()));
    assert_eq!(kill(), by_other_process);
}

#[test]
fn the_oom_killer_prefers_the_analysis_and_spares_the_supervisor() {
    let bulkhead = Fixture::new("[[worker]]\nname = \"idle\"\ncommand = [\"sleep\", \"infinity\"]\n").start();
    bulkhead.log().from_start().wait_for_worker("worker_ready", "idle");
    let number = |text: String| text.trim().parse::<i32>().unwrap();
    let adjusted = |worker| number(proc_file(&bulkhead, worker, "oom_score_adj"));
    let own = number(fs::read_to_string(format!("/proc/{}/oom_score_adj", bulkhead.pid())).unwrap());
    // The caller may have raised the score of all processes that it starts.
    let above = |distance: i32| (own + distance).min(1000);
    assert_eq!(["analytics", "api", "idle"].map(adjusted), [500, 100, 100].map(above));
}
