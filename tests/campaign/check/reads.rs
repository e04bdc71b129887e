//! Each read got an answer. Each answer was a state that existed, and no reader saw the state go back.

use super::Check;
use crate::{
    plan::READERS,
    records::{Answer, Read, ReadResult, Records, Stats},
};
use bulkhead_tests::event_id::SeriesTotals;
use std::collections::{HashMap, HashSet};

/// What one reader has seen so far.
#[derive(Default)]
struct ReaderState<'a> {
    stats: Stats,
    series: HashMap<&'a str, u64>,
}

pub(super) fn check(records: &Records) -> Vec<Check> {
    let mut answered = Check::of("reads answered 200, 404 before the first event, or interrupted");
    let mut series_check = Check::of("series read: sets of events that only grow, up to the final one");
    let mut stats_check = Check::of("stats read: consistent, and complete up to what was answered before");
    let final_sums: HashMap<&str, u64> =
        records.series.iter().map(|found| (&*found.series, found.sum.unwrap_or_default())).collect();
    let accepted = Accepted::of(records);
    let mut readers: Vec<ReaderState<'_>> = (0..READERS).map(|_| ReaderState::default()).collect();
    for read in &records.reads {
        let reader = &mut readers[read.reader];
        let ok = match &read.got {
            ReadResult::Stats(stats) => {
                stats_check.expect(accepted.allows(read, *stats) && reader.is_not_before(*stats), || {
                    format!("{read:?} after {:?}", reader.stats)
                });
                reader.stats = *stats;
                true
            }
            ReadResult::Series(found) => {
                for counted in found {
                    let ok = counted.each_counted_once() && reader.grows(counted, &final_sums);
                    series_check.expect(ok, || format!("{counted:?} in {read:?}"));
                    reader.series.insert(&counted.series, counted.sum.unwrap_or_default());
                }
                true
            }
            ReadResult::Absent(series) => !reader.series.contains_key(&**series),
            ReadResult::Lost(_) => true,
            ReadResult::Wrong(_) => false,
        };
        answered.expect(ok, || format!("{read:?}"));
    }
    vec![answered, series_check, stats_check]
}

impl ReaderState<'_> {
    fn is_not_before(&self, stats: Stats) -> bool {
        stats.accepted >= self.stats.accepted && stats.analysed >= self.stats.analysed
    }

    fn grows(&self, counted: &SeriesTotals, final_sums: &HashMap<&str, u64>) -> bool {
        let sum = counted.sum.unwrap_or_default();
        let sum_of = |sums: &HashMap<&str, u64>| sums.get(&*counted.series).copied().unwrap_or_default();
        sum_of(&self.series) & !sum == 0 && sum & !sum_of(final_sums) == 0
    }
}

/// How many events had certainly been accepted at a time, and how many could have been. A replay accepts events again.
struct Accepted {
    /// The time of an answer, and the number of events answered by then.
    certain: Vec<(u64, u64)>,
    /// The time of a request, and the number of events sent by then.
    possible: Vec<(u64, u64)>,
}

impl Accepted {
    fn of(records: &Records) -> Self {
        let (mut certain, mut possible, mut first_sent) = (Vec::new(), Vec::new(), HashSet::new());
        for request in &records.requests {
            let count = request.size() as u64;
            if matches!(request.answer, Answer::Accepted(..)) {
                certain.push((request.at + request.took, count));
            }
            let refused = matches!(request.answer, Answer::Full | Answer::Wrong(_));
            // Events that were sent several times under a key count from the first request on.
            if !refused && first_sent.insert((request.writer, request.first)) {
                possible.push((request.at, count));
            }
        }
        for deploy in &records.deploys {
            let (began, ended) = deploy.replay;
            possible.push((began, deploy.replayed));
            certain.push((ended, deploy.replayed));
        }
        Self { certain: cumulative(certain), possible: cumulative(possible) }
    }

    fn allows(&self, read: &Read, stats: Stats) -> bool {
        let sent = read.at + read.late;
        let (least, most) =
            (sum_before(&self.certain, sent), sum_before(&self.possible, sent + read.took + 1));
        let adds_up = stats.accepted == stats.analysed + stats.quarantined + stats.pending;
        adds_up && (least..=most).contains(&stats.accepted)
    }
}

/// Sorts by time and replaces each count with the sum of all counts up to it.
fn cumulative(mut counts: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    counts.sort_unstable();
    let mut total = 0;
    for (_, count) in &mut counts {
        total += *count;
        *count = total;
    }
    counts
}

/// The sum of the counts before a time.
fn sum_before(cumulative: &[(u64, u64)], time: u64) -> u64 {
    let index = cumulative.partition_point(|(at, _)| *at < time);
    index.checked_sub(1).map_or(0, |index| cumulative[index].1)
}
