//! The supervisor as the first process of a container.

use bulkhead_tests::{Home, eventually, process};
use procfs::process::Process;

#[test]
fn as_pid_1_it_reaps_orphans_and_stops_in_order() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: a pid namespace needs root");
        return;
    }
    // The subshell leaves at once; its child becomes an orphan, says so, and ends.
    let parent = r#"(sh -c "echo an orphan speaks; exit 7" &); exec sleep infinity"#;
    let config = format!("[[worker]]\nname = \"parent\"\ncommand = [\"sh\", \"-c\", '{parent}']\n");
    let bulkhead = Home::new(&config).start_as_pid_1();
    bulkhead.log().from_start().wait_for("the orphan's word", |line| line.raw().contains("an orphan speaks"));
    assert!(bulkhead.last("worker_started", "parent").pid() < 100, "pids of a namespace of its own");

    eventually(bulkhead.log(), "no zombies to be left", || {
        let children = process::tree(bulkhead.pid());
        let zombie = |process: &Process| process.stat().is_ok_and(|stat| stat.state == 'Z');
        children.len() == 4 && !children.iter().any(zombie)
    });
    assert_eq!(bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
    assert_eq!(bulkhead.settled()["analysed"], 1);

    let tree = process::tree(bulkhead.pid());
    let stopped = bulkhead.stop(process::Signal::SIGTERM);
    assert!(stopped.status.success(), "{:?} after\n{}", stopped.status, stopped.log.dump());
    process::wait_until_gone(&tree, &stopped.log);
}
