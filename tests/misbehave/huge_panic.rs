//! An analysis that panics with a huge message, a payload that is not text, or after a flood of output.

use bulkhead_proto::wire::event::Event;
use bulkhead_worker_analytics::Analysis;
use std::{
    io::{self, Write as _},
    process::ExitCode,
};

/// Repetitions of the panic message, which is about 10 MB in all.
const REPETITIONS: usize = 1 << 20;

struct HugePanic;

/// Panics at each event. The series of the event selects the kind of panic.
pub(crate) fn run() -> ExitCode {
    bulkhead_worker_analytics::run(HugePanic)
}

impl Analysis for HugePanic {
    type State = ();

    const NAME: &'static str = "loud";
    const VERSION: u32 = 1;

    fn apply(&self, (): &mut (), event: &Event<'_>) {
        let _ = io::stderr().write_all(b"\xff\xfe\x1b[2J no text\n");
        match event.series {
            "bytes" => std::panic::panic_any(vec![0xff_u8; 100]),
            "flood" => {
                let _ = io::stderr().write_all(&b"{\"level\":\"ERROR\"}\x1b[2J\xff\n".repeat(1_000));
                // One read of the supervisor takes more of these lines than it forwards at once.
                let _ = io::stderr().write_all(&b"\n".repeat(REPETITIONS / 4));
                panic!("after a flood");
            }
            _ => panic!("{}", "\x1b[31m\u{202e}no\n".repeat(REPETITIONS)),
        }
    }

    fn render<'a>(&'a self, _: &'a str, (): &'a ()) -> impl serde::Serialize + 'a {}
}
