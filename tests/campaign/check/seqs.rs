//! The numbers that events were given, and the totals.

use super::{Check, events::Counts};
use crate::records::{Answer, Records, Request};

/// Checks that the seqs of all answers, and of the batches whose answer was lost, are 1, 2, 3, … without a gap.
pub(super) fn check(records: &Records, counts: &Counts) -> Vec<Check> {
    let mut given = Check::of("seqs of answers, each given once");
    let mut ranges: Vec<(u64, u64, &Request)> = Vec::new();
    for request in &records.requests {
        if let Answer::Accepted(first, last) = request.answer {
            let right = last >= first && last - first + 1 == request.size() as u64;
            given.holds(right, || format!("{request:?} has other seqs than events"));
            ranges.push((first, last, request));
        }
    }
    ranges.sort_unstable_by_key(|(first, ..)| *first);
    let (mut end, mut missing) = (0, 0);
    for (first, last, request) in ranges {
        given.holds(first > end, || format!("seqs up to {end} had been given when {request:?} was answered"));
        missing += first.saturating_sub(end + 1);
        end = last.max(end);
    }
    let accepted = records.run.stats.accepted;
    missing += accepted.saturating_sub(end);
    vec![given, totals(records, counts, missing)]
}

/// What nobody was told must be just what was counted of the requests whose answer was lost.
fn totals(records: &Records, counts: &Counts, missing: u64) -> Check {
    let mut check = Check::of("totals that agree");
    let lost = records.requests.iter().filter(|request| matches!(request.answer, Answer::Lost(_)));
    let silent: usize = lost.map(|request| counts.within(request)).sum();
    check.holds(missing == silent as u64, || {
        format!("{missing} seqs were given silently, {silent} events are counted whose answer was lost")
    });
    let stats = records.run.stats;
    let counted: u64 = records.series.iter().map(|series| series.count).sum();
    let set_aside = records.set_aside.len() as u64;
    check.holds(stats.accepted == counted + set_aside, || format!("{counted} events are counted: {stats:?}"));
    check.holds(stats.analysed == counted, || format!("{counted} events are counted: {stats:?}"));
    let right = stats.pending == 0 && stats.quarantined == set_aside;
    check.holds(right, || format!("{set_aside} events are set aside: {stats:?}"));
    check
}
