//! What the journal, the status of the unit and the API show during and after crashes.

use super::fixture::started;
use crate::machine::{Machine, client};
use serde_json::Value;

pub(super) fn shows_a_segfault_and_a_panic() {
    let machine = started();
    post(&machine, r#"[{"series":"orders","value":10},{"series":"orders","value":32}]"#);

    machine.run_ok("bulkhead fault analytics segv");
    machine.wait_until("the status to show the segfault", || {
        machine
            .property("StatusText")
            .starts_with("2 of 2 workers running; 1 restart; last death: analytics, crash 1: ")
            && machine.property("StatusText").contains("SIGSEGV")
    });
    machine.wait_until("the state to be readable", || machine.get_json("/v1/series/orders")["sum"] == 42);
    let died = &entries(&machine, "BULKHEAD_EVENT=worker_died")[0];
    assert_eq!(died["BULKHEAD_WORKER"], "analytics", "{died}");
    assert_eq!((&died["BULKHEAD_CAUSE"], &died["PRIORITY"]), (&"requested".into(), &"6".into()), "{died}");

    post(&machine, r#"{"series":"__fault.panic","value":1}"#);
    machine.wait_until("the event to be quarantined", || machine.get_json("/v1/stats")["quarantined"] == 1);
    let panics = entries(&machine, "BULKHEAD_EVENT=worker_died BULKHEAD_CAUSE=panic");
    for panic in &panics {
        assert_eq!((&panic["BULKHEAD_SEQ"], &panic["PRIORITY"]), (&"3".into(), &"3".into()), "{panic}");
        assert!(panic["BULKHEAD_DETAIL"].as_str().unwrap().contains("fault.rs"), "{panic}");
    }
    assert_eq!(panics.len(), 2);
    machine.wait_until("the status to show the panic", || {
        machine.property("StatusText").ends_with("event 3 in flight")
    });
    machine.wait_until("the crash report", || machine.run("bulkhead crashes 2 --json").code == Some(0));
    let report: Value = serde_json::from_str(&machine.run_ok("bulkhead crashes 2 --json")).unwrap();
    let function = "bulkhead_proto::worker::fault::execute at /";
    assert!(
        report["backtrace"]
            .as_array()
            .unwrap()
            .iter()
            .any(|frame| frame.as_str().unwrap().starts_with(function)),
        "the frames of the packaged binaries must have names: {report}"
    );
    let warnings = machine.run_ok("journalctl -u bulkhead -p warning -o cat");
    assert!(
        warnings.contains("worker_died: analytics") && !warnings.contains("worker_started"),
        "{warnings}"
    );
    let explained = machine.run_ok("journalctl -x BULKHEAD_EVENT=event_quarantined");
    assert!(explained.contains("Subject: Event 3 was quarantined"), "{explained}");
    assert_eq!(machine.get_json("/v1/series/orders")["sum"], 42, "the state must survive the crashes");
}

fn post(machine: &Machine, events: &'static str) {
    let response = machine.spawn_in_network(move || client().post_events(events)).join().unwrap().unwrap();
    assert_eq!(response.status, 202, "{response:?}");
}

/// The journal entries of the service with these fields, oldest first.
fn entries(machine: &Machine, fields: &str) -> Vec<Value> {
    let lines = machine.run_ok(&format!("journalctl -u bulkhead -o json {fields}"));
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
