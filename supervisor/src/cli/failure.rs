//! The failure of a command, for people or for programs.

use super::output::{FAILED, JsonReply, UNREACHABLE, USAGE, fail, json_line, print};
use crate::{
    control::{
        client::ClientError,
        protocol::{CommandOutcome, Reply},
    },
    log::escape_controls,
};
use serde::Serialize;
use std::process::ExitCode;

/// A command that failed.
pub(super) struct Failure {
    kind: FailureKind,
    text: String,
    worker: Option<String>,
}

/// Why it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum FailureKind {
    Unreachable,
    Failed,
    #[serde(untagged)]
    Reply(CommandOutcome),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let kind = match error {
            ClientError::Unreachable(_) => FailureKind::Unreachable,
            ClientError::Failed(..) => FailureKind::Failed,
        };
        Self { kind, text: error.to_string(), worker: None }
    }
}

impl From<Reply> for Failure {
    fn from(reply: Reply) -> Self {
        let text = match reply.outcome {
            CommandOutcome::Invalid => escape_lines(&reply.text),
            CommandOutcome::Done
            | CommandOutcome::NotFound
            | CommandOutcome::Conflict
            | CommandOutcome::Refused => escape_controls(&reply.text).into_owned(),
        };
        Self { kind: FailureKind::Reply(reply.outcome), text, worker: None }
    }
}

/// Escapes each line of a text with several lines.
pub(super) fn escape_lines(text: &str) -> String {
    text.lines().map(escape_controls).collect::<Vec<_>>().join("\n")
}

impl Failure {
    /// Adds the name of the worker.
    pub(super) fn for_worker(self, worker: String) -> Self {
        Self { worker: Some(worker), ..self }
    }

    /// Prints the failure, as JSON on stdout or as text on stderr. Returns the exit code.
    pub(super) fn report(&self, as_json: bool) -> ExitCode {
        let code = match self.kind {
            FailureKind::Unreachable => UNREACHABLE,
            FailureKind::Reply(CommandOutcome::Invalid) => USAGE,
            FailureKind::Failed | FailureKind::Reply(_) => FAILED,
        };
        if !as_json {
            return fail(code, &self.text);
        }
        let Self { kind, text, worker } = self;
        print(&json_line(&JsonReply { outcome: kind, text, worker: worker.as_deref(), generation: None }));
        code.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_one_json_word() {
        let words =
            [FailureKind::Reply(CommandOutcome::NotFound), FailureKind::Unreachable, FailureKind::Failed]
                .map(|kind| json_line(&kind));
        assert_eq!(words, ["\"not_found\"", "\"unreachable\"", "\"failed\""]);
    }
}
