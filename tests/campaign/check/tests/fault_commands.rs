//! Faults by command that are refused, or end nobody, or somebody else.

use super::{
    faults::{command, commanded},
    fixture::{finds, found, line, place},
};
use crate::records::Records;
use bulkhead_proto::words::FaultKind;

/// That it is found in records with a command.
#[track_caller]
fn finds_of_commands(what: &str, plant: fn(&mut Records)) {
    finds(what, |records| {
        commanded(records);
        plant(records);
    });
}

#[test]
fn a_kill_alone_may_be_commanded_of_one_that_is_starting() {
    let early = |kind| found(move |records| command(records, kind, "SIGKILL, before it was activated", None));
    assert_eq!(early(FaultKind::Kill), Vec::<&str>::new());
    assert_ne!(early(FaultKind::Segv), Vec::<&str>::new());
}

#[test]
fn commands_that_are_refused_for_ever_or_end_nobody_are_found() {
    let what = "faults commanded";
    finds_of_commands(what, |records| records.orders.clear());
    finds_of_commands(what, |records| records.orders.iter_mut().for_each(|order| order.generation = None));
    finds_of_commands(what, |records| drop(records.story.remove(place(records, "worker_died", 4))));
    // Only the stop at the end was its end, or it was dead before.
    finds_of_commands(what, |records| records.orders[1].generation = Some(5));
    finds_of_commands(what, |records| records.orders[1].generation = Some(2));
    finds_of_commands(what, |records| records.orders[1].generation = Some(3));
    // It is the API that died.
    finds_of_commands(what, |records| {
        (records.orders[1].at, records.orders[1].generation) = (100, Some(1));
    });
    finds_of_commands(what, |records| records.orders.push(records.orders[1].clone()));
}

#[test]
fn deaths_that_are_told_as_commanded_and_were_not_are_found() {
    finds_of_commands("kills", |records| records.orders.clear());
    finds_of_commands("kills", |records| records.orders[1].generation = Some(2));
    finds_of_commands("kills", |records| records.orders[1].kind = FaultKind::Oom);
    finds_of_commands("kills", |records| {
        line(records, "worker_died", 4)["detail"] = "fault segv: SIGSEGV".into();
    });
    finds_of_commands("kills", |records| {
        line(records, "worker_died", 4)["detail"] = "fault abort: SIGSEGV".into();
    });
}
