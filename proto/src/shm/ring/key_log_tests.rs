//! Keyed requests, compared with a model that remembers the last few of them.

use super::*;
use crate::{
    shm::{
        access::WriteWords,
        memory::SharedMemory,
        segment::{Kind, ReadWrite, Segment},
        sync::Ordering,
    },
    wire::ids::{Position, Seq},
    worker::link::ApiLink,
};
use proptest::prelude::*;
use std::{collections::VecDeque, sync::Arc, thread};

const WINDOW: u64 = 4;

fn request(key: u8, digest: u128) -> KeyedRequest {
    KeyedRequest { key: IdempotencyKey::new(format!("key-{key}").as_bytes()).unwrap(), digest }
}

fn batch(records: usize) -> Batch {
    let mut batch = Batch::new();
    (0..records).for_each(|_| batch.push_bytes(b"payload"));
    batch
}

/// The memory of one ring. Each owner attaches to its end.
struct Fixture {
    events: Arc<ReadWrite>,
    page: Arc<ReadWrite>,
    keys: Arc<ReadWrite>,
}

type Owner = (Appender<Arc<ReadWrite>, Arc<ReadWrite>>, IdempotencyIndex<Arc<ReadWrite>>);

impl Fixture {
    fn new() -> Self {
        let make = |kind, bytes| Arc::new(Segment::create(kind, bytes, 1, false).unwrap().map().unwrap());
        Self {
            events: make(Kind::Events, 2048),
            page: make(Kind::Producer, PRODUCER_WORDS * 8),
            keys: make(Kind::Keys, key_log_bytes(WINDOW)),
        }
    }

    fn owner(&self) -> Owner {
        let appender = Appender::attach(Arc::clone(&self.events), Arc::clone(&self.page));
        (appender, IdempotencyIndex::new(KeyLog::new(Arc::clone(&self.keys))))
    }
}

/// Sends a keyed request. Unless `full`, all space before it is released.
fn send(
    (appender, index): &mut Owner,
    records: usize,
    request: KeyedRequest,
    full: bool,
) -> Result<AppendOutcome, AppendError> {
    appender.reload();
    if let Some(before) = index.find(&request, &appender.tail())? {
        return Ok(AppendOutcome::Replayed(before));
    }
    let released = if full { Position(0) } else { appender.tail().head };
    appender.append_keyed(&mut batch(records), request, index.log(), || released).map(AppendOutcome::Appended)
}

#[derive(Clone, Debug)]
enum Op {
    Keyed { owner: usize, key: u8, digest: u128, records: usize, full: bool },
    Unkeyed { owner: usize },
    Successor { owner: usize },
    DiesBeforePublishing { owner: usize, key: u8 },
}

