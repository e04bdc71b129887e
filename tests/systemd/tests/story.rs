//! What a person sees who curls the service while it crashes, and then reads its journal.

use super::started;
use crate::machine::{Machine, client};
use serde_json::Value;

pub(super) fn of_a_segfault_and_of_a_panic() {
    let machine = started();
    post(&machine, r#"[{"series":"orders","value":10},{"series":"orders","value":32}]"#);

    machine.must("bulkhead fault analytics segv");
    machine.until("the status to tell of the segfault", || {
        machine
            .show("StatusText")
            .starts_with("2 of 2 workers running; 1 restart; last death: analytics, crash 1: ")
            && machine.show("StatusText").contains("SIGSEGV")
    });
    machine.until("the intact state", || machine.json("/v1/series/orders")["sum"] == 42);
    let died = &entries(&machine, "BULKHEAD_EVENT=worker_died")[0];
    assert_eq!(died["BULKHEAD_WORKER"], "analytics", "{died}");
    assert_eq!((&died["BULKHEAD_CAUSE"], &died["PRIORITY"]), (&"requested".into(), &"6".into()), "{died}");

    post(&machine, r#"{"series":"__fault.panic","value":1}"#);
    machine.until("the event to be set aside", || machine.json("/v1/stats")["quarantined"] == 1);
    let panics = entries(&machine, "BULKHEAD_EVENT=worker_died BULKHEAD_CAUSE=panic");
    for panic in &panics {
        assert_eq!((&panic["BULKHEAD_SEQ"], &panic["PRIORITY"]), (&"3".into(), &"3".into()), "{panic}");
        assert!(panic["BULKHEAD_DETAIL"].as_str().unwrap().contains("fault.rs"), "{panic}");
    }
    assert_eq!(panics.len(), 2);
    machine.until("the status to tell of the panic", || {
        machine.show("StatusText").ends_with("event 3 in flight")
    });
    let warnings = machine.must("journalctl -u bulkhead -p warning -o cat");
    assert!(
        warnings.contains("worker_died: analytics") && !warnings.contains("worker_started"),
        "{warnings}"
    );
    let explained = machine.must("journalctl -x BULKHEAD_EVENT=event_quarantined");
    assert!(explained.contains("Subject: Event 3 was quarantined"), "{explained}");
    assert_eq!(machine.json("/v1/series/orders")["sum"], 42, "reads are answered all the while");
}

fn post(machine: &Machine, events: &'static str) {
    let answer = machine.inside(move || client().post_events(events)).join().unwrap().unwrap();
    assert_eq!(answer.status, 202, "{answer:?}");
}

/// The service's entries with these fields, in their order.
fn entries(machine: &Machine, fields: &str) -> Vec<Value> {
    let lines = machine.must(&format!("journalctl -u bulkhead -o json {fields}"));
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
