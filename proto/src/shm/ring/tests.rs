//! The ring against a queue: wraps, pads, full, oversized, and either side attaching anew at any moment.

use super::*;
use crate::{
    shm::{
        access::{ReadWords, WriteWords},
        segment::{Kind, ReadWrite, Segment},
        sync::Ordering,
    },
    wire::ids::{Position, Seq},
};
use proptest::prelude::*;
use std::{collections::VecDeque, sync::Arc};

const CAPACITY: usize = 2048;

struct Rig {
    events: Arc<ReadWrite>,
    page: Arc<ReadWrite>,
}

impl Rig {
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
    fn the_ring_is_a_queue(ops in proptest::collection::vec(op(), 1..250)) {
        let rig = Rig::new();
        let mut appender = rig.appender();
        let mut consumer = rig.consumer(Position(0), Seq(0));
        // What was accepted and not committed; how many of these were read; the point that was committed last.
        let (mut queue, mut read) = (VecDeque::<(Seq, Vec<u8>)>::new(), 0);
        let (mut released, mut committed, mut next) = (Position(0), Seq(0), 1);
        let mut payload = Vec::new();
        for (turn, op) in ops.into_iter().enumerate() {
            match op {
                Op::Append(sizes) => {
                    let fill = u8::try_from(turn % 256).unwrap();
                    let before = appender.tail();
                    // One event alone goes in by either way.
                    let appended = match sizes[..] {
                        [size] if turn % 2 == 0 => appender.append_payload(&vec![fill; size], || released),
                        _ => appender.append(&mut batch(&sizes, fill), || released),
                    };
                    match appended {
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
                        if let Some((_, bytes)) = want {
                            prop_assert_eq!(&payload, bytes);
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
                    appender = rig.appender();
                    prop_assert_eq!(appender.tail(), before);
                }
                Op::ReattachConsumer => {
                    consumer = rig.consumer(released, committed);
                    read = 0;
                }
            }
        }
    }
}

#[test]
fn a_batch_that_could_never_fit_is_told_from_one_that_does_not_fit_now() {
    let rig = Rig::new();
    let mut appender = rig.appender();
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
fn a_released_position_that_cannot_be_true_is_not_believed() {
    let rig = Rig::new();
    let mut appender = rig.appender();
    appender.append(&mut batch(&[200; 8], 1), || Position(0)).unwrap();
    let head = appender.tail().head.0;
    for lie in [head + 8, u64::MAX] {
        let refused = appender.append(&mut batch(&[200; 8], 2), || Position(lie));
        assert!(matches!(refused, Err(AppendError::Full { .. })), "{lie}");
    }
    appender.append(&mut batch(&[200; 8], 2), || Position(head)).unwrap();
    // Going back is not believed either.
    appender.append(&mut batch(&[8], 3), || Position(0)).unwrap();
}

#[test]
fn a_damaged_record_is_an_error_and_the_reader_stays() {
    let damages: [(&str, usize, u64); 5] = [
        ("tag", 0, 0x0000_0007_0000_0008),
        ("length", 0, 0x0000_0000_0000_4000),
        ("pad's length", 0, 0x0000_0000_8000_0010),
        ("seq", 1, 0),
        ("seq", 1, 99),
    ];
    for (what, word, value) in damages {
        let rig = Rig::new();
        rig.appender().append(&mut batch(&[8], 1), || Position(0)).unwrap();
        rig.events.store(word, value, Ordering::Relaxed);
        let mut consumer = rig.consumer(Position(0), Seq(0));
        for _ in 0..2 {
            let fault = consumer.next(&mut Vec::new()).unwrap_err();
            assert_eq!((fault.what, fault.position), (what, Position(0)));
        }
    }
}

#[test]
fn a_committed_position_that_cannot_be_one_is_refused() {
    let rig = Rig::new();
    rig.appender().append(&mut batch(&[8; 9], 1), || Position(0)).unwrap();
    for position in [3, 4096, u64::MAX - 7] {
        assert!(
            Consumer::attach(&*rig.events, &*rig.page, Position(position), Seq(0)).is_err(),
            "{position}"
        );
    }
}

#[test]
fn a_head_that_cannot_be_one_is_not_believed() {
    let rig = Rig::new();
    let mut consumer = rig.consumer(Position(0), Seq(0));
    set_tail(
        &*rig.page,
        Tail { head: Position(CAPACITY as u64 + 8), next_seq: Seq(5), accepted: 4, keyed: 0 },
    );
    assert_eq!(consumer.next(&mut Vec::new()), Ok(None));
    assert_eq!(rig.page.load(0, Ordering::Relaxed), 0, "the lock's words are not the tail's");
}