fn op() -> impl Strategy<Value = Op> {
    let owner = 0..2usize;
    prop_oneof![
        8 => (owner.clone(), 0..8u8, 0..2u128, 1..4usize, prop::bool::weighted(0.2))
            .prop_map(|(owner, key, digest, records, full)| Op::Keyed { owner, key, digest, records, full }),
        1 => owner.clone().prop_map(|owner| Op::Unkeyed { owner }),
        1 => owner.clone().prop_map(|owner| Op::Successor { owner }),
        1 => (owner, 0..8u8).prop_map(|(owner, key)| Op::DiesBeforePublishing { owner, key }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn every_owner_knows_exactly_the_last_keyed_requests(
        ops in proptest::collection::vec(op(), 1..120)
    ) {
        let fixture = Fixture::new();
        let mut owners = [fixture.owner(), fixture.owner()];
        let (mut known, mut next) = (VecDeque::<(KeyedRequest, Appended)>::new(), 1);
        for op in ops {
            match op {
                Op::Keyed { owner, key, digest, records, full } => {
                    let request = request(key, digest);
                    let outcome = send(&mut owners[owner], records, request, full);
                    match known.iter().find(|(known, _)| known.key == request.key) {
                        Some((known, before)) if known.digest == digest => {
                            prop_assert_eq!(outcome, Ok(AppendOutcome::Replayed(*before)));
                        }
                        Some(_) => prop_assert_eq!(outcome, Err(AppendError::KeyReused)),
                        None if matches!(outcome, Err(AppendError::Full { .. })) => prop_assert!(full),
                        None => {
                            let last = next + records as u64 - 1;
                            let appended = Appended { first: Seq(next), last: Seq(last) };
                            prop_assert_eq!(outcome, Ok(AppendOutcome::Appended(appended)));
                            known.push_back((request, appended));
                            next = last + 1;
                        }
                    }
                    if known.len() as u64 > WINDOW {
                        known.pop_front();
                    }
                }
                Op::Unkeyed { owner } => {
                    let (appender, _) = &mut owners[owner];
                    appender.reload();
                    let head = appender.tail().head;
                    prop_assert_eq!(appender.append(&mut batch(1), || head).unwrap().first, Seq(next));
                    next += 1;
                }
                Op::Successor { owner } => owners[owner] = fixture.owner(),
                Op::DiesBeforePublishing { owner, key } => {
                    let (appender, index) = &mut owners[owner];
                    appender.reload();
                    let appended = Appended { first: Seq(next), last: Seq(next) };
                    let batch = KeyedBatch { request: request(key, 0), appended };
                    index.log().write(appender.tail().keyed, &batch);
                    owners[owner] = fixture.owner();
                }
            }
            for (_, index) in &mut owners {
                prop_assert_eq!(index.take_unreadable(), 0);
            }
        }
    }
}

#[test]
fn an_overwritten_entry_is_counted_and_treated_as_unknown() {
    for (word, value) in [(0, 0), (0, u64::MAX), (8, 1), (10, 9), (11, 0), (12, 5)] {
        let fixture = Fixture::new();
        let first = send(&mut fixture.owner(), 1, request(1, 7), false).unwrap();
        fixture.keys.store(word, value, Ordering::Relaxed);
        let mut owner = fixture.owner();
        let again = send(&mut owner, 1, request(1, 7), false).unwrap();
        assert!(
            matches!((first, again), (AppendOutcome::Appended(_), AppendOutcome::Appended(_))),
            "word {word}"
        );
        assert_eq!(owner.1.take_unreadable(), 1, "word {word}");
    }
}

#[test]
fn an_entry_of_another_lap_is_not_accepted() {
    let fixture = Fixture::new();
    let (_, index) = fixture.owner();
    let appended = Appended { first: Seq(1), last: Seq(1) };
    index.log().write(0, &KeyedBatch { request: request(1, 7), appended });
    let tail = Tail { next_seq: Seq(9), keyed: WINDOW + 2, ..Tail::EMPTY };
    assert!(index.log().read(0, &tail).is_some());
    assert_eq!(index.log().read(WINDOW + 1, &tail), None, "the same slot, one lap later");
}

#[test]
fn a_key_is_1_to_64_visible_characters() {
    let longest = [b'k'; MAX_IDEMPOTENCY_KEY];
    for good in [&b"k"[..], b"!~", b"\"8e03978e-40d5-43dd-bc93-6894a57f9324\"", &longest] {
        let key = IdempotencyKey::new(good).unwrap();
        assert_eq!(key.as_bytes(), good);
        assert_eq!(format!("{key:?}"), format!("{:?}", str::from_utf8(good).unwrap()));
    }
    for bad in [&b""[..], b"a b", b"a\0", b"\x7f", "é".as_bytes(), &[b'k'; MAX_IDEMPOTENCY_KEY + 1]] {
        assert_eq!(IdempotencyKey::new(bad), None, "{bad:?}");
    }
}

#[test]
fn concurrent_requests_with_one_key_from_two_generations_are_carried_out_once() {
    const THREADS: usize = 8;
    let memory = SharedMemory::create(MIN_CAPACITY, 4, 1).unwrap();
    let generations =
        [ApiLink::open_in_process(&memory).unwrap(), ApiLink::open_in_process(&memory).unwrap()];
    for key in 0..50 {
        let outcomes: Vec<_> = thread::scope(|scope| {
            let send = |thread: usize| {
                let link = &generations[thread % 2];
                scope.spawn(move || link.append_keyed(&mut batch(2), request(key, 1)).unwrap())
            };
            let threads: Vec<_> = (0..THREADS).map(send).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let appended = Appended { first: Seq(u64::from(key) * 2 + 1), last: Seq(u64::from(key) * 2 + 2) };
        let carried_out =
            outcomes.iter().filter(|outcome| **outcome == AppendOutcome::Appended(appended)).count();
        let replayed =
            outcomes.iter().filter(|outcome| **outcome == AppendOutcome::Replayed(appended)).count();
        assert_eq!((carried_out, replayed), (1, THREADS - 1), "{outcomes:?}");
    }
}

#[test]
fn an_entry_whose_seqs_the_ring_cannot_have_given_is_not_accepted() {
    let (_, index) = Fixture::new().owner();
    let tail = Tail { next_seq: Seq(9), keyed: 1, ..Tail::EMPTY };
    let is_accepted = |first, last| {
        let appended = Appended { first: Seq(first), last: Seq(last) };
        index.log().write(0, &KeyedBatch { request: request(1, 7), appended });
        index.log().read(0, &tail).is_some()
    };
    assert_eq!([(1, 8), (8, 8)].map(|(first, last)| is_accepted(first, last)), [true, true]);
    assert_eq!([(0, 8), (5, 4), (9, 9), (1, 9)].map(|(first, last)| is_accepted(first, last)), [false; 4]);
}

#[test]
fn a_key_whose_entry_was_overwritten_after_it_was_indexed_is_unknown() {
    let fixture = Fixture::new();
    let (_, mut index) = fixture.owner();
    let appended = Appended { first: Seq(1), last: Seq(1) };
    let tail = Tail { next_seq: Seq(2), keyed: 1, ..Tail::EMPTY };
    index.log().write(0, &KeyedBatch { request: request(1, 7), appended });
    assert_eq!(index.find(&request(1, 7), &tail), Ok(Some(appended)));
    index.log().write(0, &KeyedBatch { request: request(2, 7), appended });
    assert_eq!(index.find(&request(1, 7), &tail), Ok(None));
}

#[test]
fn a_producer_reports_its_capacity_and_each_unreadable_key_once() {
    let memory = SharedMemory::create(MIN_CAPACITY, 4, 1).unwrap();
    let link = ApiLink::open_in_process(&memory).unwrap();
    assert_eq!(link.stats().capacity_bytes, MIN_CAPACITY);
    link.append_keyed(&mut batch(1), request(1, 7)).unwrap();
    memory.keys().unwrap().store(0, 0, Ordering::Relaxed);
    let successor = ApiLink::open_in_process(&memory).unwrap();
    successor.find(&request(1, 7)).unwrap();
    assert_eq!([successor.take_unreadable_keys(), successor.take_unreadable_keys()], [1, 0]);
}

#[test]
fn the_index_holds_at_most_two_and_a_half_windows() {
    for new_entries in [1, WINDOW] {
        let (_, mut index) = Fixture::new().owner();
        let appended = Appended { first: Seq(1), last: Seq(1) };
        for number in 0..10 * WINDOW {
            let key = IdempotencyKey::new(number.to_string().as_bytes()).unwrap();
            index.log().write(number, &KeyedBatch { request: KeyedRequest { key, digest: 0 }, appended });
            if (number + 1).is_multiple_of(new_entries) {
                let tail = Tail { next_seq: Seq(2), keyed: number + 1, ..Tail::EMPTY };
                assert!(index.catch_up(&tail, u64::MAX));
                assert!(index.len() as u64 <= WINDOW * 5 / 2, "{} of {} entries", index.len(), number + 1);
            }
        }
    }
}
