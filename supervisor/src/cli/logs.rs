//! `bulkhead logs`: prints lines from the supervisor in the formats of its log.

use super::{
    failure::Failure,
    output::{exit_on_ctrl_c, stdout_closes, write_stdout},
};
use crate::{
    control::client::Connection,
    log::{Format, LogLine, colours, escape_controls},
};
use std::{
    io::{self, IsTerminal as _},
    os::fd::AsFd as _,
    process::ExitCode,
};

/// Prints lines until the stream ends, stdout is closed, or Ctrl-C.
pub(super) fn print(mut connection: Connection, json: bool) -> Result<ExitCode, Failure> {
    exit_on_ctrl_c()?;
    let format =
        if json { Format::Json } else { Format::Pretty { colour: colours(io::stdout().is_terminal()) } };
    loop {
        if connection.would_wait() && stdout_closes(Some(connection.as_fd()), None) {
            return Ok(ExitCode::SUCCESS);
        }
        let Some(line) = connection.next_line()? else { return Ok(ExitCode::SUCCESS) };
        if let Some(end) = write_stdout(&render_line(&line, format)) {
            return Ok(end);
        }
    }
}

/// Renders a line. A line of an unknown form, such as one from a newer supervisor, is shown with its control characters
/// escaped.
fn render_line(text: &str, format: Format) -> String {
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
    fn lines_are_rendered_in_the_formats_of_the_log() {
        assert_eq!(render_line(JSON, Format::Json), JSON);
        assert_eq!(
            render_line(JSON, Format::Pretty { colour: false }),
            "2026-11-22T20:14:45.975Z  INFO at x port=7\n"
        );
    }

    #[test]
    fn an_unknown_line_is_shown_escaped() {
        assert_eq!(render_line("what\u{1b}[2J\n", Format::Json), "what\\u{1b}[2J\n");
    }
}
