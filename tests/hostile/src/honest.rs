//! What an honest service wrote: every value follows from its number.

use anyhow::Result;
use bulkhead_proto::{
    shm::{access::WORD, ring::Consumer, table::CommitRecord},
    wire::ids::Position,
    worker::link::AnalyticsLink,
};
use bulkhead_steps::{
    datum::{Datum, SMALLEST, Tallies, Tally, datum, fold},
    image::Image,
    scenario::History,
    scenarios::take_over::leave_unfinished,
    service::Analysis,
    world::World,
};
use std::collections::HashMap;

/// The series of the honest events.
pub const SERIES: [&str; 4] = ["ATL", "BOS", "CLT", "DTW"];

/// How many events a commit holds.
const EACH: usize = 5;

/// How many commits there are in the beginning; the ring went around more than once by then.
const COMMITS: usize = 8;

/// How many events are pending in the beginning.
pub const PENDING: usize = 14;

/// The event of that number, from 0.
#[must_use]
pub fn event(number: usize) -> Datum {
    let value = u32::try_from(number + 1).unwrap_or(u32::MAX);
    datum(SERIES[number * 7 % 4], value, SMALLEST + 8 * (number * 5 % 7))
}

/// The first so many events.
#[must_use]
pub fn events(many: usize) -> Vec<Datum> {
    (0..many).map(event).collect()
}

/// An honest memory, with what was true in it at each commit, from 0.
#[derive(Debug)]
pub struct Honest {
    /// The memory; to be restored from `image`.
    pub world: World,
    /// What it looks like.
    pub image: Image,
    /// The record of each commit. The last one is that of [`Self::leave_unfinished`]: all of it is there but the commit's
    /// number, and a wild write may well be that.
    pub records: Vec<CommitRecord>,
    /// The state at each commit, the unfinished one included.
    pub states: Vec<Tallies>,
    counts: Counts,
    pending: Vec<Position>,
}

/// For each series, the numbers of its events and the sums of their values so far.
#[derive(Debug)]
pub struct Counts(HashMap<&'static str, Vec<(u64, u64)>>);

impl Counts {
    /// How many events are counted.
    pub const MOST: usize = 4096;

    fn new() -> Self {
        let mut counts = HashMap::<_, Vec<(u64, u64)>>::new();
        for (number, datum) in events(Self::MOST).into_iter().enumerate() {
            let series = counts.entry(datum.series).or_default();
            let sum = series.last().map_or(0, |(_, sum)| *sum) + u64::from(datum.value);
            series.push((number as u64 + 1, sum));
        }
        Self(counts)
    }

    /// How many events of the series a public part counts; 0 when it is empty. None when it is not what an honest analysis
    /// rendered when it had analysed at most so many.
    #[must_use]
    pub fn of_public(&self, series: &str, public: &[u8], analysed: u64) -> Option<u64> {
        if public.is_empty() {
            return Some(0);
        }
        let text = str::from_utf8(public).ok()?;
        let count: usize = text.split_once("\"count\":")?.1.split_once(',')?.0.parse().ok()?;
        let &(number, sum) = self.0.get(series)?.get(count.checked_sub(1)?)?;
        let tally = Tally { count: count as u64, sum };
        (number <= analysed && tally.public(series) == public).then_some(tally.count)
    }
}

impl Honest {
    /// Makes it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn new() -> Result<Self> {
        let world = World::new(512)?;
        let (mut history, mut records) = (History::default(), vec![CommitRecord::default()]);
        let data = events(EACH * COMMITS + PENDING);
        for commit in 0..COMMITS {
            history.continue_with(&world, &data[EACH * commit..][..EACH], EACH)?;
            records.extend(world.memory.record());
        }
        history.continue_with(&world, &data[EACH * COMMITS..], 0)?;
        let pending = pending(&world)?;
        let image = world.windows.image();
        leave_unfinished(&world, EACH)?;
        world.windows.store(world.windows.places("front").start, COMMITS as u64 + 1);
        records.extend(world.memory.record());
        world.restore(&image);
        let states = (0..records.len()).map(|commit| fold(&data[..EACH * commit])).collect();
        Ok(Self { image, world, records, states, counts: Counts::new(), pending })
    }

    /// Where the records begin that are accepted and not committed.
    pub fn pending(&self) -> impl Iterator<Item = Position> {
        self.pending.iter().copied()
    }

    /// What public parts can say.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Makes the memory honest again.
    pub fn restore(&self) {
        self.world.restore(&self.image);
    }

    /// The last commit.
    #[must_use]
    pub fn record(&self) -> &CommitRecord {
        &self.records[COMMITS]
    }

    /// Leaves one more commit unfinished.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn leave_unfinished(&self) -> Result<()> {
        leave_unfinished(&self.world, EACH)
    }

    /// The analysis that goes on.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn analysis(&self) -> Result<Analysis> {
        Analysis::take_over(AnalyticsLink::open_in_process(&self.world.memory)?)
    }
}

fn pending(world: &World) -> Result<Vec<Position>> {
    let link = AnalyticsLink::open_in_process(&world.memory)?;
    let record = world.memory.record().unwrap_or_default();
    let mut consumer = Consumer::attach(link.events, link.producer, record.position, record.seq)?;
    let (mut payload, mut begins) = (Vec::new(), Vec::new());
    while consumer.next(&mut payload)?.is_some() {
        let size = 2 * WORD + payload.len().next_multiple_of(WORD);
        begins.push(Position(consumer.position().0 - size as u64));
    }
    Ok(begins)
}
