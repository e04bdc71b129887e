//! The ring, compared with a queue: wraps, pads, a full ring, oversized batches, and both sides reattaching at any
//! moment.

use super::*;
use crate::{
    shm::{
        access::{ReadWords, WORD, WriteWords, index},
        segment::{Kind, ReadWrite, Segment},
        sync::Ordering,
    },
    wire::{
        event::{Event, Input, MAX_DATA, Removal, largest_event},
        ids::{Position, Seq},
    },
};
use proptest::prelude::*;
use std::{collections::VecDeque, mem, sync::Arc, thread};

const CAPACITY: usize = 2048;

struct Fixture {
    events: Arc<ReadWrite>,
    page: Arc<ReadWrite>,
}

impl Fixture {
    fn new() -> Self {
        let make = |kind, bytes| Arc::new(Segment::create(kind, bytes, 1, true).unwrap().map().unwrap());
        Self { events: make(Kind::Events, CAPACITY), page: make(Kind::Producer, PRODUCER_WORDS * 8) }
    }

    fn appender(&self) -> Appender<Arc<ReadWrite>, Arc<ReadWrite>> {
        Appender::attach(Arc::clone(&self.events), Arc::clone(&self.page))
    }

    fn consumer(&self, position: Position, seq: Seq) -> Consumer<Arc<ReadWrite>, Arc<ReadWrite>> {
        Consumer::attach(Arc::clone(&self.events), Arc::clone(&self.page), position, seq).unwrap()
    }
}

fn batch(sizes: &[usize], fill: u8) -> Batch {
    let mut batch = Batch::new();
    for &size in sizes {
        batch.push_bytes(&vec![fill; size]);
    }
    batch
}

#[derive(Clone, Debug)]
enum Op {
    Append(Vec<usize>),
    Consume(usize),
    Commit,
    ReattachProducer,
    ReattachConsumer,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => proptest::collection::vec(0..240usize, 1..6).prop_map(Op::Append),
        4 => (1..8usize).prop_map(Op::Consume),
        2 => Just(Op::Commit),
        1 => Just(Op::ReattachProducer),
        1 => Just(Op::ReattachConsumer),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn the_ring_behaves_like_a_queue(ops in proptest::collection::vec(op(), 1..250)) {
        let fixture = Fixture::new();
        let mut appender = fixture.appender();
        let mut consumer = fixture.consumer(Position(0), Seq(0));
        // The events that were accepted and not committed, and how many of them were read.
        let (mut queue, mut read) = (VecDeque::<(Seq, Vec<u8>)>::new(), 0);
        let (mut released, mut committed, mut next) = (Position(0), Seq(0), 1);
        let mut payload = Vec::new();
        for (step, op) in ops.into_iter().enumerate() {
            match op {
                Op::Append(sizes) => {
                    let fill = u8::try_from(step % 256).unwrap();
                    let before = appender.tail();
                    match appender.append(&mut batch(&sizes, fill), || released) {
                        Ok(appended) => {
                            prop_assert_eq!(appended.first, Seq(next));
                            for size in sizes {
                                queue.push_back((Seq(next), vec![fill; size]));
                                next += 1;
                            }
                            prop_assert_eq!(appended.last, Seq(next - 1));
                            prop_assert!(appender.tail().head.0 - released.0 <= CAPACITY as u64);
                        }
                        Err(AppendError::Full { wanted, free, .. }) => {
                            prop_assert!(wanted > free);
                            prop_assert_eq!(appender.tail(), before);
                            prop_assert!(!queue.is_empty() , "an empty ring is never full");
                        }
                        Err(error) => prop_assert!(false, "{}", error),
                    }
                }
                Op::Consume(count) => {
                    for _ in 0..count {
                        let got = consumer.next(&mut payload).unwrap();
                        let want = queue.get(read);
                        prop_assert_eq!(got, want.map(|(seq, _)| *seq));
                        prop_assert_eq!(consumer.is_empty(), read + 1 >= queue.len());
                        if let Some((seq, bytes)) = want {
                            prop_assert_eq!((consumer.seq(), &payload), (*seq, bytes));
                            read += 1;
                        }
                    }
                }
                Op::Commit => {
                    (released, committed) = (consumer.position(), consumer.seq());
                    queue.drain(..read);
                    read = 0;
                }
                Op::ReattachProducer => {
                    let before = appender.tail();
                    appender = fixture.appender();
                    prop_assert_eq!(appender.tail(), before);
                }
                Op::ReattachConsumer => {
                    consumer = fixture.consumer(released, committed);
                    read = 0;
                }
            }
        }
    }
}

