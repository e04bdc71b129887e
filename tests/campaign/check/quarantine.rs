//! The quarantined events are exactly the poison events, each as it was sent. Compares by id.

use super::Check;
use crate::records::{Answer, PoisonEvent, Records, Request};
use bulkhead_proto::wire::{
    quarantine::{Entry, EventView},
    series::FAULT_PREFIX,
};
use bulkhead_tests::expected_death::death_matches;
use std::collections::{HashMap, HashSet};

/// How a poison event was sent.
struct SentEvent {
    request_id: String,
    /// Its seq, if the answer was not lost.
    seq: Option<u64>,
}

/// The quarantined poison events, by seq.
pub(super) fn by_seq(records: &Records) -> HashMap<u64, PoisonEvent> {
    records.quarantined.iter().filter_map(|entry| Some((entry.seq.0, PoisonEvent::of(entry)?))).collect()
}

pub(super) fn check(records: &Records) -> Vec<Check> {
    vec![check_entries(records), check_posted(records)]
}

/// Each entry is a poison event as it was sent, once, with the right cause.
fn check_entries(records: &Records) -> Check {
    let mut check =
        Check::of("quarantined events: each a poison event as it was sent, once, with the right cause");
    let sent = sent(records);
    let mut seen = HashSet::new();
    for entry in &records.quarantined {
        let ok = |poison: PoisonEvent| {
            let as_sent = sent.get(&poison).is_some_and(|sent| sent.matches_entry(entry, &poison));
            as_sent && death_matches(poison.kind, entry.cause.as_str(), &entry.detail) && seen.insert(poison)
        };
        let ok = PoisonEvent::of(entry).is_some_and(ok);
        check.expect(ok, || format!("{entry:?}"));
    }
    check
}

/// All poison events that were sent. For an event that was sent several times: the request that was accepted.
fn sent(records: &Records) -> HashMap<&PoisonEvent, SentEvent> {
    let mut sent = HashMap::new();
    for request in &records.requests {
        for (index, poison) in request.poisons.iter().enumerate() {
            let seq = seq_of(request, index, poison);
            if seq.is_some() || !sent.contains_key(poison) {
                sent.insert(poison, SentEvent { request_id: request.id(), seq });
            }
        }
    }
    sent
}

/// The seq of a poison event. It directly precedes its ordinary event, and follows the earlier poison events
/// of its request.
pub(super) fn seq_of(request: &Request, index: usize, poison: &PoisonEvent) -> Option<u64> {
    let Answer::Accepted(first, _) = request.answer else { return None };
    let before = poison.before.number.checked_sub(request.first)? + index;
    Some(first + before as u64)
}

impl SentEvent {
    /// Whether an entry holds the event as it was sent. The event had no timestamp of its own.
    fn matches_entry(&self, entry: &Entry, poison: &PoisonEvent) -> bool {
        let event = |arrived: &str| EventView {
            series: format!("{FAULT_PREFIX}{}", poison.kind),
            removal: false,
            value: Some(1.0),
            ts: arrived.to_owned(),
            arrived: arrived.to_owned(),
            label: Some(poison.label()),
            data: None,
            data_bytes: None,
            request_id: Some(self.request_id.clone()),
        };
        entry.event.as_ref().is_some_and(|kept| *kept == event(&kept.arrived))
            && self.seq.is_none_or(|seq| entry.seq.0 == seq)
    }
}

/// Each poison event of the plan was posted, and each one that was answered with 2xx is quarantined.
fn check_posted(records: &Records) -> Check {
    let mut check = Check::of("poison events answered 2xx, and quarantined");
    let quarantined: HashSet<PoisonEvent> = records.quarantined.iter().filter_map(PoisonEvent::of).collect();
    let mut posted = HashSet::new();
    for request in &records.requests {
        posted.extend(&request.poisons);
        if let Answer::Accepted(..) = request.answer {
            for poison in &request.poisons {
                check.expect(quarantined.contains(poison), || {
                    format!("{poison:?} of {request:?} is not quarantined")
                });
            }
        }
    }
    let (count, planned) = (posted.len(), records.run.poisons);
    check.expect(count == planned, || format!("{count} of {planned} poison events were posted"));
    check
}
