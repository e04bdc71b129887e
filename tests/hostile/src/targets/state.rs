//! The state table, as the API, the supervisor and a successor of the analysis read it.

use super::with_honest;
use crate::{
    corruption::Corruption,
    honest::{Counts, Honest, PENDING, REMOVED, SERIES, event},
    input::Input,
};
use bulkhead_proto::{
    shm::{
        access::index,
        ring::Consumer,
        table::{BodySlot, CommitRecord, Content, FoundSeries, MAX_KEY, TableReader, TableWriter},
    },
    wire::ids::Commit,
    worker::link::{AnalyticsLink, ApiLink},
};
use bulkhead_steps::{fixture::SLOTS, service::append, test_event::SeriesTotal};

/// More appends than fit into the ring.
const MAX_APPENDS: usize = 64;

/// Corrupts the table, then reads it with an API that had read it before, with a new API, and with a
/// successor.
pub(super) fn alone(bytes: &[u8]) {
    with_honest(|honest| {
        let mut input = Input::new(bytes);
        let attached_before = ApiLink::open_in_process(&honest.fixture.memory).expect("a link");
        Reader { honest: true, ..Reader::default() }.check(&attached_before, honest.counts());
        let unfinished = input.byte().is_multiple_of(4);
        if unfinished {
            honest.leave_unfinished().expect("an honest table");
        }
        let corruption = corruption(&mut input, honest);
        corruption.apply(&honest.fixture.windows);
        let fresh = ApiLink::open_in_process(&honest.fixture.memory).expect("a link");
        for api in [&attached_before, &fresh] {
            Reader::default().check(api, honest.counts());
        }
        check_successor(honest);
        if !unfinished {
            fill_ring(honest, [&attached_before, &fresh]);
        }
    });
}

/// Reads while the analysis applies and commits, the API appends, and other bytes are written between.
pub(super) fn concurrent(bytes: &[u8]) {
    with_honest(|honest| {
        let mut input = Input::new(bytes);
        let corruption = corruption(&mut input, honest);
        let api = ApiLink::open_in_process(&honest.fixture.memory).expect("a link");
        let mut analysis = honest.analysis().expect("an honest table");
        let mut number = usize::try_from(api.tail().accepted).expect("few");
        let meanwhile = |_| {
            // The writer reads its own table. Corrupted tags give it an error, or bodies that verify.
            let done = analysis.apply(2).and_then(|_| analysis.commit());
            if done.is_ok()
                && number < Counts::MAX
                && append(&api, &[event(number)]).is_ok_and(|done| done.is_ok())
            {
                number += 1;
            }
        };
        let api_of_reader = ApiLink::open_in_process(&honest.fixture.memory).expect("a link");
        let mut reader = Reader { honest: corruption.is_empty(), ..Reader::default() };
        corruption.concurrently_with(&honest.fixture, &honest.image, meanwhile, || {
            (0..30).for_each(|_| reader.check(&api_of_reader, honest.counts()));
        });
    });
}

fn corruption(input: &mut Input<'_>, honest: &Honest) -> Corruption {
    let windows = &honest.fixture.windows;
    let front = windows.positions("front");
    // The used words of the table's front: the commit, the records, the lines and the list of touched slots. The index
    // follows.
    let used = front.start..front.start + 64 + 9 * SLOTS as usize;
    Corruption::take(input, &windows.image(), &[used.clone(), used, front, windows.positions("arena")])
}

/// A reader that reads repeatedly.
#[derive(Default)]
struct Reader {
    /// Whether nothing was corrupted: then nothing is missing, and nothing goes back.
    honest: bool,
    commit: Commit,
    seen: [u64; SERIES.len()],
}

