//! What readers saw meanwhile: always an answer, always a state that was once true, never one that goes back.

use super::Check;
use crate::{
    plan::READERS,
    records::{Answer, Got, Read, Records, Stats},
};
use bulkhead_tests::event_id::SeriesTotals;
use std::collections::{HashMap, HashSet};

/// What one reader has seen so far.
#[derive(Default)]
struct Memory<'a> {
    stats: Stats,
    series: HashMap<&'a str, u64>,
}

pub(super) fn check(records: &Records) -> Vec<Check> {
    let mut answered = Check::of("reads answered 200, 404 before the first event, or broken off");
    let mut grows = Check::of("series read: sets of events that only grow, up to the final one");
    let mut figures = Check::of("stats read: they add up and hold all that was answered before");
    let last: HashMap<&str, u64> =
        records.series.iter().map(|found| (&*found.series, found.sum.unwrap_or_default())).collect();
    let accepted = Accepted::of(records);
    let mut memories: Vec<Memory<'_>> = (0..READERS).map(|_| Memory::default()).collect();
    for read in &records.reads {
        let memory = &mut memories[read.reader];
        let right = match &read.got {
            Got::Stats(stats) => {
                figures.holds(accepted.allows(read, *stats) && memory.follows(*stats), || {
                    format!("{read:?} after {:?}", memory.stats)
                });
                memory.stats = *stats;
                true
            }
            Got::Series(found) => {
                for counted in found {
                    let right = counted.each_counted_once() && memory.grows(counted, &last);
                    grows.holds(right, || format!("{counted:?} in {read:?}"));
                    memory.series.insert(&counted.series, counted.sum.unwrap_or_default());
                }
                true
            }
            Got::Absent(series) => !memory.series.contains_key(&**series),
            Got::Lost(_) => true,
            Got::Wrong(_) => false,
        };
        answered.holds(right, || format!("{read:?}"));
    }
    vec![answered, grows, figures]
}

impl Memory<'_> {
    fn follows(&self, stats: Stats) -> bool {
        stats.accepted >= self.stats.accepted && stats.analysed >= self.stats.analysed
    }

    fn grows(&self, counted: &SeriesTotals, last: &HashMap<&str, u64>) -> bool {
        let sum = counted.sum.unwrap_or_default();
        let known = |sums: &HashMap<&str, u64>| sums.get(&*counted.series).copied().unwrap_or_default();
        known(&self.series) & !sum == 0 && sum & !known(last) == 0
    }
}

/// How many events had been accepted for sure, or could have been, at a time.
struct Accepted {
    /// When the answer came, and how many had been answered by then.
    sure: Vec<(u64, u64)>,
    /// When the request went out, and how many had been sent by then.
    possible: Vec<(u64, u64)>,
}

impl Accepted {
    fn of(records: &Records) -> Self {
        let (mut sure, mut possible, mut begun) = (Vec::new(), Vec::new(), HashSet::new());
        for request in &records.requests {
            let count = request.size() as u64;
            if matches!(request.answer, Answer::Accepted(..)) {
                sure.push((request.at + request.took, count));
            }
            let refused = matches!(request.answer, Answer::Full | Answer::Wrong(_));
            // What was sent several times under a key was possible from the first time on.
            if !refused && begun.insert((request.writer, request.first)) {
                possible.push((request.at, count));
            }
        }
        Self { sure: sums(sure), possible: sums(possible) }
    }

    fn allows(&self, read: &Read, stats: Stats) -> bool {
        let sent = read.at + read.late;
        let (least, most) = (up_to(&self.sure, sent), up_to(&self.possible, sent + read.took + 1));
        let adds_up = stats.accepted == stats.analysed + stats.quarantined + stats.pending;
        adds_up && (least..=most).contains(&stats.accepted)
    }
}

/// In the order of time, each with the sum of all up to it.
fn sums(mut counts: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    counts.sort_unstable();
    let mut total = 0;
    for (_, count) in &mut counts {
        total += *count;
        *count = total;
    }
    counts
}

/// The sum before a time.
fn up_to(sums: &[(u64, u64)], time: u64) -> u64 {
    let place = sums.partition_point(|(at, _)| *at < time);
    place.checked_sub(1).map_or(0, |place| sums[place].1)
}
