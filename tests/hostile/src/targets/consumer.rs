//! The consumer, on a corrupted ring and producer page.

use super::with_honest;
use crate::{corruption::Corruption, honest::Honest, input::Input};
use bulkhead_proto::{
    shm::{
        access::{WORD, index},
        ring::Consumer,
        segment::ReadOnly,
    },
    wire::ids::{Position, Seq},
    worker::link::AnalyticsLink,
};
use bulkhead_steps::fixture::CAPACITY;
use std::collections::HashMap;

/// No ring of this size holds more records.
const MAX_RECORDS: u64 = CAPACITY / 16;

/// The bit that marks a pad in the first word of a record.
const PAD: u64 = 1 << 31;

/// The number of reads while memory is being corrupted.
const ROUNDS: usize = 60;

/// Corrupts, then reads.
pub(super) fn alone(bytes: &[u8]) {
    with_honest(|honest| {
        let mut input = Input::new(bytes);
        let (position, seq) = start(&mut input, honest);
        let corruption = corruption(&mut input, honest);
        let link = AnalyticsLink::open_in_process(&honest.fixture.memory).expect("a link");
        let ring = Ring::new(honest, &corruption);
        // Two consumers that attached before the corruption: one has read everything, the other nothing.
        let attach = || Consumer::attach(&link.events, &link.producer, position, seq);
        let (read_nothing, read_all) = (attach(), attach());
        let read_all = read_all.map(|mut read_all| {
            ring.read(&mut read_all);
            read_all
        });
        corruption.apply(&honest.fixture.windows);
        for mut consumer in [read_nothing, read_all, attach()].into_iter().flatten() {
            ring.read(&mut consumer);
        }
    });
}

/// Reads repeatedly while memory is being corrupted.
pub(super) fn concurrent(bytes: &[u8]) {
    with_honest(|honest| {
        let mut input = Input::new(bytes);
        let (position, seq) = start(&mut input, honest);
        let corruption = corruption(&mut input, honest);
        let link = AnalyticsLink::open_in_process(&honest.fixture.memory).expect("a link");
        let ring = Ring::new(honest, &corruption);
        corruption.while_reading(&honest.fixture, &honest.image, || {
            for _ in 0..ROUNDS {
                let consumer = Consumer::attach(&link.events, &link.producer, position, seq);
                consumer.into_iter().for_each(|mut consumer| ring.read(&mut consumer));
            }
        });
    });
}

fn corruption(input: &mut Input<'_>, honest: &Honest) -> Corruption {
    let windows = &honest.fixture.windows;
    let page = windows.positions("producer").start;
    let events = windows.positions("events");
    // The words of the page that have a meaning come first; no reader uses the words after them. Each head of
    // a pending record is one part: there a length or a seq can be corrupted.
    let mut parts = vec![events.clone(), page..page + 16];
    parts.extend(honest.pending().map(|position| {
        let head = events.start + index(position.0 % CAPACITY) / WORD;
        head..head + 2
    }));
    Corruption::take(input, &honest.image, &parts)
}

/// Where the consumer attaches. The commit record is hostile too.
fn start(input: &mut Input<'_>, honest: &Honest) -> (Position, Seq) {
    let record = honest.record();
    match input.byte() % 8 {
        0 => (Position(input.number()), record.seq),
        1 => (record.position, Seq(input.number())),
        2 => (Position(record.position.0.wrapping_add(input.number() % 4096)), record.seq),
        _ => (record.position, record.seq),
    }
}

/// The values that may be read at each position of the ring.
struct Ring<'a> {
    honest: &'a Honest,
    corrupted: HashMap<usize, Vec<u64>>,
    start: usize,
}

impl<'a> Ring<'a> {
    fn new(honest: &'a Honest, corruption: &Corruption) -> Self {
        Self {
            honest,
            corrupted: corruption.values_by_position(),
            start: honest.fixture.windows.positions("events").start,
        }
    }

    /// Reads to the end, or to the first error.
    fn read(&self, consumer: &mut Consumer<&ReadOnly, &ReadOnly>) {
        let (mut payload, mut last) = (Vec::new(), consumer.seq());
        for _ in 0..MAX_RECORDS {
            let before = consumer.position();
            let next = consumer.next(&mut payload);
            assert!(consumer.unread() <= CAPACITY, "{} bytes unread", consumer.unread());
            match next {
                Ok(Some(seq)) => {
                    assert!(last < seq && seq == consumer.seq(), "{seq} after {last}");
                    self.check(before, consumer.position(), &payload);
                    last = seq;
                }
                Ok(None) => return assert_eq!(consumer.unread(), 0),
                // Before the error, a pad may have been skipped, but nothing else.
                Err(fault) => {
                    return assert!(fault.position == consumer.position() && before <= fault.position);
                }
            }
        }
    }

    /// Checks a record that was read: it occupies exactly the bytes that its payload needs, and every word of
    /// it was in the ring.
    fn check(&self, before: Position, after: Position, payload: &[u8]) {
        let size = (2 * WORD + payload.len().next_multiple_of(WORD)) as u64;
        let begin = after.0 - size;
        assert!(size <= CAPACITY / 8, "a record of {size} bytes");
        if begin != before.0 {
            assert!(begin.is_multiple_of(CAPACITY) && before.0 < begin, "{before} to {after}");
            self.check_head(before.0, PAD | (begin - before.0));
        }
        assert!(begin % CAPACITY + size <= CAPACITY, "the record wraps around the end");
        self.check_head(begin, payload.len() as u64);
        for (number, chunk) in (2..).zip(payload.chunks(WORD)) {
            self.check_word(begin + number * WORD as u64, chunk);
        }
    }

    /// The first word of a record holds its length and its position.
    fn check_head(&self, position: u64, length: u64) {
        let word = (position >> 3 & 0xffff_ffff) << 32 | length;
        self.check_word(position, &word.to_ne_bytes());
    }

    fn check_word(&self, position: u64, chunk: &[u8]) {
        let position_in_image = self.start + index(position % CAPACITY) / WORD;
        let matches = |word: u64| word.to_ne_bytes().starts_with(chunk);
        let corrupted = || {
            self.corrupted
                .get(&position_in_image)
                .is_some_and(|words| words.iter().any(|&word| matches(word)))
        };
        assert!(
            matches(self.honest.image.word(position_in_image)) || corrupted(),
            "{chunk:?} was never at {position}"
        );
    }
}
