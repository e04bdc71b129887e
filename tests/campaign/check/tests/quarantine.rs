//! Quarantined events that are not poison, differ from what was sent, or are logged with a wrong cause.

use super::{
    fault_fixture::{ABORT, OVERFLOW, add_command, add_poison, expect_finding_with_poison},
    fixture::{expect_finding, line_mut},
};
use crate::{
    check::quarantine::seq_of,
    records::{Answer, PoisonEvent, Records, Request},
};
use bulkhead_proto::wire::{
    cause::{Cause, Operation},
    fault::FaultKind,
    ids::{CrashId, Generation, Seq},
    quarantine::EventView,
};
use bulkhead_tests::event_id::EventId;

/// The event in the quarantine entry.
fn event_mut(records: &mut Records) -> &mut EventView {
    records.quarantined[0].event.as_mut().unwrap()
}

#[test]
fn poison_that_is_not_quarantined_and_quarantined_events_that_are_not_poison_are_found() {
    expect_finding_with_poison("poison events answered 2xx", |records| records.quarantined.clear());
    expect_finding_with_poison("poison events answered 2xx", |records| records.run.poisons = 2);
    expect_finding_with_poison("quarantined events: each", |records| {
        records.quarantined.push(records.quarantined[0].clone());
    });
    expect_finding_with_poison("quarantined events: each", |records| records.requests[1].poisons.clear());
    expect_finding_with_poison("totals", |records| records.run.stats.quarantined = 0);
}

#[test]
fn the_seq_of_a_poison_event_follows_from_its_position_in_the_request() {
    let poison = |number| PoisonEvent { before: EventId { writer: 0, number }, kind: FaultKind::Segv };
    let request = Request {
        at: 0,
        took: 10,
        writer: 0,
        first: 20,
        count: 10,
        poisons: vec![poison(23), poison(24), poison(27)],
        answer: Answer::Accepted(100, 112),
    };
    let seqs = request.poisons.iter().enumerate().map(|(index, poison)| seq_of(&request, index, poison));
    assert_eq!(seqs.collect::<Vec<_>>(), [Some(103), Some(105), Some(109)]);
}

#[test]
fn a_quarantine_entry_that_differs_from_the_sent_event_is_found() {
    expect_finding_with_poison("quarantined events: each", |records| event_mut(records).label = None);
    expect_finding_with_poison("quarantined events: each", |records| event_mut(records).value = Some(2.0));
    expect_finding_with_poison("quarantined events: each", |records| {
        event_mut(records).request_id = Some("r0-1".into());
    });
    expect_finding_with_poison("quarantined events: each", |records| event_mut(records).request_id = None);
    expect_finding_with_poison("quarantined events: each", |records| {
        event_mut(records).series = "__fault.abort".into();
    });
    expect_finding_with_poison("quarantined events: each", |records| event_mut(records).ts = "before".into());
    expect_finding_with_poison("quarantined events: each", |records| {
        event_mut(records).data = Some("{}".into());
    });
    expect_finding_with_poison("quarantined events: each", |records| records.quarantined[0].seq = Seq(10));
    expect_finding_with_poison("quarantined events: each", |records| records.quarantined[0].event = None);
}

#[test]
fn a_quarantine_entry_with_the_report_of_another_death_is_found() {
    let what = "quarantined events: the entry describes";
    expect_finding_with_poison(what, |records| records.quarantined[0].crash = CrashId(3));
    expect_finding_with_poison(what, |records| records.quarantined[0].generation = Generation(4));
    expect_finding_with_poison(what, |records| {
        let entry = &mut records.quarantined[0];
        (entry.crash, entry.generation) = (CrashId(3), Generation(4));
        let line = line_mut(records, "event_quarantined", 5);
        (line["crash"], line["generation"]) = (3.into(), 4.into());
    });
    expect_finding_with_poison(what, |records| records.quarantined[0].detail = "SIGBUS".into());
    expect_finding_with_poison(what, |records| records.quarantined[0].cause = Cause::Exit);
    expect_finding_with_poison(what, |records| records.quarantined[0].worker = "api".into());
    expect_finding_with_poison(what, |records| records.quarantined[0].during = Operation::Commit);
    expect_finding_with_poison(what, |records| records.quarantined[0].during = Operation::Load);
}

#[test]
fn an_abort_logged_as_a_stack_overflow_and_the_reverse_are_found() {
    for (kind, how) in [(FaultKind::Abort, OVERFLOW), (FaultKind::StackOverflow, ABORT)] {
        expect_finding("quarantined events: each", |records| add_poison(records, kind, how));
        expect_finding("kills", |records| add_poison(records, kind, how));
        expect_finding("kills", |records| add_command(records, kind, how[1], None));
    }
}

#[test]
fn deaths_by_poison_that_are_logged_with_another_cause_are_found() {
    expect_finding_with_poison("kills", |records| line_mut(records, "worker_died", 4)["seq"] = 10.into());
    expect_finding_with_poison("kills", |records| {
        line_mut(records, "worker_died", 4)["cause"] = "exit".into();
    });
    expect_finding_with_poison("kills", |records| {
        line_mut(records, "worker_died", 4)["worker"] = "api".into();
    });
}
