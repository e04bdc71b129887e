//! Every signal that can be handled, in any order.

use crate::harness::{Service, wait_until_stopped};

/// SIGABRT, SIGSEGV and the like end the supervisor: a watchdog and faults need them. 32 and 33 belong to the C library.
const FATAL: [i32; 9] = [4, 6, 7, 8, 9, 11, 31, 32, 33];

/// Signals that stop a process, and SIGCONT.
const JOB_CONTROL: [i32; 5] = [18, 19, 20, 21, 22];

/// SIGINT, SIGQUIT, SIGTERM, SIGXCPU, SIGPWR.
const STOP: [i32; 5] = [2, 3, 15, 24, 30];

const HUP: i32 = 1;

/// The bits of 32 and 33 in a set of signals.
const RESERVED: u64 = 0b11 << 31;

fn start() -> Service {
    let mut service = Service::start(&["sleep", "60"], "");
    service.wait_for("worker_ready", "one");
    service
}

fn assert_orderly(mut service: Service, code: Option<i32>) {
    assert_eq!(code, Some(0), "{:#?}", service.lines());
    service.launch();
    assert!(service.lines().iter().all(|line| line["event_name"] != "state_lost"));
}

#[test]
fn a_signal_without_a_meaning_is_logged_once_and_ends_nothing() {
    let mut service = start();
    let pids = ["api", "analytics", "one"].map(|worker| service.row(worker)["pid"].clone());
    let others = (1..=64).filter(|signal| {
        *signal != HUP && !FATAL.contains(signal) && !JOB_CONTROL.contains(signal) && !STOP.contains(signal)
    });
    let others: Vec<i32> = others.collect();
    for _ in 0..3 {
        others.iter().for_each(|signal| service.signal(&signal.to_string()));
    }
    service.wait_for_line(|line| {
        line["message"].as_str().is_some_and(|text| text.starts_with("SIGUSR1 from pid"))
    });
    assert_eq!(pids, ["api", "analytics", "one"].map(|worker| service.row(worker)["pid"].clone()));
    let code = service.stop("TERM");
    let told = |name: &str| {
        let names = |text: &str| text.starts_with(&format!("{name} from pid")) && text.contains("ignored");
        service.lines().iter().filter(|line| line["message"].as_str().is_some_and(names)).count()
    };
    assert_eq!(["SIGUSR1", "SIGUSR2", "SIGXFSZ", "signal 64"].map(told), [1; 4], "{:#?}", service.lines());
    assert_orderly(service, code);
}

#[test]
fn workers_do_not_inherit_ignored_and_blocked_signals() {
    let mut service =
        Service::prepare(&["sh", "-c", "grep -E 'Sig(Blk|Ign)' /proc/self/status; sleep 60"], "", "1m");
    service.launch_by(&["env", "--ignore-signal=HUP,INT,QUIT,USR1,PIPE", "--block-signal=TERM,USR2"]);
    for _ in 0..2 {
        let set = service.wait_for_line(|line| line["stream"] == "stdout")["message"].clone();
        let bits = u64::from_str_radix(set.as_str().unwrap().split_once('\t').unwrap().1, 16).unwrap();
        assert_eq!(bits & !RESERVED, 0, "{set}");
    }
    service.signal("HUP");
    let code = service.stop("TERM");
    assert_orderly(service, code);
}

#[test]
fn every_stop_signal_stops_in_order() {
    for signal in STOP {
        let mut service = start();
        let code = service.stop(&signal.to_string());
        assert_orderly(service, code);
    }
}

#[test]
fn stop_signals_in_quick_succession_are_one_request() {
    let mut service = start();
    for signal in ["TERM", "CONT", "INT", "USR1", "HUP", "QUIT"] {
        service.signal(signal);
    }
    let code = service.stop("TERM");
    assert_orderly(service, code);
}

#[test]
fn a_worker_that_was_stopped_by_a_signal_still_stops_in_order() {
    let script = "trap 'echo saved; exit' TERM; echo $$; kill -STOP $$; while :; do sleep 1; done";
    let mut service = Service::prepare(&["sh", "-c", script], "", "1h");
    service.launch();
    let pid = service.wait_for_line(|line| line["stream"] == "stdout")["message"].clone();
    wait_until_stopped(pid.as_str().unwrap());
    assert!(service.command(&["stop", "one"]).status.success());
    service.wait_for_line(|line| line["message"] == "saved");
}