#[test]
fn a_batch_that_can_never_fit_has_another_error_than_one_that_does_not_fit_now() {
    let fixture = Fixture::new();
    let mut appender = fixture.appender();
    let too_large = |error| matches!(error, Err(AppendError::TooLarge { capacity: 2048, .. }));
    assert!(
        too_large(appender.append(&mut batch(&[CAPACITY / 8], 1), || Position(0))),
        "a record over an eighth"
    );
    assert!(
        too_large(appender.append(&mut batch(&[200; 10], 1), || Position(0))),
        "a batch over the capacity"
    );
    assert!(matches!(appender.append(&mut Batch::new(), || Position(0)), Err(AppendError::Empty)));
    assert_eq!(appender.tail(), Tail::EMPTY);
    appender.append(&mut batch(&[200; 8], 1), || Position(0)).unwrap();
    assert!(matches!(
        appender.append(&mut batch(&[200; 8], 1), || Position(0)),
        Err(AppendError::Full { .. })
    ));
}

#[test]
fn an_impossible_released_position_is_ignored() {
    let fixture = Fixture::new();
    let mut appender = fixture.appender();
    appender.append(&mut batch(&[200; 8], 1), || Position(0)).unwrap();
    let head = appender.tail().head.0;
    for impossible in [head + 8, u64::MAX] {
        let refused = appender.append(&mut batch(&[200; 8], 2), || Position(impossible));
        assert!(matches!(refused, Err(AppendError::Full { .. })), "{impossible}");
    }
    appender.append(&mut batch(&[200; 8], 2), || Position(head)).unwrap();
    // An earlier position is ignored, too.
    appender.append(&mut batch(&[8], 3), || Position(0)).unwrap();
}

#[test]
fn a_damaged_record_is_an_error_and_the_reader_does_not_advance() {
    let damages: [(&str, usize, u64); 5] = [
        ("tag", 0, 0x0000_0007_0000_0008),
        ("length", 0, 0x0000_0000_0000_4000),
        ("pad's length", 0, 0x0000_0000_8000_0010),
        ("seq", 1, 0),
        ("seq", 1, 99),
    ];
    for (what, word, value) in damages {
        let fixture = Fixture::new();
        fixture.appender().append(&mut batch(&[8], 1), || Position(0)).unwrap();
        fixture.events.store(word, value, Ordering::Relaxed);
        let mut consumer = fixture.consumer(Position(0), Seq(0));
        for _ in 0..2 {
            let corruption = consumer.next(&mut Vec::new()).unwrap_err();
            assert_eq!((corruption.what, corruption.position), (what, Position(0)));
        }
    }
}

#[test]
fn an_impossible_committed_position_is_refused() {
    let fixture = Fixture::new();
    fixture.appender().append(&mut batch(&[8; 9], 1), || Position(0)).unwrap();
    for position in [3, 4096, u64::MAX - 7] {
        assert!(
            Consumer::attach(&*fixture.events, &*fixture.page, Position(position), Seq(0)).is_err(),
            "{position}"
        );
    }
}

#[test]
fn an_impossible_head_is_ignored() {
    let fixture = Fixture::new();
    let mut consumer = fixture.consumer(Position(0), Seq(0));
    set_tail(
        &*fixture.page,
        Tail { head: Position(CAPACITY as u64 + 8), next_seq: Seq(5), accepted: 4, keyed: 0 },
    );
    assert_eq!(consumer.next(&mut Vec::new()), Ok(None));
    assert_eq!(fixture.page.load(0, Ordering::Relaxed), 0, "the tail does not overlap the lock");
}

#[test]
fn a_batch_that_needs_the_whole_ring_fits_an_empty_one() {
    // Seven records of 256 bytes, and a pad of at most 256 bytes.
    Fixture::new().appender().append(&mut batch(&[240; 7], 1), || Position(0)).unwrap();
}

#[test]
fn the_released_position_is_requested_only_when_space_is_short() {
    let mut appender = Fixture::new().appender();
    let not_short = || unreachable!("space is not short");
    for _ in 0..8 {
        appender.append(&mut batch(&[240], 1), not_short).unwrap();
    }
    assert_eq!(appender.tail().head, Position(2048), "the ring is full to the last byte, without a pad");
    appender.append(&mut batch(&[240], 1), || Position(2048)).unwrap();
    appender.append(&mut batch(&[240], 1), not_short).unwrap();
}

#[test]
fn a_full_ring_reports_the_wanted_and_the_free_space() {
    let mut appender = Fixture::new().appender();
    for _ in 0..8 {
        appender.append(&mut batch(&[240], 1), || Position(0)).unwrap();
    }
    appender.append(&mut batch(&[240; 7], 1), || Position(2048)).unwrap();
    let refused = appender.append(&mut batch(&[240; 2], 1), || Position(2048));
    assert_eq!(refused, Err(AppendError::Full { wanted: 512, free: 256, capacity: 2048 }));
}

#[test]
fn a_record_one_lap_of_the_largest_ring_earlier_has_another_tag() {
    assert_ne!(record_word(8, 0), record_word(8, MAX_CAPACITY));
}

