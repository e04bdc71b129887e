//! Each event that was set aside was charged with the deaths that it caused, with no other and with none twice; and it was
//! stored behind the last of them, before anybody could die of it again.

use super::{
    Check,
    story::{self, Death},
};
use crate::{
    mix::{ATTEMPTS, KILLS},
    records::{Records, Told},
};
use bulkhead_proto::{quarantine::Entry, words::During};

pub(super) fn check(records: &Records) -> Vec<Check> {
    let deaths = story::deaths(records);
    vec![counted(records, &deaths), last(records, &deaths), told(records, &deaths)]
}

/// The deaths with which an event is charged: all with it in hand, unless somebody had asked for them.
fn charged<'a>(deaths: &'a [Death<'_>], entry: &'a Entry) -> impl Iterator<Item = &'a Death<'a>> {
    deaths.iter().filter(|death| death.seq == Some(entry.seq.0) && !death.is_requested())
}

/// SIGKILLs count apart: the campaign's own as well, for nobody knows where they come from.
fn counted(records: &Records, deaths: &[Death<'_>]) -> Check {
    let mut check =
        Check::of("events set aside after just as many deaths as they may cause, each charged once");
    for entry in &records.set_aside {
        let (mut tried, mut kills) = (0, 0);
        for death in charged(deaths, entry) {
            *(if death.is_kill() { &mut kills } else { &mut tried }) += 1;
        }
        let enough = tried == ATTEMPTS && kills < KILLS || tried < ATTEMPTS && kills == KILLS;
        check.holds(enough && entry.attempts == tried + kills, || {
            format!("{tried} deaths and {kills} kills are told of {entry:?}")
        });
    }
    check
}

/// The report that is kept with the event is the one of the last of these deaths. A poison event is never loaded, and never
/// committed: its effect comes before.
fn last(records: &Records, deaths: &[Death<'_>]) -> Check {
    let mut check = Check::of("events set aside with the report of the last death by them");
    for entry in &records.set_aside {
        let last = charged(deaths, entry).last();
        let same = |death: &Death<'_>| {
            (death.worker, death.generation, death.crash)
                == (&*entry.worker, entry.generation.0, entry.crash.0)
                && (death.cause, death.detail) == (entry.cause.as_str(), &*entry.detail)
        };
        let right = last.is_some_and(same) && entry.during == During::Apply;
        check.holds(right, || format!("{last:?} was the last death by {entry:?}"));
    }
    check
}

/// The log tells of each event once that it is set aside: behind its last death, and before a successor is activated who
/// could only die of it again.
fn told(records: &Records, deaths: &[Death<'_>]) -> Check {
    let mut check = Check::of("lines that tell of each event set aside, before anybody is activated again");
    let lines = || records.story.iter().enumerate().filter(|(_, told)| told.is("event_quarantined"));
    for entry in &records.set_aside {
        let own: Vec<_> = lines().filter(|(_, told)| told.number("seq") == Some(entry.seq.0)).collect();
        let right =
            matches!(*own, [(place, told)] if says(told, entry) && is_in_time(records, deaths, entry, place));
        check.holds(right, || format!("{own:?} is what is told of {entry:?}"));
    }
    for (_, told) in lines() {
        let known = records.set_aside.iter().any(|entry| Some(entry.seq.0) == told.number("seq"));
        check.holds(known, || format!("nothing is set aside of which is told {}", told.line));
    }
    check
}

/// Whether a line says what is kept.
fn says(told: &Told, entry: &Entry) -> bool {
    let numbers =
        [("generation", entry.generation.0), ("crash", entry.crash.0), ("attempts", entry.attempts.into())];
    let texts = [("worker", &*entry.worker), ("cause", entry.cause.as_str()), ("detail", &entry.detail)];
    numbers.iter().all(|(field, number)| told.number(field) == Some(*number))
        && texts.iter().all(|(field, text)| told.text(field) == *text)
}

/// Whether a line in this place comes behind all deaths with the event in hand, whatever they were of, and before the next
/// activation.
fn is_in_time(records: &Records, deaths: &[Death<'_>], entry: &Entry, place: usize) -> bool {
    let with_it = deaths.iter().filter(|death| death.seq == Some(entry.seq.0));
    let Some(last) = with_it.map(|death| death.place).max().filter(|last| *last < place) else {
        return false;
    };
    !records.story[last..place].iter().any(|told| told.tells("worker_activated", "analytics"))
}
