//! The consumer, over a ring and a producer's page that were spoiled.

use super::with_honest;
use crate::{honest::Honest, input::Input, spoil::Spoils};
use bulkhead_proto::{
    shm::{
        access::{WORD, index},
        ring::Consumer,
        segment::ReadOnly,
    },
    wire::ids::{Position, Seq},
    worker::link::AnalyticsLink,
};
use bulkhead_steps::world::CAPACITY;
use std::collections::HashMap;

/// No ring of this size holds more records.
const MOST: u64 = CAPACITY / 16;

/// Marks a pad in a record's first word.
const PAD: u64 = 1 << 31;

/// How often what is spoiled meanwhile is read.
const ROUNDS: usize = 60;

/// Spoils, then reads.
pub(super) fn alone(bytes: &[u8]) {
    with_honest(|honest| {
        let mut input = Input::new(bytes);
        let (position, seq) = start(&mut input, honest);
        let spoils = spoils(&mut input, honest);
        let link = AnalyticsLink::open_in_process(&honest.world.memory).expect("a link");
        let ring = Ring::new(honest, &spoils);
        // Two who attached while all was well: one has read everything, the other nothing.
        let attach = || Consumer::attach(&link.events, &link.producer, position, seq);
        let (behind, ahead) = (attach(), attach());
        let ahead = ahead.map(|mut ahead| {
            ring.read(&mut ahead);
            ahead
        });
        spoils.spoil(&honest.world.windows);
        for mut consumer in [behind, ahead, attach()].into_iter().flatten() {
            ring.read(&mut consumer);
        }
    });
}

/// Reads again and again while it is being spoiled.
pub(super) fn beside(bytes: &[u8]) {
    with_honest(|honest| {
        let mut input = Input::new(bytes);
        let (position, seq) = start(&mut input, honest);
        let spoils = spoils(&mut input, honest);
        let link = AnalyticsLink::open_in_process(&honest.world.memory).expect("a link");
        let ring = Ring::new(honest, &spoils);
        spoils.while_reading(&honest.world, &honest.image, || {
            for _ in 0..ROUNDS {
                let consumer = Consumer::attach(&link.events, &link.producer, position, seq);
                consumer.into_iter().for_each(|mut consumer| ring.read(&mut consumer));
            }
        });
    });
}

fn spoils(input: &mut Input<'_>, honest: &Honest) -> Spoils {
    let windows = &honest.world.windows;
    let page = windows.places("producer").start;
    let events = windows.places("events");
    // The words of the page that mean something come first; what lies behind them nobody reads. The pending records'
    // heads, one a part, are where a length or a seq can be spoiled.
    let mut parts = vec![events.clone(), page..page + 16];
    parts.extend(honest.pending().map(|position| {
        let head = events.start + index(position.0 % CAPACITY) / WORD;
        head..head + 2
    }));
    Spoils::take(input, &honest.image, &parts)
}

/// Where the consumer attaches: the commit record is hostile, too.
fn start(input: &mut Input<'_>, honest: &Honest) -> (Position, Seq) {
    let record = honest.record();
    match input.byte() % 8 {
        0 => (Position(input.number()), record.seq),
        1 => (record.position, Seq(input.number())),
        2 => (Position(record.position.0.wrapping_add(input.number() % 4096)), record.seq),
        _ => (record.position, record.seq),
    }
}

/// What may be read at each place of the ring.
struct Ring<'a> {
    honest: &'a Honest,
    spoiled: HashMap<usize, Vec<u64>>,
    start: usize,
}

impl<'a> Ring<'a> {
    fn new(honest: &'a Honest, spoils: &Spoils) -> Self {
        Self { honest, spoiled: spoils.by_place(), start: honest.world.windows.places("events").start }
    }

    /// Reads to the end, or to the first fault.
    fn read(&self, consumer: &mut Consumer<&ReadOnly, &ReadOnly>) {
        let (mut payload, mut last) = (Vec::new(), consumer.seq());
        for _ in 0..MOST {
            let before = consumer.position();
            let next = consumer.next(&mut payload);
            assert!(consumer.unread() <= CAPACITY, "{} bytes unread", consumer.unread());
            match next {
                Ok(Some(seq)) => {
                    assert!(last < seq && seq == consumer.seq(), "{seq} behind {last}");
                    self.check(before, consumer.position(), &payload);
                    last = seq;
                }
                Ok(None) => return assert_eq!(consumer.unread(), 0),
                // A pad may have been skipped before the fault, nothing else.
                Err(fault) => {
                    return assert!(fault.position == consumer.position() && before <= fault.position);
                }
            }
        }
    }

    /// A record that was read: it took up exactly what its payload needs, and every word of it stood in the ring.
    fn check(&self, before: Position, after: Position, payload: &[u8]) {
        let size = (2 * WORD + payload.len().next_multiple_of(WORD)) as u64;
        let begin = after.0 - size;
        assert!(size <= CAPACITY / 8, "a record of {size} bytes");
        if begin != before.0 {
            assert!(begin.is_multiple_of(CAPACITY) && before.0 < begin, "{before} to {after}");
            self.head_stood(before.0, PAD | (begin - before.0));
        }
        assert!(begin % CAPACITY + size <= CAPACITY, "it goes around the end");
        self.head_stood(begin, payload.len() as u64);
        for (number, chunk) in (2..).zip(payload.chunks(WORD)) {
            self.stood(begin + number * WORD as u64, chunk);
        }
    }

    /// A record's first word says its length and, once more, its place.
    fn head_stood(&self, position: u64, length: u64) {
        let word = (position >> 3 & 0xffff_ffff) << 32 | length;
        self.stood(position, &word.to_ne_bytes());
    }

    fn stood(&self, position: u64, chunk: &[u8]) {
        let place = self.start + index(position % CAPACITY) / WORD;
        let is = |word: u64| word.to_ne_bytes().starts_with(chunk);
        let spoiled = || self.spoiled.get(&place).is_some_and(|words| words.iter().any(|&word| is(word)));
        assert!(is(self.honest.image.word(place)) || spoiled(), "{chunk:?} never stood at {position}");
    }
}
