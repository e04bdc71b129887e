//! Sound records with a poison event, and with a fault that was commanded.

use super::fixture::{KILLED, born, died, ending, finds, found};
use crate::{
    mix,
    records::{Answer, Got, Order, Poison, Records, Stats},
};
use bulkhead_proto::words::FaultKind;
use bulkhead_tests::ids::EventId;
use serde_json::json;

/// The number of the poison event.
pub(super) const SEQ: u64 = 11;

pub(super) const OVERFLOW: [&str; 2] = ["signal", "SIGABRT behind a fault: a stack overflow"];
pub(super) const ABORT: [&str; 2] = ["signal", "SIGABRT"];

/// Takes the ending off the story: the generation of the analysis that lives then, and how many crashes there were.
pub(super) fn reopen(records: &mut Records) -> (u64, u64) {
    let last = records.story.last().unwrap();
    let open = (last.number("generation").unwrap(), last.number("crash").unwrap() - 2);
    records.story.truncate(records.story.len() - 3);
    open
}

/// One event of the request that was answered is poison of this kind, comes behind the others, and is set aside after as
/// many deaths as it may cause, which are told so.
pub(super) fn poison(records: &mut Records, kind: FaultKind, how: [&str; 2]) {
    let (first, crashes) = reopen(records);
    let attempts = mix::deaths(kind);
    let deaths = u64::from(attempts);
    let generation = first + deaths - 1;
    for number in 0..deaths {
        let mut death = died(300, "analytics", first + number, crashes + number + 1, how);
        death.line["seq"] = SEQ.into();
        records.story.push(death);
        records.story.extend(born(310, "analytics", first + number + 1));
    }
    let mut told = died(305, "analytics", generation, crashes + deaths, how);
    (told.line["event_name"], told.line["level"]) = ("event_quarantined".into(), "WARN".into());
    (told.line["seq"], told.line["attempts"]) = (SEQ.into(), attempts.into());
    records.story.insert(records.story.len() - 2, told);
    records.story.extend(ending(crashes + deaths, generation + 1));
    let poison = Poison { before: EventId { writer: 0, number: 10 }, kind };
    let entry = json!({
        "seq": SEQ, "at": "later", "worker": "analytics", "generation": generation, "crash": crashes + deaths,
        "cause": how[0], "detail": how[1], "during": "apply", "attempts": attempts,
        "event": {
            "series": format!("__fault.{kind}"), "value": 1.0, "ts": "then", "arrived": "then",
            "label": poison.label(), "request_id": "r0-0",
        },
    });
    records.set_aside.push(serde_json::from_value(entry).unwrap());
    records.run.poisons = 1;
    (records.run.stats.accepted, records.run.stats.quarantined) = (16, 1);
    records.requests[1].poisons.push(poison);
    records.requests[1].answer = Answer::Accepted(1, SEQ);
    records.reads[1].got = Got::Stats(Stats { accepted: SEQ, analysed: 4, quarantined: 0, pending: 7 });
}

/// A fault is commanded, refused once, and then the death of the generation that lives; what that has in hand.
pub(super) fn command(records: &mut Records, kind: FaultKind, how: &str, seq: Option<u64>) {
    let (generation, crashes) = reopen(records);
    records.run.orders = 1;
    records.orders.push(Order { at: 200, kind, generation: None });
    records.orders.push(Order { at: 210, kind, generation: Some(generation) });
    let detail = format!("fault {kind}: {how}");
    let mut death = died(220, "analytics", generation, crashes + 1, ["requested", &detail]);
    death.line["seq"] = seq.into();
    records.story.push(death);
    records.story.extend(born(230, "analytics", generation + 1));
    records.story.extend(ending(crashes + 1, generation + 1));
}

pub(super) fn poisoned(records: &mut Records) {
    poison(records, FaultKind::Segv, ["signal", "SIGSEGV"]);
}

/// That it is found in records with a poison event.
#[track_caller]
pub(super) fn finds_of_poison(what: &str, plant: fn(&mut Records)) {
    finds(what, |records| {
        poisoned(records);
        plant(records);
    });
}

pub(super) fn commanded(records: &mut Records) {
    command(records, FaultKind::Abort, "SIGABRT", None);
}

#[test]
fn nothing_is_found_of_faults_that_are_told_rightly() {
    assert_eq!(found(poisoned), Vec::<&str>::new());
    assert_eq!(found(commanded), Vec::<&str>::new());
    for (kind, how) in [
        (FaultKind::Abort, ABORT),
        (FaultKind::StackOverflow, OVERFLOW),
        (FaultKind::Kill, KILLED),
        (FaultKind::Hang, ["hang", "no progress for 301 ms while there was work"]),
    ] {
        assert_eq!(found(|records| poison(records, kind, how)), Vec::<&str>::new(), "{kind}");
    }
    let crossed = |records: &mut Records| {
        command(records, FaultKind::Abort, OVERFLOW[1], Some(SEQ));
        poison(records, FaultKind::StackOverflow, OVERFLOW);
    };
    assert_eq!(found(crossed), Vec::<&str>::new(), "what is in hand may come first, and is not charged then");
}
