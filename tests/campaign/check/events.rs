//! Each event that was answered with 2xx was counted, and no other.

use super::Check;
use crate::records::{Answer, PoisonEvent, Records, Request};
use bulkhead_tests::event_id::EventId;
use std::collections::{HashMap, HashSet};

/// The events that were counted or quarantined.
pub(crate) struct Counts {
    series: HashMap<String, u64>,
    quarantined: HashSet<PoisonEvent>,
}

impl Counts {
    pub(super) fn of(records: &Records) -> Self {
        let series = records.series.iter().map(|found| (found.series.clone(), found.sum.unwrap_or_default()));
        let quarantined = records.quarantined.iter().filter_map(PoisonEvent::of);
        Self { series: series.collect(), quarantined: quarantined.collect() }
    }

    fn contains(&self, id: EventId) -> bool {
        self.series.get(&id.series()).is_some_and(|sum| sum & id.value() != 0)
    }

    /// How many events of a request were counted or quarantined.
    pub(super) fn count_within(&self, request: &Request) -> usize {
        let poisons = request.poisons.iter().filter(|poison| self.quarantined.contains(poison));
        request.ids().filter(|id| self.contains(*id)).count() + poisons.count()
    }

    pub(super) fn check(&self, records: &Records) -> Vec<Check> {
        let mut accepted = Check::of("events answered 2xx, and counted");
        let mut unknown = Check::of("requests whose answer was lost: counted in full or not at all");
        let mut repeated = Check::of("requests with a key whose answer was lost: counted in full");
        let mut sent: HashMap<String, u64> = HashMap::new();
        for request in &records.requests {
            let is_accepted = match &request.answer {
                Answer::Accepted(..) => true,
                Answer::Lost(_) => false,
                Answer::Retried(_) => {
                    let count = self.count_within(request);
                    repeated.expect(count == request.size(), || {
                        format!("{count} events were counted for {request:?}")
                    });
                    continue;
                }
                Answer::Full | Answer::Wrong(_) => continue,
            };
            for id in request.ids() {
                *sent.entry(id.series()).or_default() |= id.value();
                if is_accepted {
                    accepted.expect(self.contains(id), || format!("{id:?} of {request:?} was not counted"));
                }
            }
            if !is_accepted {
                let count = self.count_within(request);
                let whole = count == 0 || count == request.size();
                unknown.expect(whole, || format!("{count} events were counted for {request:?}"));
            }
        }
        vec![accepted, unknown, repeated, self.check_nothing_else(&sent), check_all_sent(records)]
    }

    /// No other event was counted. Compares the bits that each series was sent, because an event that was never sent has no
    /// id to look up.
    fn check_nothing_else(&self, sent: &HashMap<String, u64>) -> Check {
        let mut check = Check::of("series without unexpected events");
        for (series, sum) in &self.series {
            let unexpected = sum & !sent.get(series).copied().unwrap_or_default();
            check.expect(unexpected == 0, || {
                format!("{series} counted the bits {unexpected:#x}, which were not sent")
            });
        }
        check
    }
}

/// The records are complete: every event was sent, and no answer was wrong.
fn check_all_sent(records: &Records) -> Check {
    let mut check = Check::of("requests answered 202 or 503, or interrupted");
    let mut sent = 0;
    for request in &records.requests {
        sent += if request.answer.is_repeated() { 0 } else { request.count };
        check.expect(!matches!(request.answer, Answer::Wrong(_)), || format!("{request:?}"));
    }
    check.expect(sent == records.run.events, || format!("{sent} of {} events were sent", records.run.events));
    check
}
