//! The cursor page, as the supervisor and the API read it.

use super::with_honest;
use crate::{corruption::Corruption, honest::Honest, input::Input};
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

/// The number of generations that write a panic record.
const GENERATIONS: u64 = 4;

fn panic_record(generation: u64) -> PanicRecord {
    PanicRecord {
        generation: Generation(generation),
        message: format!("generation {generation} ends ").repeat(usize::try_from(generation).unwrap_or(1)),
        location: format!("src/file.rs:{generation}:1"),
        thread: "main".to_owned(),
    }
}

/// Corrupts, then reads.
pub(super) fn alone(bytes: &[u8]) {
    with_honest(|honest| {
        let mut input = Input::new(bytes);
        let generation = 1 + u64::from(input.byte()) % GENERATIONS;
        write_page(&page(honest), generation, honest.record().seq.next());
        let corruption = corruption(&mut input, honest, &honest.fixture.windows.image());
        corruption.apply(&honest.fixture.windows);
        check(honest, &page(honest));
    });
}

/// Reads while one generation after the other writes its panic record and other bytes are written between.
pub(super) fn concurrent(bytes: &[u8]) {
    with_honest(|honest| {
        let mut input = Input::new(bytes);
        let corruption = corruption(&mut input, honest, &honest.image);
        let (page, read_page) = (page(honest), page(honest));
        let meanwhile =
            |round: usize| write_page(&page, 1 + round as u64 % GENERATIONS, Seq(round as u64 % 60));
        corruption.concurrently_with(&honest.fixture, &honest.image, meanwhile, || {
            (0..40).for_each(|_| check(honest, &read_page));
        });
    });
}

fn page(honest: &Honest) -> Arc<ReadWrite> {
    AnalyticsLink::open_in_process(&honest.fixture.memory).expect("a link").cursor
}

fn write_page(page: &ReadWrite, generation: u64, seq: Seq) {
    set_in_flight(&page, Activity::Apply, seq);
    write_panic_record(&page, &panic_record(generation));
}

fn corruption(input: &mut Input<'_>, honest: &Honest, image: &Image) -> Corruption {
    let page = honest.fixture.windows.positions("cursor").start;
    let used = page..page + 32;
    Corruption::take(input, image, std::slice::from_ref(&used))
}

fn check(honest: &Honest, page: &ReadWrite) {
    let death = honest.fixture.memory.claims();
    assert!(death.in_flight.is_none_or(|seq| death.committed < seq && seq <= death.accepted), "{death:?}");
    assert_eq!(death.committed, honest.record().seq);
    let honest_record = death
        .panic_record
        .as_ref()
        .is_none_or(|found| (1..=GENERATIONS).any(|generation| panic_record(generation) == *found));
    assert!(honest_record, "a panic record that was never written: {:?}", death.panic_record);
    let _ = cursor::read_position(&page);
    assert!(Waker::new(page).due().is_none_or(|epoch| epoch % 2 == 1));
}
