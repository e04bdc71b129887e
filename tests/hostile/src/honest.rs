//! The memory that an honest service wrote. Every value follows from its number.

use anyhow::Result;
use bulkhead_proto::{
    shm::{access::WORD, ring::Consumer, table::CommitRecord},
    wire::ids::Position,
    worker::link::AnalyticsLink,
};
use bulkhead_steps::{
    fixture::MemoryFixture,
    image::Image,
    scenario::History,
    scenarios::takeover::leave_unfinished,
    service::Analysis,
    test_event::{MIN_RECORD, SeriesTotal, SeriesTotals, TestEvent, fold, removal, test_event},
};
use std::collections::HashMap;

/// The series of the honest events.
pub const SERIES: [&str; 4] = ["ATL", "BOS", "CLT", "DTW"];

/// The number of events in a commit.
const EVENTS_PER_COMMIT: usize = 5;

/// The number of initial commits. The ring has wrapped more than once by then.
const COMMITS: usize = 8;

/// The number of events that are pending at the beginning.
pub const PENDING: usize = 14;

/// A series that is removed before the last two commits. No successor may find it, whatever is corrupted.
pub const REMOVED: &str = "XNA";

/// The numbers of the events of the removed series, and of its removal.
const OF_REMOVED: [usize; 2] = [12, 17];
const REMOVAL: usize = 22;

/// The event with this number, from 0.
#[must_use]
pub fn event(number: usize) -> TestEvent {
    let value = u32::try_from(number + 1).unwrap_or(u32::MAX);
    if number == REMOVAL {
        return removal(REMOVED, value);
    }
    if OF_REMOVED.contains(&number) {
        return test_event(REMOVED, value, MIN_RECORD);
    }
    test_event(SERIES[number * 7 % 4], value, MIN_RECORD + 8 * (number * 5 % 7))
}

/// The first `count` events.
#[must_use]
pub fn events(count: usize) -> Vec<TestEvent> {
    (0..count).map(event).collect()
}

/// An honest memory, with what was true in it at each commit, from 0.
#[derive(Debug)]
pub struct Honest {
    /// The memory; it is restored from `image`.
    pub fixture: MemoryFixture,
    /// The initial image of the memory.
    pub image: Image,
    /// The record of each commit. The last record is that of [`Self::leave_unfinished`]: only the commit's
    /// number is missing there, and a wild write can be exactly that number.
    pub records: Vec<CommitRecord>,
    /// The state at each commit, including the unfinished one.
    pub states: Vec<SeriesTotals>,
    counts: Counts,
    pending: Vec<Position>,
}

/// For each series, the numbers of its events and the sums of their values so far.
#[derive(Debug)]
pub struct Counts(HashMap<&'static str, Vec<(u64, u64)>>);

impl Counts {
    /// The number of events for which counts are known.
    pub const MAX: usize = 4096;

    fn new() -> Self {
        let mut counts = HashMap::<_, Vec<(u64, u64)>>::new();
        for (number, event) in events(Self::MAX).into_iter().enumerate() {
            let series = counts.entry(event.series).or_default();
            let sum = series.last().map_or(0, |(_, sum)| *sum) + u64::from(event.value);
            series.push((number as u64 + 1, sum));
        }
        Self(counts)
    }

    /// The number of events of the series that a public part counts; 0 when the part is empty. `None` when it
    /// is not what an honest analysis publishes after at most `analysed` events.
    #[must_use]
    pub fn of_public(&self, series: &str, public: &[u8], analysed: u64) -> Option<u64> {
        if public.is_empty() {
            return Some(0);
        }
        let text = str::from_utf8(public).ok()?;
        let count: usize = text.split_once("\"count\":")?.1.split_once(',')?.0.parse().ok()?;
        let &(number, sum) = self.0.get(series)?.get(count.checked_sub(1)?)?;
        let total = SeriesTotal { count: count as u64, sum };
        (number <= analysed && total.public(series) == public).then_some(total.count)
    }
}

impl Honest {
    /// Creates the memory.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new() -> Result<Self> {
        let fixture = MemoryFixture::new()?;
        let (mut history, mut records) = (History::default(), vec![CommitRecord::default()]);
        let data = events(EVENTS_PER_COMMIT * COMMITS + PENDING);
        for commit in 0..COMMITS {
            history.append_and_commit(
                &fixture,
                &data[EVENTS_PER_COMMIT * commit..][..EVENTS_PER_COMMIT],
                EVENTS_PER_COMMIT,
            )?;
            records.extend(fixture.memory.record());
        }
        history.append_and_commit(&fixture, &data[EVENTS_PER_COMMIT * COMMITS..], 0)?;
        let pending = pending(&fixture)?;
        let image = fixture.windows.image();
        leave_unfinished(&fixture, EVENTS_PER_COMMIT)?;
        fixture.windows.store(fixture.windows.positions("front").start, COMMITS as u64 + 1);
        records.extend(fixture.memory.record());
        fixture.restore(&image);
        let states = (0..records.len()).map(|commit| fold(&data[..EVENTS_PER_COMMIT * commit])).collect();
        Ok(Self { image, fixture, records, states, counts: Counts::new(), pending })
    }

    /// The positions at which the pending records begin.
    pub fn pending(&self) -> impl Iterator<Item = Position> {
        self.pending.iter().copied()
    }

    /// The counts that public parts can have.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Restores the honest memory.
    pub fn restore(&self) {
        self.fixture.restore(&self.image);
    }

    /// The record of the last commit.
    #[must_use]
    pub fn record(&self) -> &CommitRecord {
        &self.records[COMMITS]
    }

    /// Leaves one more commit unfinished.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn leave_unfinished(&self) -> Result<()> {
        leave_unfinished(&self.fixture, EVENTS_PER_COMMIT)
    }

    /// An analysis that continues.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn analysis(&self) -> Result<Analysis> {
        Analysis::take_over(AnalyticsLink::open_in_process(&self.fixture.memory)?)
    }
}

fn pending(fixture: &MemoryFixture) -> Result<Vec<Position>> {
    let link = AnalyticsLink::open_in_process(&fixture.memory)?;
    let record = fixture.memory.record().unwrap_or_default();
    let mut consumer = Consumer::attach(link.events, link.producer, record.position, record.seq)?;
    let (mut payload, mut starts) = (Vec::new(), Vec::new());
    while consumer.next(&mut payload)?.is_some() {
        let size = 2 * WORD + payload.len().next_multiple_of(WORD);
        starts.push(Position(consumer.position().0 - size as u64));
    }
    Ok(starts)
}
