//! A corrupted seqlock cell: only complete values are read.

use super::with_honest;
use crate::{corruption::Corruption, honest::Honest, input::Input};
use bulkhead_proto::{
    shm::{
        segment::ReadWrite,
        seqlock::{SeqlockReader, SeqlockWriter},
    },
    wire::status::Status,
};

/// The honest values repeat after this number of versions.
const VERSIONS: u32 = 5;

fn status(number: u32) -> Status {
    let started_ms = u64::from(number) * 1_000_003;
    Status { pid: number, started_ms, faults: number.is_multiple_of(2), workers: Vec::new() }
}

fn is_honest(status_found: &Status) -> bool {
    status_found.pid < VERSIONS && *status_found == status(status_found.pid)
}

fn map(honest: &Honest) -> ReadWrite {
    honest.fixture.published_page.map().expect("a page")
}

/// Publishes, also into a cell whose version is corrupted.
fn publish(published_page: &ReadWrite, number: u32) {
    let mut writer = SeqlockWriter::new(published_page);
    writer.publish(&status(number % VERSIONS)).expect("it fits");
}

fn corruption(input: &mut Input<'_>, honest: &Honest) -> Corruption {
    let published_page = honest.fixture.windows.positions("published");
    let slot = (published_page.len() - 8) / 2;
    // The words of both slots that are in use, and the version word.
    let second = published_page.start + 8 + slot;
    Corruption::take(
        input,
        &honest.fixture.windows.image(),
        &[published_page.start..published_page.start + 14, second..second + 6],
    )
}

/// Publishes, corrupts, and reads with a reader that had read the cell before and with a new one.
pub(super) fn alone(bytes: &[u8]) {
    with_honest(|honest| {
        let (mut input, published_page) = (Input::new(bytes), map(honest));
        publish(&published_page, 1);
        let (mut knows, mut fresh) = (
            SeqlockReader::<_, Status>::new(&published_page),
            SeqlockReader::<_, Status>::new(&published_page),
        );
        assert_eq!(knows.read(), Some(&status(1)));
        publish(&published_page, input.byte().into());
        corruption(&mut input, honest).apply(&honest.fixture.windows);
        assert!(knows.read().is_some_and(is_honest));
        assert!(fresh.read().is_none_or(is_honest));
        publish(&published_page, 3);
        assert!(fresh.read().is_none_or(is_honest));
    });
}

/// Reads while the writer publishes and other bytes are written between.
pub(super) fn concurrent(bytes: &[u8]) {
    with_honest(|honest| {
        let (mut input, published_page) = (Input::new(bytes), map(honest));
        publish(&published_page, 0);
        let corruption = corruption(&mut input, honest);
        let mut reader = SeqlockReader::<_, Status>::new(map(honest));
        let meanwhile = |round: usize| publish(&published_page, u32::try_from(round % 60).expect("small"));
        corruption.concurrently_with(&honest.fixture, &honest.image, meanwhile, || {
            for _ in 0..200 {
                assert!(reader.read().is_none_or(is_honest));
            }
        });
    });
}
