//! An analysis that dies with more to say than anybody wants to hear.

use bulkhead_proto::wire::event::Event;
use bulkhead_worker_analytics::Analysis;
use std::{
    io::{self, Write as _},
    process::ExitCode,
};

/// How often it repeats itself: 10 MB in all.
const TIMES: usize = 1 << 20;

struct Loud;

/// Dies of every event in the way that its series names.
pub(crate) fn die_loudly() -> ExitCode {
    bulkhead_worker_analytics::run(Loud)
}

impl Analysis for Loud {
    type State = ();

    const NAME: &'static str = "loud";
    const VERSION: u32 = 1;

    fn apply(&self, (): &mut (), event: &Event<'_>) {
        let _ = io::stderr().write_all(b"\xff\xfe\x1b[2J no text\n");
        match event.series {
            "bytes" => std::panic::panic_any(vec![0xff_u8; 100]),
            "flood" => {
                let _ = io::stderr().write_all(&b"{\"level\":\"ERROR\"}\x1b[2J\xff\n".repeat(1_000));
                // A single read of the supervisor takes in more of these than it ever passes on at once.
                let _ = io::stderr().write_all(&b"\n".repeat(TIMES / 4));
                panic!("after a flood");
            }
            _ => panic!("{}", "\x1b[31m\u{202e}no\n".repeat(TIMES)),
        }
    }

    fn render<'a>(&'a self, _: &'a str, (): &'a ()) -> impl serde::Serialize + 'a {}
}
