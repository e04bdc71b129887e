//! Signals that reach a worker by mistake.

use bulkhead_tests::{
    Fixture,
    process::{self, Signal},
};

const UNEXPECTED: [Signal; 10] = [
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGXFSZ,
    Signal::SIGIO,
    Signal::SIGPWR,
];

#[test]
fn an_unexpected_signal_ends_neither_the_api_nor_the_analysis() {
    let bulkhead = Fixture::new("").start();
    let pids = ["api", "analytics"].map(|worker| bulkhead.worker_pid(worker));
    for signal in UNEXPECTED {
        pids.iter().for_each(|pid| process::signal(*pid, signal));
        assert_eq!(bulkhead.client().post_events(r#"{"series":"s","value":1}"#).unwrap().status, 202);
        bulkhead.wait_until_committed();
    }
    assert_eq!(pids, ["api", "analytics"].map(|worker| bulkhead.worker_pid(worker)));
    assert!(bulkhead.stop(Signal::SIGQUIT).status.success());
}
