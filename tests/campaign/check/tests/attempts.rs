//! Attempts that were not counted, counted twice or invented, and quarantines that are logged too early, too
//! late or not at all.

use super::{
    fault_fixture::{SEQ, add_poison, expect_finding_with_poison, remove_shutdown, with_poison},
    fixture::{
        KILLED, death_line, expect_finding, findings_after, index, line_mut, shutdown_lines, start_lines,
    },
};
use crate::records::{Kill, Records};
use bulkhead_proto::wire::fault::FaultKind;

#[test]
fn a_sigkill_with_the_event_in_flight_counts_as_an_attempt() {
    let with_kill = |records: &mut Records| {
        let (generation, crashes) = remove_shutdown(records);
        records.run.kills = 2;
        let kill = Kill { at: 250, worker: "analytics".into(), generation, pid: 1 };
        records.kills.push(kill);
        let mut death = death_line(255, "analytics", generation, crashes + 1, KILLED);
        death.fields["seq"] = SEQ.into();
        records.log.push(death);
        records.log.extend(start_lines(260, "analytics", generation + 1));
        records.log.extend(shutdown_lines(crashes + 1, generation + 1));
        with_poison(records);
        records.quarantined[0].attempts = 3;
        line_mut(records, "event_quarantined", 6)["attempts"] = 3.into();
    };
    assert_eq!(findings_after(with_kill), Vec::<&str>::new());
    expect_finding("quarantined events: as many attempts", |records| {
        with_kill(records);
        records.quarantined[0].attempts = 2;
    });
}

#[test]
fn missing_doubled_and_invented_attempts_are_found() {
    let what = "quarantined events: as many attempts";
    expect_finding_with_poison(what, |records| records.quarantined[0].attempts = 99);
    expect_finding_with_poison(what, |records| records.quarantined[0].attempts = 0);
    // An attempt counted twice: one death, then quarantined.
    expect_finding_with_poison(what, |records| drop(records.log.remove(index(records, "worker_died", 4))));
    expect_finding_with_poison(what, |records| {
        records.log.retain(|line| line.number("seq") != Some(SEQ) || !line.is("worker_died"));
    });
    expect_finding_with_poison(what, |records| {
        records.log.remove(index(records, "worker_died", 4));
        records.quarantined[0].attempts = 1;
        line_mut(records, "event_quarantined", 5)["attempts"] = 1.into();
    });
    expect_finding_with_poison(what, |records| {
        line_mut(records, "worker_died", 4)["cause"] = "requested".into();
    });
    // An attempt not counted: three deaths.
    expect_finding(what, |records| {
        let (generation, crashes) = remove_shutdown(records);
        let mut death = death_line(255, "analytics", generation, crashes + 1, ["signal", "SIGSEGV"]);
        death.fields["seq"] = SEQ.into();
        records.log.push(death);
        records.log.extend(start_lines(260, "analytics", generation + 1));
        records.log.extend(shutdown_lines(crashes + 1, generation + 1));
        with_poison(records);
    });
    // One of eight kills is missing.
    expect_finding(what, |records| {
        add_poison(records, FaultKind::Kill, KILLED);
        records.log.remove(index(records, "worker_died", 4));
        records.quarantined[0].attempts = 7;
        line_mut(records, "event_quarantined", 11)["attempts"] = 7.into();
    });
}

#[test]
fn a_quarantine_that_is_not_logged_not_stored_or_late_is_found() {
    let what = "quarantined events: one log line";
    expect_finding_with_poison(what, |records| records.log.retain(|line| !line.is("event_quarantined")));
    expect_finding_with_poison(what, |records| {
        let line = records.log.remove(index(records, "event_quarantined", 5));
        records.log.insert(index(records, "worker_died", 4), line);
    });
    expect_finding_with_poison(what, |records| {
        let line = records.log.remove(index(records, "event_quarantined", 5));
        records.log.insert(index(records, "worker_died", 5), line);
    });
    expect_finding_with_poison(what, |records| {
        let line = records.log.remove(index(records, "event_quarantined", 5));
        records.log.insert(index(records, "worker_activated", 6) + 1, line);
    });
    expect_finding_with_poison(what, |records| {
        let line = records.log[index(records, "event_quarantined", 5)].clone();
        records.log.insert(index(records, "worker_activated", 6), line);
    });
    expect_finding_with_poison(what, |records| records.quarantined.clear());
    for field in ["attempts", "crash", "generation"] {
        expect_finding(what, |records| {
            with_poison(records);
            line_mut(records, "event_quarantined", 5)[field] = 9.into();
        });
    }
    for field in ["cause", "detail", "worker"] {
        expect_finding(what, |records| {
            with_poison(records);
            line_mut(records, "event_quarantined", 5)[field] = "api".into();
        });
    }
    // The event was applied again after it was quarantined.
    expect_finding_with_poison(what, |records| line_mut(records, "worker_died", 6)["seq"] = SEQ.into());
}

/// What faults of the supervisor and of the analysis would leave in the records of a run.
#[test]
fn the_traces_of_each_product_fault_are_found() {
    // Commit before apply: the process died of an event that was already committed, so the event is neither
    // counted nor quarantined.
    expect_finding("events answered 2xx", |records| drop(records.series.remove(3)));
    expect_finding_with_poison("poison events answered 2xx", |records| records.quarantined.clear());
    // Apply a committed event again.
    expect_finding("series whose count and sum", |records| records.series[3].count = 2);
    // Skip without storing.
    expect_finding_with_poison("quarantined events: one log line", |records| records.quarantined.clear());
    // Skip, and do not count the event.
    expect_finding_with_poison("totals", |records| records.run.stats.quarantined = 0);
    // Forget the skip, or apply a skipped event: one more death after the quarantine.
    expect_finding_with_poison("quarantined events: as many attempts", |records| {
        let line = records.log.remove(index(records, "event_quarantined", 5));
        let mut death = line.clone();
        (death.fields["event_name"], death.fields["generation"]) = ("worker_died".into(), 6.into());
        records.log.insert(index(records, "worker_activated", 6) + 1, death);
        records.log.insert(index(records, "worker_activated", 6), line);
    });
    // Activate while the event is being stored.
    expect_finding_with_poison("quarantined events: one log line", |records| {
        let line = records.log.remove(index(records, "event_quarantined", 5));
        records.log.insert(index(records, "worker_activated", 6) + 1, line);
    });
    // Forget a death, or its number.
    expect_finding_with_poison("generations", |records| {
        drop(records.log.remove(index(records, "worker_died", 4)));
    });
    // Charge a requested death.
    expect_finding_with_poison("quarantined events: as many attempts", |records| {
        line_mut(records, "worker_died", 4)["cause"] = "requested".into();
    });
}
