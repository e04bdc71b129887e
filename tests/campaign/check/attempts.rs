//! The attempts of a quarantined event are the deaths that it caused, each counted once. The event was stored
//! after the last of these deaths, and before the next activation.

use super::{
    Check,
    deploy_log::Deploys,
    log::{self, Death},
};
use crate::{
    fault_schedule::{MAX_ATTEMPTS, MAX_KILLS},
    records::{LogLine, Records},
};
use bulkhead_proto::wire::{cause::Operation, quarantine::Entry};

pub(super) fn check(records: &Records, deploys: &Deploys<'_>) -> Vec<Check> {
    let deaths = log::deaths(records);
    vec![
        check_attempts(records, &deaths),
        check_last_death(records, &deaths),
        check_log_lines(records, &deaths, deploys),
    ]
}

/// The events that are quarantined at the end, and those that failed because of a bad deploy and were replayed.
fn entries(records: &Records) -> impl Iterator<Item = &Entry> {
    records.quarantined.iter().chain(replayed(records))
}

/// The replayed events that have deaths of their own. Those of an isolated series have none.
fn replayed(records: &Records) -> impl Iterator<Item = &Entry> {
    let replayed = records.deploys.iter().flat_map(|deploy| &deploy.quarantined);
    replayed.filter(|entry| entry.attempts > 0)
}

/// The deaths that count as attempts of an event: all deaths with the event in flight, unless the death was
/// requested.
fn charged_deaths<'a>(deaths: &'a [Death<'_>], entry: &'a Entry) -> impl Iterator<Item = &'a Death<'a>> {
    deaths.iter().filter(|death| death.seq == Some(entry.seq.0) && !death.is_requested())
}

/// Kills by SIGKILL have their own limit. The campaign's own kills count too, because the supervisor cannot
/// know where a SIGKILL comes from.
fn check_attempts(records: &Records, deaths: &[Death<'_>]) -> Check {
    let mut check = Check::of("quarantined events: as many attempts as deaths, and not more than allowed");
    for entry in &records.quarantined {
        let (mut died, mut kills) = (0, 0);
        for death in charged_deaths(deaths, entry) {
            *(if death.is_kill() { &mut kills } else { &mut died }) += 1;
        }
        let enough = died == MAX_ATTEMPTS && kills < MAX_KILLS || died < MAX_ATTEMPTS && kills == MAX_KILLS;
        check.expect(enough && entry.attempts == died + kills, || {
            format!("{died} deaths and {kills} kills were logged for {entry:?}")
        });
    }
    for entry in replayed(records) {
        // A wrong program that fails now and then may also have died of the event in a trial, which is no attempt.
        let died = charged_deaths(deaths, entry).count();
        check.expect(entry.attempts == MAX_ATTEMPTS && died >= MAX_ATTEMPTS as usize, || {
            format!("{died} deaths were logged for {entry:?}")
        });
    }
    check
}

/// The entry must describe the last of these deaths. A poison event is never loaded or committed: it takes
/// effect when it is applied.
fn check_last_death(records: &Records, deaths: &[Death<'_>]) -> Check {
    let mut check = Check::of("quarantined events: the entry describes the last death");
    for entry in entries(records) {
        let last_death = charged_deaths(deaths, entry).last();
        let is_same = |death: &Death<'_>| {
            (death.worker, death.generation, death.crash)
                == (&*entry.worker, entry.generation.0, entry.crash.0)
                && (death.cause, death.detail) == (entry.cause.as_str(), &*entry.detail)
        };
        let ok = last_death.is_some_and(is_same) && entry.during == Operation::Apply;
        check.expect(ok, || format!("{last_death:?} was the last death for {entry:?}"));
    }
    check
}

/// Each quarantined event is logged once: after its last death, and before a successor, which would die of it
/// again, is activated. An event that failed because of a bad deploy may have been released.
fn check_log_lines(records: &Records, deaths: &[Death<'_>], deploys: &Deploys<'_>) -> Check {
    let mut check = Check::of("quarantined events: one log line each, before the next activation");
    let lines = || records.log.iter().enumerate().filter(|(_, line)| line.is("event_quarantined"));
    for entry in entries(records) {
        let own_lines: Vec<_> = lines().filter(|(_, line)| line.number("seq") == Some(entry.seq.0)).collect();
        let ok = matches!(*own_lines, [(index, line)] if matches_entry(line, entry) && is_logged_in_time(records, deaths, entry, index));
        check.expect(ok, || format!("the log has {own_lines:?} for {entry:?}"));
    }
    for (_, line) in lines() {
        let is_known = entries(records).any(|entry| Some(entry.seq.0) == line.number("seq"))
            || deploys.of_line(line).is_some();
        check.expect(is_known, || format!("no quarantine entry for the log line {}", line.fields));
    }
    check
}

/// Whether a log line agrees with the quarantine entry.
fn matches_entry(line: &LogLine, entry: &Entry) -> bool {
    let numbers =
        [("generation", entry.generation.0), ("crash", entry.crash.0), ("attempts", entry.attempts.into())];
    let texts = [("worker", &*entry.worker), ("cause", entry.cause.as_str()), ("detail", &entry.detail)];
    numbers.iter().all(|(field, number)| line.number(field) == Some(*number))
        && texts.iter().all(|(field, text)| line.text(field) == *text)
}

/// Whether the line at `index` comes after all deaths with the event in flight, whatever their cause, and
/// before the next activation.
fn is_logged_in_time(records: &Records, deaths: &[Death<'_>], entry: &Entry, index: usize) -> bool {
    let with_event = deaths.iter().filter(|death| death.seq == Some(entry.seq.0));
    let Some(last_death) = with_event.map(|death| death.index).max().filter(|last_death| *last_death < index)
    else {
        return false;
    };
    !records.log[last_death..index].iter().any(|line| line.is_event_of("worker_activated", "analytics"))
}
