//! The supervisor itself is killed, and nothing stands above it that would start it again.

use bulkhead_tests::{
    Home, eventually,
    process::{self, Signal},
};
use procfs::process::Process;

#[test]
fn a_kill_of_the_supervisor_ends_its_own_workers_and_leaves_plain_ones_to_who_runs_it() {
    let config = "[[worker]]\nname = \"idle\"\ncommand = [\"sleep\", \"infinity\"]\n";
    let mut bulkhead = Home::new(config).start();
    bulkhead.log().from_start().wait_for_worker("worker_ready", "idle");
    let pids = ["api", "analytics", "idle"].map(|worker| bulkhead.pid_of(worker));
    let [api, analytics, idle] = pids.map(|pid| Process::new(pid).unwrap());

    process::signal(bulkhead.pid(), Signal::SIGKILL);
    bulkhead.wait();

    // Their control pipes are at their end: they drain and leave.
    process::wait_until_gone(&[api, analytics], bulkhead.log());
    // Nobody has told this one. A service manager ends it with the service's cgroup (KillMode=), a container with its PID 1.
    assert!(idle.is_alive());
    process::signal(idle.pid(), Signal::SIGKILL);
    eventually(bulkhead.log(), "the plain worker to be gone", || !idle.is_alive());
}
