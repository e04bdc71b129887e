//! How commands speak, and how they end.

use bulkhead_proto::wire::{ids::Generation, text::escape_controls_in_json};
use rustix::termios::tcgetwinsize;
use serde::Serialize;
use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
};

/// The command was not carried out.
pub(super) const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
pub(super) const USAGE: u8 = 2;
/// There is no supervisor to carry it out.
pub(super) const UNREACHABLE: u8 = 3;

/// What `--json` prints when a command has nothing to show, or failed.
#[derive(Serialize)]
pub(super) struct Answer<'a, Outcome> {
    pub(super) outcome: Outcome,
    pub(super) text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) worker: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) generation: Option<Generation>,
}

/// One line of JSON.
pub(super) fn json(value: &impl Serialize) -> String {
    // What is printed is made of text and numbers: it can always be written.
    escape_controls_in_json(&serde_json::to_string(value).unwrap_or_default()).into_owned()
}

/// Prints JSON that people may look at, too.
pub(super) fn show(value: &impl Serialize) -> ExitCode {
    say(&escape_controls_in_json(&serde_json::to_string_pretty(value).unwrap_or_default()))
}

/// Prints to stdout, and says how the command ends.
pub(super) fn say(text: &str) -> ExitCode {
    put(&format!("{text}\n")).unwrap_or(ExitCode::SUCCESS)
}

/// Prints whole lines to stdout. When no more can be printed, says how the command ends: a reader that has left (`| head`)
/// is no failure, a full disk is one.
pub(super) fn put(lines: &str) -> Option<ExitCode> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(lines.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => None,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Some(ExitCode::SUCCESS),
        Err(error) => Some(fail(FAILED, &format!("cannot write to stdout: {error}"))),
    }
}

/// Says on stderr what is wrong.
pub(super) fn fail(code: u8, error: &dyn Display) -> ExitCode {
    complain(&format!("bulkhead: {error}\n"));
    code.into()
}

/// Writes to stderr, with the colours that stand in the text where those are wanted. `eprint!` would panic when it cannot
/// be written to; the exit code says enough then.
pub(super) fn complain(text: &str) {
    let _ = anstream::stderr().write_all(text.as_bytes());
}

/// The width and height of the terminal on stdout; none when it is none, or does not tell.
pub(super) fn terminal() -> Option<(usize, usize)> {
    let stdout = io::stdout();
    let size = tcgetwinsize(&stdout).ok().filter(|_| stdout.is_terminal())?;
    Some((size.ws_col.into(), size.ws_row.into())).filter(|(width, height)| *width > 0 && *height > 0)
}

/// Lets Ctrl-C be an ordinary end, for commands that have no other.
///
/// # Errors
/// When the signal cannot be handled.
pub(super) fn end_with_ctrl_c() -> io::Result<()> {
    let always = Arc::new(AtomicBool::new(true));
    signal_hook::flag::register_conditional_shutdown(signal_hook::consts::SIGINT, 0, always).map(drop)
}
