//! The supervisor as PID 1 of a container, and the container files in `deploy/`.

use bulkhead_tests::{Fixture, eventually, process};
use procfs::process::Process;
use serde_json::Value;
use std::path::{Path, PathBuf};

#[test]
fn the_supervisor_as_pid_1_reaps_orphans_and_stops_cleanly_on_a_read_only_root() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: a pid namespace needs root");
        return;
    }
    // The subshell exits at once. Its child becomes an orphan, prints whether it could write to the root, and
    // exits.
    let parent = r#"(sh -c "touch /usr/x || echo an orphan cannot write; exit 7" &); exec sleep infinity"#;
    let config = format!("[[worker]]\nname = \"parent\"\ncommand = [\"sh\", \"-c\", '{parent}']\n");
    let bulkhead = Fixture::new(&config).start_in_container();
    bulkhead
        .log()
        .from_start()
        .wait_for("the line of the orphan", |line| line.raw().contains("an orphan cannot write"));
    assert!(
        bulkhead.last_line("worker_started", "parent").pid() < 100,
        "the worker must have a pid of the new namespace"
    );

    eventually(bulkhead.log(), "no zombies", || {
        let children = process::tree(bulkhead.pid());
        let zombie = |process: &Process| process.stat().is_ok_and(|stat| stat.state == 'Z');
        children.len() == 4 && !children.iter().any(zombie)
    });
    assert_eq!(bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    assert_eq!(bulkhead.wait_until_committed()["analysed"], 1);

    let tree = process::tree(bulkhead.pid());
    let stopped = bulkhead.stop(process::Signal::SIGTERM);
    assert!(stopped.status.success(), "{:?} after\n{}", stopped.status, stopped.log.dump());
    process::wait_until_gone(&tree, &stopped.log);
    assert!(
        stopped.fixture.path("state/snapshot").is_file(),
        "the state must be saved in BULKHEAD_STATE_DIR"
    );
}

#[test]
fn the_container_image_copies_existing_files_and_runs_without_root() {
    let text = std::fs::read_to_string(deploy().join("Containerfile")).unwrap();
    let instructions = text.replace("\\\n", " ");
    let of = |name: &str| -> Vec<Vec<&str>> {
        let lines = instructions.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        lines.map(|line| line.split_whitespace().collect()).collect()
    };
    for source in of("COPY").iter().filter(|words| !words[0].starts_with("--from")).map(|words| words[0]) {
        assert!(deploy().join("..").join(source).exists(), "COPY {source}");
    }
    let built = of("COPY").into_iter().find(|words| words[0] == "--from=build").unwrap();
    for program in ["bulkhead", "bulkhead-api", "bulkhead-analytics"] {
        assert!(built.contains(&&*format!("/src/target/dist/{program}")), "{built:?}");
    }
    assert_eq!(of("USER"), [["bulkhead"]]);
    assert_eq!(of("ENTRYPOINT"), [[r#"["/usr/bin/bulkhead"]"#]]);
}

#[test]
fn the_compose_file_refers_to_existing_files_secrets_and_volumes() {
    let text = std::fs::read_to_string(deploy().join("compose.yaml")).unwrap();
    let compose: Value = serde_saphyr::from_str(&text).unwrap();
    let service = &compose["services"]["bulkhead"];
    let context = deploy().join(service["build"]["context"].as_str().unwrap());
    assert!(context.join(service["build"]["dockerfile"].as_str().unwrap()).is_file());
    assert_eq!(service["read_only"], true);
    for (list, key) in [("secrets", "token"), ("volumes", "state")] {
        assert!(compose[list].as_object().unwrap().contains_key(key), "{list}");
        let named = service[list].as_array().unwrap().iter().filter_map(Value::as_str);
        assert!(named.into_iter().any(|name| name.split(':').next() == Some(key)), "{list}");
    }
}

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}