impl Reader {
    fn check(&mut self, api: &ApiLink, counts: &Counts) {
        let stats = api.stats();
        let counted = stats.record.analysed + stats.record.skipped;
        assert_eq!(stats.tail.accepted, counted + stats.pending, "accepted is not the sum");
        let record = api.view().record();
        assert!(record.commit >= self.commit, "the reader went back to commit {}", record.commit);
        self.commit = record.commit;
        for name in api.view().names("", None, usize::MAX) {
            // A reader cannot tell an earlier state, such as that of a removed series, from the last one. A successor can.
            let known = SERIES.contains(&&*name) || (!self.honest && &*name == REMOVED);
            assert!(known, "an unknown series {name:?}");
        }
        for (number, series) in SERIES.iter().enumerate() {
            let (public, record) = match api.view().public(series) {
                FoundSeries::Public(public, record) => (public, record),
                FoundSeries::Missing(_) | FoundSeries::Unreadable(_) => continue,
            };
            assert!(
                record.seq.0 == record.analysed && record.skipped == 0,
                "a record that was never committed: {record:?}"
            );
            let count = counts.of_public(series, &public, record.analysed);
            let count = count.unwrap_or_else(|| panic!("{series}: {}", String::from_utf8_lossy(&public)));
            assert!(!self.honest || count >= self.seen[number].max(1), "{series} went back to {count}");
            self.seen[number] = count;
        }
    }
}

/// A successor takes over the table, loads everything, and commits.
fn check_successor(honest: &Honest) {
    let link = AnalyticsLink::open_in_process(&honest.fixture.memory).expect("a link");
    let Some(mut writer) = TableWriter::attach(link.state, SLOTS) else { return };
    let activated = writer.activate();
    let record = *writer.record();
    let commits =
        honest.records.iter().map(|record| (record.commit, record.seq, record.position, record.analysed));
    // All fields but the sum, which differs if a series was damaged.
    let found = (record.commit, record.seq, record.position, record.analysed);
    assert!(
        commits.into_iter().any(|commit| commit == found),
        "a record that was never committed: {record:?}"
    );
    let expected = &honest.states[usize::try_from(record.commit.0).expect("few")];
    for slot in (0..record.slots).map(BodySlot) {
        let Some(body) = writer.load(slot).filter(|body| !body.is_free()) else { continue };
        let Some(expected_total) = expected.get(body.key()) else {
            panic!("an unknown series {:?}", body.key())
        };
        let found = SeriesTotal::parse(body.key(), body.state());
        // A body that does not verify is reset by name. A body that verifies is never an earlier state,
        // however much was corrupted.
        assert!(
            found == Some(*expected_total),
            "{found:?} in {slot:?}, expected {expected_total:?} of {record:?}, after {activated:?}"
        );
    }
    let link = AnalyticsLink::open_in_process(&honest.fixture.memory).expect("a link");
    for slot in (0..record.slots).map(BodySlot) {
        let (bytes, name) = TableReader::new(&link.state, SLOTS).raw_slot(slot);
        assert!(bytes == writer.raw_slot(slot) && name.len() <= 3 * MAX_KEY, "{name:?}");
    }
    commit_and_load(&mut writer);
}

/// APIs append until the ring is full, whatever free space the table claims. They must not overwrite events
/// that are not committed.
fn fill_ring(honest: &Honest, apis: [&ApiLink; 2]) {
    for number in 0..MAX_APPENDS {
        let api = apis[number % 2];
        if append(api, &[event(number)]).expect("an event").is_err() {
            break;
        }
    }
    let link = AnalyticsLink::open_in_process(&honest.fixture.memory).expect("a link");
    let record = honest.record();
    let consumer = Consumer::attach(link.events, link.producer, record.position, record.seq);
    let (mut consumer, mut payload) = (consumer.expect("the consumer can attach"), Vec::new());
    for number in 0..PENDING {
        let seq = consumer.next(&mut payload).expect("whole").expect("accepted");
        let number = index(record.seq.0) + number;
        assert!(seq.0 == number as u64 + 1 && event(number).matches(&payload), "event {seq}: {payload:?}");
    }
}

/// What the successor commits can be loaded, whatever those slots held before.
fn commit_and_load(writer: &mut TableWriter<bulkhead_proto::shm::state_memory::StateMemory>) {
    let total = SeriesTotal { count: 1, sum: 77 };
    let Some(slot) = writer.find("ATL").or_else(|| writer.assign("ATL")) else { return };
    let content =
        Content { key: "ATL", version: 7, last_arrival_ms: 1, state: &total.state("ATL"), public: b"{}" };
    writer.stage(slot, content).expect("it fits");
    let CommitRecord { seq, position, analysed, .. } = *writer.record();
    writer.commit(CommitRecord { seq, position, analysed, ..CommitRecord::default() }).expect("memory");
    let body = writer.load(slot).expect("the committed body verifies");
    assert_eq!((body.key(), SeriesTotal::parse("ATL", body.state())), ("ATL", Some(total)));
}
