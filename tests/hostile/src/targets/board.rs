//! A board that was spoiled: only whole values are shown.

use super::with_honest;
use crate::{honest::Honest, input::Input, spoil::Spoils};
use bulkhead_proto::{
    shm::{
        segment::ReadWrite,
        seqlock::{SeqlockReader, SeqlockWriter},
    },
    wire::status::Status,
};

/// The honest values come round after so many.
const EDITIONS: u32 = 5;

fn status(number: u32) -> Status {
    let started_ms = u64::from(number) * 1_000_003;
    Status { pid: number, started_ms, faults: number.is_multiple_of(2), workers: Vec::new() }
}

fn is_honest(status_found: &Status) -> bool {
    status_found.pid < EDITIONS && *status_found == status(status_found.pid)
}

fn map(honest: &Honest) -> ReadWrite {
    honest.world.board.map().expect("a board")
}

/// Also over a board whose edition was spoiled.
fn publish(board: &ReadWrite, number: u32) {
    let mut writer = SeqlockWriter::new(board);
    writer.publish(&status(number % EDITIONS)).expect("it fits");
}

fn spoils(input: &mut Input<'_>, honest: &Honest) -> Spoils {
    let board = honest.world.windows.places("board");
    let slot = (board.len() - 8) / 2;
    // The words of the two slots that are in use, and the edition's.
    let second = board.start + 8 + slot;
    Spoils::take(input, &honest.world.windows.image(), &[board.start..board.start + 14, second..second + 6])
}

/// Publishes, spoils, and reads as a reader who knows the board, and as one who does not.
pub(super) fn alone(bytes: &[u8]) {
    with_honest(|honest| {
        let (mut input, board) = (Input::new(bytes), map(honest));
        publish(&board, 1);
        let (mut knows, mut fresh) =
            (SeqlockReader::<_, Status>::new(&board), SeqlockReader::<_, Status>::new(&board));
        assert_eq!(knows.read(), Some(&status(1)));
        publish(&board, input.byte().into());
        spoils(&mut input, honest).spoil(&honest.world.windows);
        assert!(knows.read().is_some_and(is_honest));
        assert!(fresh.read().is_none_or(is_honest));
        publish(&board, 3);
        assert!(fresh.read().is_none_or(is_honest));
    });
}

/// Reads while its writer publishes and other bytes come between.
pub(super) fn beside(bytes: &[u8]) {
    with_honest(|honest| {
        let (mut input, board) = (Input::new(bytes), map(honest));
        publish(&board, 0);
        let spoils = spoils(&mut input, honest);
        let mut reader = SeqlockReader::<_, Status>::new(map(honest));
        let meanwhile = |turn: usize| publish(&board, u32::try_from(turn % 60).expect("small"));
        spoils.beside(&honest.world, &honest.image, meanwhile, || {
            for _ in 0..200 {
                assert!(reader.read().is_none_or(is_honest));
            }
        });
    });
}
