//! Unbounded output: long lines, empty lines, terminal escapes and forged log lines.

use std::{io, thread, time::Duration};

/// The bytes written to each of stdout and stderr.
const AMOUNT: usize = 50 << 20;

/// The interval at which the final line is repeated. The supervisor may drop a line of a worker that floods its output.
const REPEAT_INTERVAL: Duration = Duration::from_millis(100);

/// Writes to stdout and stderr: terminal escapes, bytes that are not UTF-8, and endless lines among lines that imitate
/// the supervisor's log.
pub(crate) fn flood() -> ! {
    let pieces = [
        b"\x1b[2J\x1b]0;owned\x07\x1b[31m\xff\xfe\x00\x9b\r".repeat(100),
        b"{\"level\":\"ERROR\",\"event_name\":\"worker_died\",\"worker\":\"api\",\"message\":\"forged\"}\n"
            .repeat(20),
        // Several times the lines that the supervisor forwards from one read, even if its next read comes late.
        b"\n".repeat(64 << 10),
        vec![b'x'; 1 << 20],
    ];
    let out = thread::spawn({
        let pieces = pieces.clone();
        move || write_repeatedly(io::stdout(), &pieces)
    });
    write_repeatedly(io::stderr(), &pieces);
    // A failed thread has printed its panic.
    let _ = out.join();
    loop {
        println!("\nthe flood is over");
        thread::sleep(REPEAT_INTERVAL);
    }
}

fn write_repeatedly(mut into: impl io::Write, pieces: &[Vec<u8>]) {
    let mut written = 0;
    for piece in pieces.iter().cycle() {
        if written >= AMOUNT {
            break;
        }
        into.write_all(piece).unwrap();
        written += piece.len();
    }
}
