//! Charges: forgotten, doubled, made up, and what follows from them told too early, too late or not at all.

use super::{
    faults::{SEQ, finds_of_poison, poison, poisoned, reopen},
    fixture::{KILLED, born, died, ending, finds, found, line, place},
};
use crate::records::{Kill, Records};
use bulkhead_proto::words::FaultKind;

#[test]
fn a_kill_with_the_event_in_hand_is_charged_as_well() {
    let killed_too = |records: &mut Records| {
        let (generation, crashes) = reopen(records);
        records.run.kills = 2;
        let kill = Kill { at: 250, worker: "analytics".into(), generation, pid: 1 };
        records.kills.push(kill);
        let mut death = died(255, "analytics", generation, crashes + 1, KILLED);
        death.line["seq"] = SEQ.into();
        records.story.push(death);
        records.story.extend(born(260, "analytics", generation + 1));
        records.story.extend(ending(crashes + 1, generation + 1));
        poisoned(records);
        records.set_aside[0].attempts = 3;
        line(records, "event_quarantined", 6)["attempts"] = 3.into();
    };
    assert_eq!(found(killed_too), Vec::<&str>::new());
    finds("events set aside after", |records| {
        killed_too(records);
        records.set_aside[0].attempts = 2;
    });
}

#[test]
fn charges_that_are_forgotten_doubled_or_made_up_are_found() {
    let what = "events set aside after";
    finds_of_poison(what, |records| records.set_aside[0].attempts = 99);
    finds_of_poison(what, |records| records.set_aside[0].attempts = 0);
    // Charged twice: one death, and set aside.
    finds_of_poison(what, |records| drop(records.story.remove(place(records, "worker_died", 4))));
    finds_of_poison(what, |records| {
        records.story.retain(|told| told.number("seq") != Some(SEQ) || !told.is("worker_died"));
    });
    finds_of_poison(what, |records| {
        records.story.remove(place(records, "worker_died", 4));
        records.set_aside[0].attempts = 1;
        line(records, "event_quarantined", 5)["attempts"] = 1.into();
    });
    finds_of_poison(what, |records| line(records, "worker_died", 4)["cause"] = "requested".into());
    // Forgotten once: three deaths.
    finds(what, |records| {
        let (generation, crashes) = reopen(records);
        let mut death = died(255, "analytics", generation, crashes + 1, ["signal", "SIGSEGV"]);
        death.line["seq"] = SEQ.into();
        records.story.push(death);
        records.story.extend(born(260, "analytics", generation + 1));
        records.story.extend(ending(crashes + 1, generation + 1));
        poisoned(records);
    });
    // Of eight kills.
    finds(what, |records| {
        poison(records, FaultKind::Kill, KILLED);
        records.story.remove(place(records, "worker_died", 4));
        records.set_aside[0].attempts = 7;
        line(records, "event_quarantined", 11)["attempts"] = 7.into();
    });
}

#[test]
fn an_event_that_is_skipped_untold_unstored_or_too_late_is_found() {
    let what = "lines that tell of each event set aside";
    finds_of_poison(what, |records| records.story.retain(|told| !told.is("event_quarantined")));
    finds_of_poison(what, |records| {
        let told = records.story.remove(place(records, "event_quarantined", 5));
        records.story.insert(place(records, "worker_died", 4), told);
    });
    finds_of_poison(what, |records| {
        let told = records.story.remove(place(records, "event_quarantined", 5));
        records.story.insert(place(records, "worker_died", 5), told);
    });
    finds_of_poison(what, |records| {
        let told = records.story.remove(place(records, "event_quarantined", 5));
        records.story.insert(place(records, "worker_activated", 6) + 1, told);
    });
    finds_of_poison(what, |records| {
        let told = records.story[place(records, "event_quarantined", 5)].clone();
        records.story.insert(place(records, "worker_activated", 6), told);
    });
    finds_of_poison(what, |records| records.set_aside.clear());
    for field in ["attempts", "crash", "generation"] {
        finds(what, |records| {
            poisoned(records);
            line(records, "event_quarantined", 5)[field] = 9.into();
        });
    }
    for field in ["cause", "detail", "worker"] {
        finds(what, |records| {
            poisoned(records);
            line(records, "event_quarantined", 5)[field] = "api".into();
        });
    }
    // It was applied again although it was set aside.
    finds_of_poison(what, |records| line(records, "worker_died", 6)["seq"] = SEQ.into());
}

/// The faults of `mutant.rs` that records can show, each as it would look in a run.
#[test]
fn what_the_planted_faults_would_leave_behind_is_found() {
    // Commit before apply: it died of an event that was committed already, which is neither counted nor set aside.
    finds("events answered 2xx", |records| drop(records.series.remove(3)));
    finds_of_poison("poison events answered 2xx", |records| records.set_aside.clear());
    // Apply again what is committed.
    finds("series whose count and sum", |records| records.series[3].count = 2);
    // Skip without storing.
    finds_of_poison("lines that tell of each event set aside", |records| records.set_aside.clear());
    // Skip, and do not count it.
    finds_of_poison("totals", |records| records.run.stats.quarantined = 0);
    // Forget the skip, or apply what is skipped: one more death behind it.
    finds_of_poison("events set aside after", |records| {
        let told = records.story.remove(place(records, "event_quarantined", 5));
        let mut death = told.clone();
        (death.line["event_name"], death.line["generation"]) = ("worker_died".into(), 6.into());
        records.story.insert(place(records, "worker_activated", 6) + 1, death);
        records.story.insert(place(records, "worker_activated", 6), told);
    });
    // Activate while it is being stored.
    finds_of_poison("lines that tell of each event set aside", |records| {
        let told = records.story.remove(place(records, "event_quarantined", 5));
        records.story.insert(place(records, "worker_activated", 6) + 1, told);
    });
    // Forget a death, or its number.
    finds_of_poison("generations", |records| drop(records.story.remove(place(records, "worker_died", 4))));
    // Charge who was told to die.
    finds_of_poison("events set aside after", |records| {
        line(records, "worker_died", 4)["cause"] = "requested".into();
    });
}
