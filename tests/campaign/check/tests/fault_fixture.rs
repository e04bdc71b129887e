//! Valid records with a poison event, and with a fault command.

use super::fixture::{KILLED, death_line, expect_finding, findings_after, shutdown_lines, start_lines};
use crate::{
    fault_schedule,
    records::{Answer, FaultCommand, PoisonEvent, ReadResult, Records, Stats},
};
use bulkhead_proto::wire::fault::FaultKind;
use bulkhead_tests::event_id::EventId;
use serde_json::json;

/// The seq of the poison event.
pub(super) const SEQ: u64 = 11;

pub(super) const OVERFLOW: [&str; 2] = ["signal", "SIGABRT after SIGSEGV: stack overflow"];
pub(super) const ABORT: [&str; 2] = ["signal", "SIGABRT"];

/// Removes the shutdown from the log. Returns the generation of the analysis that is alive then, and the
/// number of crashes.
pub(super) fn remove_shutdown(records: &mut Records) -> (u64, u64) {
    let last = records.log.last().unwrap();
    let open = (last.number("generation").unwrap(), last.number("crash").unwrap() - 2);
    records.log.truncate(records.log.len() - 3);
    open
}

/// Makes one event of the answered request a poison event of this kind, after the other events. It is
/// quarantined after as many deaths as it may cause, each logged with the cause and detail `how`.
pub(super) fn add_poison(records: &mut Records, kind: FaultKind, how: [&str; 2]) {
    let (first, crashes) = remove_shutdown(records);
    let attempts = fault_schedule::expected_deaths(kind);
    let deaths = u64::from(attempts);
    let generation = first + deaths - 1;
    for number in 0..deaths {
        let mut death = death_line(300, "analytics", first + number, crashes + number + 1, how);
        death.fields["seq"] = SEQ.into();
        records.log.push(death);
        records.log.extend(start_lines(310, "analytics", first + number + 1));
    }
    let mut line = death_line(305, "analytics", generation, crashes + deaths, how);
    (line.fields["event_name"], line.fields["level"]) = ("event_quarantined".into(), "WARN".into());
    (line.fields["seq"], line.fields["attempts"]) = (SEQ.into(), attempts.into());
    records.log.insert(records.log.len() - 2, line);
    records.log.extend(shutdown_lines(crashes + deaths, generation + 1));
    let poison = PoisonEvent { before: EventId { writer: 0, number: 10 }, kind };
    let entry = json!({
        "seq": SEQ, "at": "later", "worker": "analytics", "generation": generation, "crash": crashes + deaths,
        "cause": how[0], "detail": how[1], "during": "apply", "attempts": attempts,
        "event": {
            "series": format!("__fault.{kind}"), "value": 1.0, "ts": "then", "arrived": "then",
            "label": poison.label(), "request_id": "r0-0",
        },
    });
    records.quarantined.push(serde_json::from_value(entry).unwrap());
    records.run.poisons = 1;
    (records.run.stats.accepted, records.run.stats.quarantined) = (16, 1);
    records.requests[1].poisons.push(poison);
    records.requests[1].answer = Answer::Accepted(1, SEQ);
    records.reads[1].got =
        ReadResult::Stats(Stats { accepted: SEQ, analysed: 4, quarantined: 0, pending: 7 });
}

/// Adds a fault command that is refused once and then kills the current generation, with the event `seq` in
/// flight.
pub(super) fn add_command(records: &mut Records, kind: FaultKind, how: &str, seq: Option<u64>) {
    let (generation, crashes) = remove_shutdown(records);
    records.run.fault_commands = 1;
    records.fault_commands.push(FaultCommand { at: 200, kind, generation: None });
    records.fault_commands.push(FaultCommand { at: 210, kind, generation: Some(generation) });
    let detail = format!("fault {kind}: {how}");
    let mut death = death_line(220, "analytics", generation, crashes + 1, ["requested", &detail]);
    death.fields["seq"] = seq.into();
    records.log.push(death);
    records.log.extend(start_lines(230, "analytics", generation + 1));
    records.log.extend(shutdown_lines(crashes + 1, generation + 1));
}

pub(super) fn with_poison(records: &mut Records) {
    add_poison(records, FaultKind::Segv, ["signal", "SIGSEGV"]);
}

/// Expects the finding in records with a poison event.
#[track_caller]
pub(super) fn expect_finding_with_poison(what: &str, corrupt: fn(&mut Records)) {
    expect_finding(what, |records| {
        with_poison(records);
        corrupt(records);
    });
}

pub(super) fn with_command(records: &mut Records) {
    add_command(records, FaultKind::Abort, "SIGABRT", None);
}

#[test]
fn correctly_logged_faults_yield_no_finding() {
    assert_eq!(findings_after(with_poison), Vec::<&str>::new());
    assert_eq!(findings_after(with_command), Vec::<&str>::new());
    for (kind, how) in [
        (FaultKind::Abort, ABORT),
        (FaultKind::StackOverflow, OVERFLOW),
        (FaultKind::Kill, KILLED),
        (FaultKind::Hang, ["hang", "no progress for 301 ms with work pending"]),
    ] {
        assert_eq!(findings_after(|records| add_poison(records, kind, how)), Vec::<&str>::new(), "{kind}");
    }
    let crossed = |records: &mut Records| {
        add_command(records, FaultKind::Abort, OVERFLOW[1], Some(SEQ));
        add_poison(records, FaultKind::StackOverflow, OVERFLOW);
    };
    assert_eq!(
        findings_after(crossed),
        Vec::<&str>::new(),
        "the event in flight may kill first, and is then not charged"
    );
}
