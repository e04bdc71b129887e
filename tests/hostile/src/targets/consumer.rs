//! The consumer, over a ring and a producer's page that were spoiled.

use super::with_honest;
use crate::{honest::Honest, input::Input, spoil::Spoils};
use bulkhead_proto::{
    ids::{Position, Seq},
    link::AnalyticsLink,
    ring::Consumer,
    shared::WORD,
};
use bulkhead_steps::world::CAPACITY;
use std::collections::HashMap;

/// No ring of this size holds more records.
const MOST: u64 = CAPACITY / 16;

/// Spoils, then reads.
pub(super) fn alone(bytes: &[u8]) {
    with_honest(|honest| {
        let mut input = Input::new(bytes);
        let (position, seq) = start(&mut input, honest);
        let spoils = spoils(&mut input, honest);
        spoils.spoil(&honest.world.windows);
        read(honest, &spoils, position, seq);
    });
}

/// Reads again and again while it is being spoiled.
pub(super) fn beside(bytes: &[u8]) {
    with_honest(|honest| {
        let mut input = Input::new(bytes);
        let (position, seq) = start(&mut input, honest);
        let spoils = spoils(&mut input, honest);
        spoils.while_reading(&honest.world, &honest.image, || {
            (0..12).for_each(|_| read(honest, &spoils, position, seq));
        });
    });
}

fn spoils(input: &mut Input<'_>, honest: &Honest) -> Spoils {
    let windows = &honest.world.windows;
    let page = windows.places("producer").start;
    // The words of the page that mean something come first; what lies behind them nobody reads.
    Spoils::take(input, &honest.image, &[windows.places("events"), page..page + 24])
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

fn read(honest: &Honest, spoils: &Spoils, position: Position, seq: Seq) {
    let link = AnalyticsLink::open_within(&honest.world.memory).expect("a link");
    let Ok(mut consumer) = Consumer::attach(link.events, link.producer, position, seq) else { return };
    let ring =
        Ring { honest, spoiled: &spoils.by_place(), start: honest.world.windows.places("events").start };
    let (mut payload, mut last) = (Vec::new(), seq);
    for _ in 0..MOST {
        let before = consumer.position();
        match consumer.next(&mut payload) {
            Ok(Some(seq)) => {
                assert!(last < seq && seq == consumer.seq(), "{seq} behind {last}");
                ring.check(before, consumer.position(), &payload);
                last = seq;
            }
            Ok(None) => assert_eq!(consumer.unread(), 0),
            Err(fault) => {
                // A pad may have been skipped before the fault, nothing else.
                assert!(fault.position == consumer.position() && before <= fault.position);
                return;
            }
        }
    }
}

/// What may be read at each place of the ring.
struct Ring<'a> {
    honest: &'a Honest,
    spoiled: &'a HashMap<usize, Vec<u64>>,
    start: usize,
}

impl Ring<'_> {
    /// A record that was read: it took up exactly what its payload needs, and every word of it stood in the ring.
    fn check(&self, before: Position, after: Position, payload: &[u8]) {
        let size = (2 * WORD + payload.len().next_multiple_of(WORD)) as u64;
        let begin = after.0 - size;
        assert!(size <= CAPACITY / 8, "a record of {size} bytes");
        assert!(
            begin == before.0 || (begin.is_multiple_of(CAPACITY) && before.0 < begin),
            "{before} to {after}"
        );
        assert!(begin % CAPACITY + size <= CAPACITY, "it goes around the end");
        for (number, chunk) in payload.chunks(WORD).enumerate() {
            let offset = usize::try_from(begin % CAPACITY).expect("small") + (2 + number) * WORD;
            self.stood(self.start + offset / WORD, chunk);
        }
    }

    fn stood(&self, place: usize, chunk: &[u8]) {
        let mut could = self.spoiled.get(&place).cloned().unwrap_or_default();
        could.push(self.honest.image.word(place));
        let stood = could.iter().any(|word| word.to_ne_bytes().starts_with(chunk));
        assert!(stood, "{chunk:?} never stood in place {place}");
    }
}
