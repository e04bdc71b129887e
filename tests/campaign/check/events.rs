//! Each event: was it answered with a 2xx, and was it counted?

use super::Check;
use crate::{
    plan::WRITERS,
    records::{Answer, Poison, Records, Request},
};
use bulkhead_tests::event_id::EventId;
use std::collections::{HashMap, HashSet};

/// What is known of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Nobody tried to send it, or all who tried were refused.
    Unsent,
    /// It was answered with a 2xx.
    Accepted,
    /// Its answer was lost.
    Open,
}

/// Which events are counted, or set aside, and which batches of unknown fate turned out to be.
pub(crate) struct Counts {
    series: HashMap<String, u64>,
    set_aside: HashSet<Poison>,
}

impl Counts {
    pub(super) fn of(records: &Records) -> Self {
        let series = records.series.iter().map(|found| (found.series.clone(), found.sum.unwrap_or_default()));
        let set_aside = records.set_aside.iter().filter_map(Poison::of);
        Self { series: series.collect(), set_aside: set_aside.collect() }
    }

    fn has(&self, id: EventId) -> bool {
        self.series.get(&id.series()).is_some_and(|sum| sum & id.value() != 0)
    }

    /// How many events of a request are counted, or set aside.
    pub(super) fn within(&self, request: &Request) -> usize {
        let set_aside = request.poisons.iter().filter(|poison| self.set_aside.contains(poison));
        request.ids().filter(|id| self.has(*id)).count() + set_aside.count()
    }

    pub(super) fn check(&self, records: &Records) -> Vec<Check> {
        let mut accepted = Check::of("events answered 2xx, and counted");
        let mut open = Check::of("requests whose answer was lost, and counted whole or not at all");
        let mut again = Check::of("requests with a key whose answer was lost, and counted whole");
        let mut fates: Vec<Vec<Fate>> = vec![vec![Fate::Unsent; records.run.events]; WRITERS];
        for request in &records.requests {
            let fate = match &request.answer {
                Answer::Accepted(..) => Fate::Accepted,
                Answer::Lost(_) => Fate::Open,
                Answer::Retried(_) => {
                    let within = self.within(request);
                    again.holds(within == request.size(), || {
                        format!("{within} events are counted of {request:?}")
                    });
                    continue;
                }
                Answer::Full | Answer::Wrong(_) => continue,
            };
            for id in request.ids() {
                fates[id.writer][id.number] = fate;
                if fate == Fate::Accepted {
                    accepted.holds(self.has(id), || format!("{id:?} of {request:?} is lost"));
                }
            }
            if fate == Fate::Open {
                let within = self.within(request);
                let whole = within == 0 || within == request.size();
                open.holds(whole, || format!("{within} events are counted of {request:?}"));
            }
        }
        vec![accepted, open, again, self.nothing_else(&fates), sent_as_planned(records)]
    }

    /// Nothing is counted but what was sent; by bits, since what nobody sent has no id that could be asked for.
    fn nothing_else(&self, fates: &[Vec<Fate>]) -> Check {
        let mut check = Check::of("series that count nothing else");
        let mut known: HashMap<String, u64> = HashMap::new();
        for (writer, fates) in fates.iter().enumerate() {
            for (number, fate) in fates.iter().enumerate() {
                if *fate != Fate::Unsent {
                    let id = EventId { writer, number };
                    *known.entry(id.series()).or_default() |= id.value();
                }
            }
        }
        for (series, sum) in &self.series {
            let beyond = sum & !known.get(series).copied().unwrap_or_default();
            check.holds(beyond == 0, || {
                format!("{series} has counted the bits {beyond:#x}, which nobody sent")
            });
        }
        check
    }
}

/// The records are complete: every event was sent, and nothing was answered in a way that must not be.
fn sent_as_planned(records: &Records) -> Check {
    let mut check = Check::of("requests answered 202 or 503, or broken off");
    let mut sent = 0;
    for request in &records.requests {
        sent += if request.answer.goes_on() { 0 } else { request.count };
        check.holds(!matches!(request.answer, Answer::Wrong(_)), || format!("{request:?}"));
    }
    check.holds(sent == records.run.events, || format!("{sent} of {} events were sent", records.run.events));
    check
}
