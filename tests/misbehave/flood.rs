//! Output without end, measure or manners.

use std::{io, thread, time::Duration};

/// So much is written to each of stdout and stderr, in bytes.
const AMOUNT: usize = 50 << 20;

/// How often it is said afterwards that it is over: a line of a flooding worker may be dropped.
const PACE: Duration = Duration::from_millis(100);

/// Writes it: terminal escapes, bytes that are no text, and lines without end among lines that forge others.
pub(crate) fn flood() -> ! {
    let pieces = [
        b"\x1b[2J\x1b]0;owned\x07\x1b[31m\xff\xfe\x00\x9b\r".repeat(100),
        b"{\"level\":\"ERROR\",\"event_name\":\"worker_died\",\"worker\":\"api\",\"message\":\"forged\"}\n"
            .repeat(20),
        // Several times what is passed on of one read, however long the supervisor takes for the next.
        b"\n".repeat(64 << 10),
        vec![b'x'; 1 << 20],
    ];
    let out = thread::spawn({
        let pieces = pieces.clone();
        move || pour(io::stdout(), &pieces)
    });
    pour(io::stderr(), &pieces);
    // A thread that failed has said so.
    let _ = out.join();
    loop {
        println!("\nthe flood is over");
        thread::sleep(PACE);
    }
}

fn pour(mut into: impl io::Write, pieces: &[Vec<u8>]) {
    let mut written = 0;
    for piece in pieces.iter().cycle() {
        if written >= AMOUNT {
            break;
        }
        into.write_all(piece).unwrap();
        written += piece.len();
    }
}
