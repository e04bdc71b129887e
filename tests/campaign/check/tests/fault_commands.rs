//! Fault commands that are always refused, end no process, or end another one.

use super::{
    fault_fixture::{add_command, with_command},
    fixture::{expect_finding, findings_after, index, line_mut},
};
use crate::records::{Kill, Records};
use bulkhead_proto::wire::fault::FaultKind;

/// Expects the finding in records with a fault command.
#[track_caller]
fn expect_finding_with_command(what: &str, corrupt: fn(&mut Records)) {
    expect_finding(what, |records| {
        with_command(records);
        corrupt(records);
    });
}

#[test]
fn only_a_kill_can_be_commanded_of_a_starting_generation() {
    let early =
        |kind| findings_after(move |records| add_command(records, kind, "SIGKILL, before activation", None));
    assert_eq!(early(FaultKind::Kill), Vec::<&str>::new());
    assert_ne!(early(FaultKind::Segv), Vec::<&str>::new());
}

#[test]
fn a_kill_may_end_a_generation_before_its_fault_does() {
    let killed = |times: usize| {
        move |records: &mut Records| {
            add_command(records, FaultKind::Panic, "SIGKILL", None);
            let kill = Kill { at: 215, worker: "analytics".into(), generation: 4, pid: 1 };
            records.kills.extend(vec![kill; times]);
            records.run.kills += times;
        }
    };
    assert_eq!(findings_after(killed(1)), Vec::<&str>::new());
    expect_finding("kills", killed(0));
    expect_finding("kills", killed(2));
}

#[test]
fn commands_that_are_always_refused_or_end_no_process_are_found() {
    let what = "faults commanded";
    expect_finding_with_command(what, |records| records.fault_commands.clear());
    expect_finding_with_command(what, |records| {
        records.fault_commands.iter_mut().for_each(|command| command.generation = None);
    });
    expect_finding_with_command(what, |records| drop(records.log.remove(index(records, "worker_died", 4))));
    // The generation died only of the shutdown, or was already dead.
    expect_finding_with_command(what, |records| records.fault_commands[1].generation = Some(5));
    expect_finding_with_command(what, |records| records.fault_commands[1].generation = Some(2));
    expect_finding_with_command(what, |records| records.fault_commands[1].generation = Some(3));
    // The API died instead.
    expect_finding_with_command(what, |records| {
        (records.fault_commands[1].at, records.fault_commands[1].generation) = (100, Some(1));
    });
    expect_finding_with_command(what, |records| {
        records.fault_commands.push(records.fault_commands[1].clone());
    });
}

#[test]
fn deaths_that_are_logged_as_commanded_but_were_not_are_found() {
    expect_finding_with_command("kills", |records| records.fault_commands.clear());
    expect_finding_with_command("kills", |records| records.fault_commands[1].generation = Some(2));
    expect_finding_with_command("kills", |records| records.fault_commands[1].kind = FaultKind::Oom);
    expect_finding_with_command("kills", |records| {
        line_mut(records, "worker_died", 4)["detail"] = "fault segv: SIGSEGV".into();
    });
    expect_finding_with_command("kills", |records| {
        line_mut(records, "worker_died", 4)["detail"] = "fault abort: SIGSEGV".into();
    });
}
