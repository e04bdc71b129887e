//! `bulkhead logs`: lines as they come from the supervisor, in the forms of its own log.

use super::{
    failure::Failure,
    output::{FAILED, end_with_ctrl_c, fail, put},
};
use crate::{
    control::client::Connection,
    log::{Format, LogLine, colours, escape_controls},
};
use std::{
    io::{self, IsTerminal as _},
    process::ExitCode,
};

/// Prints what comes until it ends, nobody reads it any more, or Ctrl-C.
pub(super) fn print(mut connection: Connection, json: bool) -> ExitCode {
    if let Err(error) = end_with_ctrl_c() {
        return fail(FAILED, &error);
    }
    let format =
        if json { Format::Json } else { Format::Pretty { colour: colours(io::stdout().is_terminal()) } };
    loop {
        match connection.line() {
            Ok(Some(line)) => {
                if let Some(end) = put(&shown(&line, format)) {
                    return end;
                }
            }
            Ok(None) => return ExitCode::SUCCESS,
            Err(error) => return Failure::from(error).tell(json),
        }
    }
}

/// A line of a supervisor that this program does not understand is still better shown than not.
fn shown(text: &str, format: Format) -> String {
    match LogLine::from_json(text) {
        Some(line) => format.render(&line),
        None => escape_controls(text.trim_end()).into_owned() + "\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = "{\"timestamp\":\"2026-11-22T20:14:45.975000Z\",\"level\":\"INFO\",\"message\":\"at x\",\"port\":7}\n";

    #[test]
    fn lines_have_the_forms_of_the_log() {
        assert_eq!(shown(JSON, Format::Json), JSON);
        assert_eq!(
            shown(JSON, Format::Pretty { colour: false }),
            "2026-11-22T20:14:45.975Z  INFO at x port=7\n"
        );
    }

    #[test]
    fn what_is_no_line_is_shown_harmlessly() {
        assert_eq!(shown("what\u{1b}[2J\n", Format::Json), "what\\u{1b}[2J\n");
    }
}
