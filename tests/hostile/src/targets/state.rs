//! The state table as the API, the supervisor and a successor of the analysis read it.

use super::with_honest;
use crate::{
    honest::{Counts, Honest, PENDING, SERIES, event},
    input::Input,
    spoil::Spoils,
};
use bulkhead_proto::{
    shm::{
        access::index,
        ring::Consumer,
        table::{BodySlot, CommitHeader, CommitRecord, MAX_KEY, TableReader, TableWriter},
    },
    wire::ids::Commit,
    worker::link::{AnalyticsLink, ApiLink},
};
use bulkhead_steps::{datum::Tally, service::append, world::SLOTS};

/// More appends than the ring has room for.
const MOST_APPENDS: usize = 64;

/// Spoils, then lets everybody read: an API that knew the table before, one that did not, and a successor.
pub(super) fn alone(bytes: &[u8]) {
    with_honest(|honest| {
        let mut input = Input::new(bytes);
        let knows = ApiLink::open_in_process(&honest.world.memory).expect("a link");
        Reader::default().check(&knows, honest.counts());
        let unfinished = input.byte().is_multiple_of(4);
        if unfinished {
            honest.leave_unfinished().expect("an honest table");
        }
        let spoils = spoils(&mut input, honest);
        spoils.spoil(&honest.world.windows);
        let fresh = ApiLink::open_in_process(&honest.world.memory).expect("a link");
        for api in [&knows, &fresh] {
            Reader::default().check(api, honest.counts());
        }
        succeed(honest);
        if !unfinished {
            fill(honest, [&knows, &fresh]);
        }
    });
}

/// Reads while the analysis applies and commits, the API appends, and other bytes come between.
pub(super) fn beside(bytes: &[u8]) {
    with_honest(|honest| {
        let mut input = Input::new(bytes);
        let spoils = spoils(&mut input, honest);
        let api = ApiLink::open_in_process(&honest.world.memory).expect("a link");
        let mut analysis = honest.analysis().expect("an honest table");
        let mut number = usize::try_from(api.tail().accepted).expect("few");
        let meanwhile = |_| {
            // The writer reads its own table: what it makes of spoiled tags is an error, or bodies that verify.
            let done = analysis.apply(2).and_then(|_| analysis.commit());
            if done.is_ok()
                && number < Counts::MOST
                && append(&api, &[event(number)]).is_ok_and(|done| done.is_ok())
            {
                number += 1;
            }
        };
        let looks = ApiLink::open_in_process(&honest.world.memory).expect("a link");
        let mut reader = Reader { honest: spoils.is_empty(), ..Reader::default() };
        spoils.beside(&honest.world, &honest.image, meanwhile, || {
            (0..30).for_each(|_| reader.check(&looks, honest.counts()));
        });
    });
}

fn spoils(input: &mut Input<'_>, honest: &Honest) -> Spoils {
    let windows = &honest.world.windows;
    let front = windows.places("front");
    // Of the front, the commit, the records, the hashes and the tags.
    let used = front.start..front.start + 64 + 3 * SLOTS as usize;
    Spoils::take(input, &windows.image(), &[used.clone(), used, windows.places("bodies")])
}

/// One who reads again and again.
#[derive(Default)]
struct Reader {
    /// Whether nothing was spoiled: then nothing is missing, and nothing goes back.
    honest: bool,
    commit: Commit,
    seen: [u64; SERIES.len()],
}

impl Reader {
    fn check(&mut self, api: &ApiLink, counts: &Counts) {
        let figures = api.stats();
        let counted = figures.record.analysed + figures.record.skipped;
        assert_eq!(figures.tail.accepted, counted + figures.pending, "accepted is not the sum");
        let record = api.view().record();
        assert!(record.commit >= self.commit, "back to commit {}", record.commit);
        self.commit = record.commit;
        for name in api.view().names("", None, usize::MAX) {
            assert!(SERIES.contains(&&*name), "a series {name:?}");
        }
        for (number, series) in SERIES.iter().enumerate() {
            let Some((public, record)) = api.view().public(series) else { continue };
            assert!(record.seq.0 == record.analysed && record.skipped == 0, "nobody's record: {record:?}");
            let count = counts.of_public(series, &public, record.analysed);
            let count = count.unwrap_or_else(|| panic!("{series}: {}", String::from_utf8_lossy(&public)));
            assert!(!self.honest || count >= self.seen[number].max(1), "{series} went back to {count}");
            self.seen[number] = count;
        }
    }
}

/// A successor takes the table over, loads everything, and commits.
fn succeed(honest: &Honest) {
    let link = AnalyticsLink::open_in_process(&honest.world.memory).expect("a link");
    let Some(mut writer) = TableWriter::attach(link.state) else { return };
    let activated = writer.activate();
    let record = *writer.record();
    let commits =
        honest.records.iter().map(|record| (record.commit, record.seq, record.position, record.analysed));
    // All but the sum, which is another one if something was lost.
    let found = (record.commit, record.seq, record.position, record.analysed);
    assert!(commits.into_iter().any(|commit| commit == found), "nobody's record: {record:?}");
    let wanted = &honest.states[usize::try_from(record.commit.0).expect("few")];
    for slot in (0..record.slots).map(BodySlot) {
        let Some(body) = writer.load(slot) else { continue };
        let Some(right) = wanted.get(body.key()) else { panic!("a series {:?}", body.key()) };
        let found = Tally::parse(body.key(), body.state());
        // What does not verify is reset by name; what does is never a former state, however much was spoiled.
        assert!(found == Some(*right), "{found:?} in {slot:?}, after {activated:?}");
    }
    let link = AnalyticsLink::open_in_process(&honest.world.memory).expect("a link");
    for slot in (0..record.slots).map(BodySlot) {
        let (bytes, name) = TableReader::new(&link.state).raw_slot(slot);
        assert!(bytes == writer.raw_slot(slot) && name.len() <= 3 * MAX_KEY, "{name:?}");
    }
    go_on(&mut writer);
}

/// APIs that append until the ring is full, whatever the table says is free, write over nothing that is not committed.
fn fill(honest: &Honest, apis: [&ApiLink; 2]) {
    for number in 0..MOST_APPENDS {
        let api = apis[number % 2];
        if append(api, &[event(number)]).expect("an event").is_err() {
            break;
        }
    }
    let link = AnalyticsLink::open_in_process(&honest.world.memory).expect("a link");
    let record = honest.record();
    let consumer = Consumer::attach(link.events, link.producer, record.position, record.seq);
    let (mut consumer, mut payload) = (consumer.expect("still there"), Vec::new());
    for number in 0..PENDING {
        let seq = consumer.next(&mut payload).expect("whole").expect("accepted");
        let number = index(record.seq.0) + number;
        assert!(seq.0 == number as u64 + 1 && event(number).is(&payload), "event {seq}: {payload:?}");
    }
}

/// What the successor commits is there, whatever stood in those slots.
fn go_on(writer: &mut TableWriter<bulkhead_proto::shm::state_memory::StateMemory>) {
    let tally = Tally { count: 1, sum: 77 };
    let Some(slot) = writer.find("ATL").or_else(|| writer.assign("ATL")) else { return };
    writer.stage(slot, 7, "ATL", &tally.state("ATL"), b"{}").expect("it fits");
    let CommitRecord { seq, position, analysed, .. } = *writer.record();
    writer.commit(CommitHeader { seq, position, analysed, ..CommitHeader::default() }).expect("memory");
    let body = writer.load(slot).expect("what was committed verifies");
    assert_eq!((body.key(), Tally::parse("ATL", body.state())), ("ATL", Some(tally)));
}