#[test]
fn a_reader_knows_how_many_bytes_it_has_not_read() {
    let fixture = Fixture::new();
    fixture.appender().append(&mut batch(&[8, 8], 1), || Position(0)).unwrap();
    let mut consumer = fixture.consumer(Position(0), Seq(0));
    assert!(!consumer.is_empty());
    assert_eq!(consumer.unread(), 48);
    consumer.next(&mut Vec::new()).unwrap();
    assert_eq!(consumer.unread(), 24);
}

#[test]
fn a_pad_ends_at_the_end_of_the_ring_and_not_after_the_head() {
    // The last 64 bytes of the ring are a pad.
    let at = CAPACITY as u64 - 64;
    let read = |length: u32, head: u64| {
        let fixture = Fixture::new();
        let tail = Tail { head: Position(head), next_seq: Seq(2), accepted: 1, keyed: 0 };
        set_tail(&*fixture.page, tail);
        fixture.events.store(index(at) / WORD, record_word(length | PAD, at), Ordering::Relaxed);
        fixture.consumer(Position(at), Seq(0)).next(&mut Vec::new()).map_err(|found| found.what)
    };
    assert_eq!(read(64, at + 64), Ok(None));
    assert_eq!(read(64, at + 56), Err("pad's length"));
    assert_eq!(read(56, at + 64), Err("pad's length"));
}

#[test]
fn a_record_ends_at_the_head_and_takes_an_eighth_of_the_ring_at_most() {
    // The last record: at the beginning of the ring, and after another one.
    for (sizes, at, length) in [(&[8][..], 0, 16), (&[8, 8], 24, 16), (&[240, 240], 0, 300)] {
        let fixture = Fixture::new();
        fixture.appender().append(&mut batch(sizes, 1), || Position(0)).unwrap();
        fixture.events.store(index(at) / WORD, record_word(length, at), Ordering::Relaxed);
        let corruption = fixture.consumer(Position(at), Seq(at / 24)).next(&mut Vec::new()).unwrap_err();
        assert_eq!((corruption.what, corruption.found), ("length", length.into()));
    }
}

#[test]
fn the_death_of_the_owner_of_the_lock_is_no_error() {
    let page = Fixture::new().page;
    init_lock(&page).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| mem::forget(lock::hold(&page).unwrap()));
    });
    // Once for the death, and once more: the lock is consistent again.
    for _ in 0..2 {
        drop(lock::hold(&page).unwrap());
    }
}

#[test]
fn the_tail_before_the_last_one_can_still_be_read() {
    let page = Fixture::new().page;
    let tail = |n: u64| Tail { head: Position(8 * n), next_seq: Seq(n + 1), accepted: n, keyed: n };
    for version in 1..9 {
        tail::publish(&page, version, tail(version));
        // A reader that saw the version before is not torn by this one.
        assert_eq!(tail::tail_of(&page, version - 1), tail(version - 1));
        assert_eq!(read_tail(&page), Some(tail(version)));
        assert_eq!(page.load(0, Ordering::Relaxed), 0, "the tail does not overlap the lock");
    }
}

#[test]
fn a_ring_is_nearly_full_from_seven_eighths_on() {
    let bound = MIN_CAPACITY / 8 * 7;
    assert!(is_nearly_full(bound, MIN_CAPACITY) && is_nearly_full(MIN_CAPACITY, MIN_CAPACITY));
    assert!(!is_nearly_full(bound - 1, MIN_CAPACITY) && !is_nearly_full(0, MIN_CAPACITY));
}

#[test]
fn a_batch_holds_events_and_removals_in_order() {
    let removal = Removal { series: "ATL", arrived_ms: 7, request_id: None };
    let mut batch = Batch::new();
    batch.push(&Event::new("ATL", 1.0)).unwrap();
    batch.push_removal(&removal).unwrap();
    let nameless = batch.push_removal(&Removal { series: "", ..removal });
    assert!(nameless.is_err() && batch.len() == 2, "a removal that is refused is not added");
    let second = RECORD_HEAD + (batch.payload_at(0) as usize).next_multiple_of(WORD);
    let payload = second + RECORD_HEAD..second + RECORD_HEAD + batch.payload_at(second) as usize;
    assert_eq!(Input::decode(batch.records(payload.start, payload.end)), Ok(Input::Removal(removal)));
}

#[test]
fn the_capacity_for_an_event_takes_it_and_half_of_it_does_not() {
    for data in [0, 4 << 10, 64 << 10, 512 << 10, MAX_DATA] {
        let record = record_bytes(largest_event(data)) as u64;
        let capacity = capacity_for(largest_event(data));
        assert!(Capacity(capacity).largest_record() >= record, "{data}");
        assert!(capacity == MIN_CAPACITY || Capacity(capacity / 2).largest_record() < record, "{data}");
    }
    assert_eq!(capacity_for(MAX_EVENT), 16 << 20);
    assert_eq!(Capacity(MAX_CAPACITY).largest_record(), record_bytes(MAX_EVENT) as u64);
}
