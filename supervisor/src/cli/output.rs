//! Output and exit codes of commands.

use crate::{
    control::protocol::{CommandOutcome, Reply},
    log::escape_controls,
};
use bulkhead_proto::wire::{ids::Generation, text::escape_controls_in_json};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::retry_on_intr,
    termios::tcgetwinsize,
};
use serde::Serialize;
use std::{
    fmt::Display,
    io::{self, IsTerminal as _, Write as _},
    os::fd::BorrowedFd,
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

/// Exit code: the command failed.
pub(super) const FAILED: u8 = 1;
/// Exit code: usage or configuration error.
pub(super) const USAGE: u8 = 2;
/// Exit code: no supervisor is reachable.
pub(super) const UNREACHABLE: u8 = 3;

/// What `--json` prints for a command without data, or for a failure.
#[derive(Serialize)]
pub(super) struct JsonReply<'a> {
    pub(super) outcome: CommandOutcome,
    pub(super) text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) worker: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) generation: Option<Generation>,
}

/// Prints the reply to a command without data.
pub(super) fn print_reply(reply: &Reply, worker: Option<&str>, json: bool) -> ExitCode {
    let Reply { outcome, text, generation, .. } = reply;
    print(&match json {
        true => json_line(&JsonReply { outcome: *outcome, text, worker, generation: *generation }),
        false => escape_controls(text).into_owned(),
    })
}

/// JSON on one line.
pub(super) fn json_line(value: &impl Serialize) -> String {
    // Cannot fail: all values consist of strings and numbers.
    escape_controls_in_json(&serde_json::to_string(value).unwrap_or_default()).into_owned()
}

/// Prints indented JSON.
pub(super) fn print_json(value: &impl Serialize) -> ExitCode {
    print(&escape_controls_in_json(&serde_json::to_string_pretty(value).unwrap_or_default()))
}

/// Prints a line to stdout and returns the exit code.
pub(super) fn print(text: &str) -> ExitCode {
    write_stdout(&format!("{text}\n")).unwrap_or(ExitCode::SUCCESS)
}

/// Writes whole lines to stdout. Returns the exit code if that fails: success for a closed pipe (`| head`), failure for
/// anything else, such as a full disk.
pub(super) fn write_stdout(lines: &str) -> Option<ExitCode> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(lines.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => None,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Some(ExitCode::SUCCESS),
        Err(error) => Some(fail(FAILED, &format!("cannot write to stdout: {error}"))),
    }
}

/// Waits until `input` is readable or closed, or until the time is over. Returns whether stdout was closed meanwhile: then
/// nothing reads what would follow (`| head`).
pub(super) fn stdout_closes(input: Option<BorrowedFd<'_>>, timeout: Option<Duration>) -> bool {
    let stdout = io::stdout();
    let mut waits = vec![PollFd::new(&stdout, PollFlags::empty())];
    waits.extend(input.map(|input| PollFd::from_borrowed_fd(input, PollFlags::IN)));
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    let waited = retry_on_intr(|| poll(&mut waits, timeout.as_ref()));
    waited.is_ok() && waits[0].revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL)
}

/// Prints an error to stderr and returns the exit code.
pub(super) fn fail(code: u8, error: &dyn Display) -> ExitCode {
    print_error(&format!("bulkhead: {error}\n"));
    code.into()
}

/// Writes to stderr. Colour codes in the text are removed unless stderr supports them. Write errors are ignored
/// (`eprint!` would panic): the exit code still reports the failure.
pub(super) fn print_error(text: &str) {
    let _ = anstream::stderr().write_all(text.as_bytes());
}

/// Width and height of the terminal on stdout; `None` if stdout is not a terminal or has no size.
pub(super) fn terminal_size() -> Option<(usize, usize)> {
    let stdout = io::stdout();
    let size = tcgetwinsize(&stdout).ok().filter(|_| stdout.is_terminal())?;
    Some((size.ws_col.into(), size.ws_row.into())).filter(|(width, height)| *width > 0 && *height > 0)
}

/// Makes the process exit with code 0 on Ctrl-C, for commands that run until Ctrl-C.
///
/// # Errors
/// The signal handler cannot be installed.
pub(super) fn exit_on_ctrl_c() -> io::Result<()> {
    let always = Arc::new(AtomicBool::new(true));
    signal_hook::flag::register_conditional_shutdown(signal_hook::consts::SIGINT, 0, always).map(drop)
}
