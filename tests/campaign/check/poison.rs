//! What was set aside is just what is poison: by id, for the right cause, after no more deaths than are allowed.

use super::Check;
use crate::{
    mix,
    records::{Answer, Poison, Records},
};
use bulkhead_proto::quarantine::Entry;
use bulkhead_tests::faults::cause_and_word;
use std::collections::{HashMap, HashSet};

/// The events that were set aside, by seq; only those that are poison.
pub(super) fn by_seq(records: &Records) -> HashMap<u64, Poison> {
    records.set_aside.iter().filter_map(|entry| Some((entry.seq.0, Poison::of(entry)?))).collect()
}

pub(super) fn check(records: &Records) -> Vec<Check> {
    vec![set_aside(records), posted(records), deaths(records)]
}

/// Each entry is a poison event that was sent, once, and tells rightly of what it died.
fn set_aside(records: &Records) -> Check {
    let mut check = Check::of("events set aside: each a poison event, once, for the right cause");
    let sent: HashSet<&Poison> = records.requests.iter().flat_map(|request| &request.poisons).collect();
    let mut seen = HashSet::new();
    for entry in &records.set_aside {
        let right =
            |poison: Poison| sent.contains(&poison) && is_told_rightly(entry, &poison) && seen.insert(poison);
        let right = Poison::of(entry).is_some_and(right);
        check.holds(right, || format!("{entry:?}"));
    }
    check
}

fn is_told_rightly(entry: &Entry, poison: &Poison) -> bool {
    let (cause, word) = cause_and_word(poison.kind);
    entry.cause.as_str() == cause && entry.detail.contains(word)
}

/// Each poison event of the plan was posted, and those that were answered 2xx are set aside.
fn posted(records: &Records) -> Check {
    let mut check = Check::of("poison events answered 2xx, and set aside");
    let set_aside: HashSet<Poison> = records.set_aside.iter().filter_map(Poison::of).collect();
    let mut posted = HashSet::new();
    for request in &records.requests {
        posted.extend(&request.poisons);
        if let Answer::Accepted(..) = request.answer {
            for poison in &request.poisons {
                check.holds(set_aside.contains(poison), || {
                    format!("{poison:?} of {request:?} is not set aside")
                });
            }
        }
    }
    let (all, planned) = (posted.len(), records.run.poisons);
    check.holds(all == planned, || format!("{all} of {planned} poison events were posted"));
    check
}

/// No poison event took more lives than it may. Those whom the campaign killed with it in hand are not its own.
fn deaths(records: &Records) -> Check {
    let mut check = Check::of("poison events that took no more lives than they may");
    let killed: HashSet<u64> = records.kills.iter().map(|kill| kill.generation).collect();
    let mut deaths: HashMap<u64, u32> = HashMap::new();
    for told in records.story.iter().filter(|told| told.line["event_name"] == "worker_died") {
        let (generation, seq) = (told.line["generation"].as_u64(), told.line["seq"].as_u64());
        let own =
            told.line["cause"] != "requested" && generation.is_none_or(|number| !killed.contains(&number));
        *deaths.entry(seq.unwrap_or_default()).or_default() += u32::from(own);
    }
    for (seq, poison) in by_seq(records) {
        let died = deaths.get(&seq).copied().unwrap_or_default();
        check.holds(died <= mix::deaths(poison.kind), || format!("{died} deaths by {poison:?}, event {seq}"));
    }
    check
}
