//! The seqs of events, and the totals.

use super::{Check, events::Counts, log};
use crate::records::{Answer, Records};
use std::fmt::Debug;

/// Checks that the seqs of all answers, of the replayed events, and of the batches whose answer was lost, are 1, 2, 3, …
/// without a gap.
pub(super) fn check(records: &Records, counts: &Counts) -> Vec<Check> {
    let mut seqs = Check::of("seqs in answers, each assigned once");
    let mut ranges: Vec<(u64, u64, &dyn Debug)> = Vec::new();
    for request in &records.requests {
        if let Answer::Accepted(first, last) = request.answer {
            let ok = last >= first && last - first + 1 == request.size() as u64;
            seqs.expect(ok, || format!("the number of seqs differs from the number of events: {request:?}"));
            ranges.push((first, last, request));
        }
    }
    let replays = log::replays(records);
    ranges.extend(replays.iter().map(|replay| (replay.new, replay.new, replay as &dyn Debug)));
    ranges.sort_unstable_by_key(|(first, ..)| *first);
    let (mut end, mut missing) = (0, 0);
    for (first, last, what) in ranges {
        seqs.expect(first > end, || format!("seqs up to {end} had been assigned when {what:?} was answered"));
        missing += first.saturating_sub(end + 1);
        end = last.max(end);
    }
    let accepted = records.run.stats.accepted;
    missing += accepted.saturating_sub(end);
    vec![seqs, check_totals(records, counts, missing)]
}

/// The seqs that no answer reported are the events that were counted although their answer was lost.
fn check_totals(records: &Records, counts: &Counts, missing: u64) -> Check {
    let mut check = Check::of("totals that agree");
    let lost = records.requests.iter().filter(|request| matches!(request.answer, Answer::Lost(_)));
    let counted_lost: usize = lost.map(|request| counts.count_within(request)).sum();
    check.expect(missing == counted_lost as u64, || {
        format!(
            "{missing} seqs were never reported, but {counted_lost} events were counted whose answer was lost"
        )
    });
    let stats = records.run.stats;
    let counted: u64 = records.series.iter().map(|series| series.count).sum();
    // The old seq of a replayed event still counts as quarantined.
    let quarantined = (records.quarantined.len() + log::replays(records).len()) as u64;
    check.expect(stats.accepted == counted + quarantined, || {
        format!("{counted} events were counted: {stats:?}")
    });
    check.expect(stats.analysed == counted, || format!("{counted} events were counted: {stats:?}"));
    let ok = stats.pending == 0 && stats.quarantined == quarantined;
    check.expect(ok, || format!("{quarantined} events are or were quarantined: {stats:?}"));
    check
}
