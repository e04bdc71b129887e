//! The supervisor is killed, and no service manager restarts it.

use bulkhead_tests::{
    Fixture, eventually,
    process::{self, Signal},
};
use procfs::process::Process;

#[test]
fn api_and_analysis_exit_when_the_supervisor_is_killed_and_plain_workers_stay() {
    let config = "[[worker]]\nname = \"idle\"\ncommand = [\"sleep\", \"infinity\"]\n";
    let mut bulkhead = Fixture::new(config).start();
    bulkhead.log().from_start().wait_for_worker("worker_ready", "idle");
    let pids = ["api", "analytics", "idle"].map(|worker| bulkhead.worker_pid(worker));
    let [api, analytics, idle] = pids.map(|pid| Process::new(pid).unwrap());

    process::signal(bulkhead.pid(), Signal::SIGKILL);
    bulkhead.wait();

    // API and analysis read the end of their control pipes, drain and exit.
    process::wait_until_gone(&[api, analytics], bulkhead.log());
    // A plain worker has no control pipe. A service manager ends it with the service's cgroup (KillMode=), a
    // container with its PID 1.
    assert!(idle.is_alive());
    process::signal(idle.pid(), Signal::SIGKILL);
    eventually(bulkhead.log(), "the plain worker to end", || !idle.is_alive());
}
