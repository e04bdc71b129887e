//! The failure of a command, for people or for programs.

use super::{
    lines::escape_lines,
    output::{FAILED, JsonReply, UNREACHABLE, USAGE, fail, json_line, print},
};
use crate::{
    control::{
        client::ClientError,
        protocol::{CommandOutcome, Reply},
    },
    log::escape_controls,
};
use std::{io, process::ExitCode};

/// A command that failed.
pub(super) struct Failure {
    outcome: CommandOutcome,
    text: String,
    worker: Option<String>,
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let outcome = match error {
            ClientError::Unreachable(_) => CommandOutcome::Unreachable,
            ClientError::Failed(..) => CommandOutcome::Failed,
        };
        Self::new(outcome, error.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(CommandOutcome::Failed, error.to_string())
    }
}

impl From<Reply> for Failure {
    fn from(reply: Reply) -> Self {
        // Only the text of an invalid configuration has several lines.
        match reply.outcome == CommandOutcome::Invalid {
            true => Self::new(reply.outcome, escape_lines(reply.text.lines())),
            false => Self::new(reply.outcome, escape_controls(&reply.text).into_owned()),
        }
    }
}

impl Failure {
    /// The failure of a command that did a part before.
    pub(super) fn after(self, done: &str) -> Self {
        Self { text: format!("{done}, then: {}", self.text), ..self }
    }

    const fn new(outcome: CommandOutcome, text: String) -> Self {
        Self { outcome, text, worker: None }
    }

    /// A reply without the data that the command asked for.
    pub(super) fn no_data() -> Self {
        let text = "the supervisor's reply has no data; run the bulkhead program that started the supervisor";
        Self::new(CommandOutcome::Failed, text.to_owned())
    }

    /// Adds the name of the worker.
    pub(super) fn for_worker(self, worker: String) -> Self {
        Self { worker: Some(worker), ..self }
    }

    /// Prints the failure, as JSON on stdout or as text on stderr. Returns the exit code.
    pub(super) fn report(&self, as_json: bool) -> ExitCode {
        let Self { outcome, text, worker } = self;
        let code = match outcome {
            CommandOutcome::Unreachable => UNREACHABLE,
            CommandOutcome::Invalid => USAGE,
            CommandOutcome::Done
            | CommandOutcome::NotFound
            | CommandOutcome::Conflict
            | CommandOutcome::Refused
            | CommandOutcome::Failed => FAILED,
        };
        if !as_json {
            return fail(code, text);
        }
        print(&json_line(&JsonReply {
            outcome: *outcome,
            text,
            worker: worker.as_deref(),
            generation: None,
        }));
        code.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_one_json_word() {
        let words = [CommandOutcome::NotFound, CommandOutcome::Unreachable, CommandOutcome::Failed];
        assert_eq!(words.map(|word| json_line(&word)), ["\"not_found\"", "\"unreachable\"", "\"failed\""]);
    }
}
