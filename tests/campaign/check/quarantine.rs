//! What was set aside is just what is poison, as it was sent: by id.

use super::Check;
use crate::records::{Answer, Poison, Records, Request};
use bulkhead_proto::{
    quarantine::{Entry, Shown},
    words::FAULT_PREFIX,
};
use bulkhead_tests::faults::is_told;
use std::collections::{HashMap, HashSet};

/// How a poison event was sent.
struct Sent {
    request_id: String,
    /// Its number, if the answer with it was not lost.
    seq: Option<u64>,
}

/// The events that were set aside, by seq; only those that are poison.
pub(super) fn by_seq(records: &Records) -> HashMap<u64, Poison> {
    records.set_aside.iter().filter_map(|entry| Some((entry.seq.0, Poison::of(entry)?))).collect()
}

pub(super) fn check(records: &Records) -> Vec<Check> {
    vec![set_aside(records), posted(records)]
}

/// Each entry is a poison event as it was sent, once, and tells rightly of what it died.
fn set_aside(records: &Records) -> Check {
    let mut check =
        Check::of("events set aside: each a poison event as it was sent, once, for the right cause");
    let sent = sent(records);
    let mut seen = HashSet::new();
    for entry in &records.set_aside {
        let right = |poison: Poison| {
            let as_sent = sent.get(&poison).is_some_and(|sent| sent.is_kept_by(entry, &poison));
            as_sent && is_told(poison.kind, entry.cause.as_str(), &entry.detail) && seen.insert(poison)
        };
        let right = Poison::of(entry).is_some_and(right);
        check.holds(right, || format!("{entry:?}"));
    }
    check
}

/// All poison events that were sent; of one that was sent several times, as it was accepted.
fn sent(records: &Records) -> HashMap<&Poison, Sent> {
    let mut sent = HashMap::new();
    for request in &records.requests {
        for (place, poison) in request.poisons.iter().enumerate() {
            let seq = seq_of(request, place, poison);
            if seq.is_some() || !sent.contains_key(poison) {
                sent.insert(poison, Sent { request_id: request.id(), seq });
            }
        }
    }
    sent
}

/// A poison event comes right before an ordinary one, behind all others of its request that do.
pub(super) fn seq_of(request: &Request, place: usize, poison: &Poison) -> Option<u64> {
    let Answer::Accepted(first, _) = request.answer else { return None };
    let before = poison.before.number.checked_sub(request.first)? + place;
    Some(first + before as u64)
}

impl Sent {
    /// Whether an entry keeps the event that was sent. It had no time of its own.
    fn is_kept_by(&self, entry: &Entry, poison: &Poison) -> bool {
        let event = |arrived: &str| Shown {
            series: format!("{FAULT_PREFIX}{}", poison.kind),
            value: 1.0,
            ts: arrived.to_owned(),
            arrived: arrived.to_owned(),
            label: Some(poison.label()),
            data: None,
            request_id: Some(self.request_id.clone()),
        };
        entry.event.as_ref().is_some_and(|kept| *kept == event(&kept.arrived))
            && self.seq.is_none_or(|seq| entry.seq.0 == seq)
    }
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
