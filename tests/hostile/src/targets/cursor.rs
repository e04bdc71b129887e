//! The consumer's page as the supervisor and the API read it.

use super::with_honest;
use crate::{honest::Honest, input::Input, spoil::Spoils};
use bulkhead_proto::{
    shm::{
        cursor::{self, Activity, PanicRecord, set_in_flight, write_panic_record},
        segment::ReadWrite,
        wake::Waker,
    },
    wire::ids::{Generation, Seq},
    worker::link::AnalyticsLink,
};
use bulkhead_steps::image::Image;
use std::sync::Arc;

/// How many generations leave words.
const GENERATIONS: u64 = 4;

fn words(generation: u64) -> PanicRecord {
    PanicRecord {
        generation: Generation(generation),
        message: format!("generation {generation} ends ").repeat(usize::try_from(generation).unwrap_or(1)),
        location: format!("src/file.rs:{generation}:1"),
        thread: "main".to_owned(),
    }
}

/// Spoils, then reads.
pub(super) fn alone(bytes: &[u8]) {
    with_honest(|honest| {
        let mut input = Input::new(bytes);
        let generation = 1 + u64::from(input.byte()) % GENERATIONS;
        leave(&page(honest), generation, honest.record().seq.next());
        let spoils = spoils(&mut input, honest, &honest.world.windows.image());
        spoils.spoil(&honest.world.windows);
        check(honest, &page(honest));
    });
}

/// Reads while one generation after the other leaves its words and other bytes come between.
pub(super) fn beside(bytes: &[u8]) {
    with_honest(|honest| {
        let mut input = Input::new(bytes);
        let spoils = spoils(&mut input, honest, &honest.image);
        let (page, looks) = (page(honest), page(honest));
        let meanwhile = |turn: usize| leave(&page, 1 + turn as u64 % GENERATIONS, Seq(turn as u64 % 60));
        spoils
            .beside(&honest.world, &honest.image, meanwhile, || (0..40).for_each(|_| check(honest, &looks)));
    });
}

fn page(honest: &Honest) -> Arc<ReadWrite> {
    AnalyticsLink::open_in_process(&honest.world.memory).expect("a link").cursor
}

fn leave(page: &ReadWrite, generation: u64, seq: Seq) {
    set_in_flight(&page, Activity::Apply, seq);
    write_panic_record(&page, &words(generation));
}

fn spoils(input: &mut Input<'_>, honest: &Honest, image: &Image) -> Spoils {
    let page = honest.world.windows.places("cursor").start;
    let used = page..page + 32;
    Spoils::take(input, image, std::slice::from_ref(&used))
}

fn check(honest: &Honest, page: &ReadWrite) {
    let death = honest.world.memory.post_mortem();
    assert!(death.in_flight.is_none_or(|seq| death.committed < seq && seq <= death.accepted), "{death:?}");
    assert_eq!(death.committed, honest.record().seq);
    let honest_words =
        death.panic_record.as_ref().is_none_or(|found| (1..=GENERATIONS).any(|of| words(of) == *found));
    assert!(honest_words, "nobody's words: {:?}", death.panic_record);
    let _ = cursor::read_position(&page);
    assert!(Waker::new(page).due().is_none_or(|epoch| epoch % 2 == 1));
}
