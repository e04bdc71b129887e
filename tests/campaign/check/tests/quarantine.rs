//! Events that are set aside and are no poison, or not kept as they were sent, or told wrongly.

use super::{
    faults::{ABORT, OVERFLOW, command, finds_of_poison, poison},
    fixture::{finds, line},
};
use crate::{
    check::poison::seq_of,
    records::{Answer, Poison, Records, Request},
};
use bulkhead_proto::{
    ids::{CrashId, Generation, Seq},
    quarantine::Shown,
    words::{Cause, During, FaultKind},
};
use bulkhead_tests::ids::EventId;

/// What is kept of the event.
fn event(records: &mut Records) -> &mut Shown {
    records.set_aside[0].event.as_mut().unwrap()
}

#[test]
fn poison_that_is_not_set_aside_and_others_that_are_are_found() {
    finds_of_poison("poison events answered 2xx", |records| records.set_aside.clear());
    finds_of_poison("poison events answered 2xx", |records| records.run.poisons = 2);
    finds_of_poison("events set aside: each", |records| records.set_aside.push(records.set_aside[0].clone()));
    finds_of_poison("events set aside: each", |records| records.requests[1].poisons.clear());
    finds_of_poison("totals", |records| records.run.stats.quarantined = 0);
}

#[test]
fn the_number_of_a_poison_event_follows_from_its_place_in_the_request() {
    let poison = |number| Poison { before: EventId { writer: 0, number }, kind: FaultKind::Segv };
    let request = Request {
        at: 0,
        took: 10,
        writer: 0,
        first: 20,
        count: 10,
        poisons: vec![poison(23), poison(24), poison(27)],
        answer: Answer::Accepted(100, 112),
    };
    let seqs = request.poisons.iter().enumerate().map(|(place, poison)| seq_of(&request, place, poison));
    assert_eq!(seqs.collect::<Vec<_>>(), [Some(103), Some(105), Some(109)]);
}

#[test]
fn an_event_that_is_not_kept_as_it_was_sent_is_found() {
    finds_of_poison("events set aside: each", |records| event(records).label = None);
    finds_of_poison("events set aside: each", |records| event(records).value = 2.0);
    finds_of_poison("events set aside: each", |records| event(records).request_id = Some("r0-1".into()));
    finds_of_poison("events set aside: each", |records| event(records).request_id = None);
    finds_of_poison("events set aside: each", |records| event(records).series = "__fault.abort".into());
    finds_of_poison("events set aside: each", |records| event(records).ts = "before".into());
    finds_of_poison("events set aside: each", |records| event(records).data = Some("{}".into()));
    finds_of_poison("events set aside: each", |records| records.set_aside[0].seq = Seq(10));
    finds_of_poison("events set aside: each", |records| records.set_aside[0].event = None);
}

#[test]
fn an_event_that_is_kept_with_the_report_of_another_death_is_found() {
    let what = "events set aside with the report";
    finds_of_poison(what, |records| records.set_aside[0].crash = CrashId(3));
    finds_of_poison(what, |records| records.set_aside[0].generation = Generation(4));
    finds_of_poison(what, |records| {
        let entry = &mut records.set_aside[0];
        (entry.crash, entry.generation) = (CrashId(3), Generation(4));
        let told = line(records, "event_quarantined", 5);
        (told["crash"], told["generation"]) = (3.into(), 4.into());
    });
    finds_of_poison(what, |records| records.set_aside[0].detail = "SIGBUS".into());
    finds_of_poison(what, |records| records.set_aside[0].cause = Cause::Exit);
    finds_of_poison(what, |records| records.set_aside[0].worker = "api".into());
    finds_of_poison(what, |records| records.set_aside[0].during = During::Commit);
    finds_of_poison(what, |records| records.set_aside[0].during = During::Load);
}

#[test]
fn an_abort_that_is_told_as_a_stack_overflow_is_found_and_the_other_way_round() {
    for (kind, how) in [(FaultKind::Abort, OVERFLOW), (FaultKind::StackOverflow, ABORT)] {
        finds("events set aside: each", |records| poison(records, kind, how));
        finds("kills", |records| poison(records, kind, how));
        finds("kills", |records| command(records, kind, how[1], None));
    }
}

#[test]
fn deaths_by_poison_that_are_told_as_something_else_are_found() {
    finds_of_poison("kills", |records| line(records, "worker_died", 4)["seq"] = 10.into());
    finds_of_poison("kills", |records| line(records, "worker_died", 4)["cause"] = "exit".into());
    finds_of_poison("kills", |records| line(records, "worker_died", 4)["worker"] = "api".into());
}
