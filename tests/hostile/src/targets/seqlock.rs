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
    honest.fixture.board.map().expect("a board")
}

/// Publishes, also into a cell whose version is corrupted.
fn publish(board: &ReadWrite, number: u32) {
    let mut writer = SeqlockWriter::new(board);
    writer.publish(&status(number % VERSIONS)).expect("it fits");
}

fn corruption(input: &mut Input<'_>, honest: &Honest) -> Corruption {
    let board = honest.fixture.windows.positions("board");
    let slot = (board.len() - 8) / 2;
    // The words of both slots that are in use, and the version word.
    let second = board.start + 8 + slot;
    Corruption::take(
        input,
        &honest.fixture.windows.image(),
        &[board.start..board.start + 14, second..second + 6],
    )
}

/// Publishes, corrupts, and reads with a reader that had read the cell before and with a new one.
pub(super) fn alone(bytes: &[u8]) {
    with_honest(|honest| {
        let (mut input, board) = (Input::new(bytes), map(honest));
        publish(&board, 1);
        let (mut knows, mut fresh) =
            (SeqlockReader::<_, Status>::new(&board), SeqlockReader::<_, Status>::new(&board));
        assert_eq!(knows.read(), Some(&status(1)));
        publish(&board, input.byte().into());
        corruption(&mut input, honest).apply(&honest.fixture.windows);
        assert!(knows.read().is_some_and(is_honest));
        assert!(fresh.read().is_none_or(is_honest));
        publish(&board, 3);
        assert!(fresh.read().is_none_or(is_honest));
    });
}

/// Reads while the writer publishes and other bytes are written between.
pub(super) fn concurrent(bytes: &[u8]) {
    with_honest(|honest| {
        let (mut input, board) = (Input::new(bytes), map(honest));
        publish(&board, 0);
        let corruption = corruption(&mut input, honest);
        let mut reader = SeqlockReader::<_, Status>::new(map(honest));
        let meanwhile = |round: usize| publish(&board, u32::try_from(round % 60).expect("small"));
        corruption.concurrently_with(&honest.fixture, &honest.image, meanwhile, || {
            for _ in 0..200 {
                assert!(reader.read().is_none_or(is_honest));
            }
        });
    });
}
