//! Why a command was not carried out, for people or for programs.

use super::output::{Answer, FAILED, UNREACHABLE, USAGE, fail, json, say};
use crate::{
    control::{
        client::ClientError,
        protocol::{Ended, Reply},
    },
    log::escape_controls,
};
use serde::Serialize;
use std::process::ExitCode;

/// A command that was not carried out.
pub(super) struct Failure {
    outcome: Outcome,
    text: String,
    worker: Option<String>,
}

/// How it failed: what the supervisor says, or why it says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Unreachable,
    Failed,
    #[serde(untagged)]
    Told(Ended),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let outcome = match error {
            ClientError::Unreachable(_) => Outcome::Unreachable,
            ClientError::Broken(..) => Outcome::Failed,
        };
        Self { outcome, text: error.to_string(), worker: None }
    }
}

impl From<Reply> for Failure {
    fn from(reply: Reply) -> Self {
        let text = match reply.outcome {
            Ended::Invalid => lines(&reply.text),
            Ended::Done | Ended::NotFound | Ended::Conflict | Ended::Refused => {
                escape_controls(&reply.text).into_owned()
            }
        };
        Self { outcome: Outcome::Told(reply.outcome), text, worker: None }
    }
}

/// A text that has several lines on purpose.
pub(super) fn lines(text: &str) -> String {
    text.lines().map(escape_controls).collect::<Vec<_>>().join("\n")
}

impl Failure {
    /// It was about this worker.
    pub(super) fn about(self, worker: String) -> Self {
        Self { worker: Some(worker), ..self }
    }

    /// Says it, as JSON on stdout or else on stderr, and how to end.
    pub(super) fn tell(&self, as_json: bool) -> ExitCode {
        let code = match self.outcome {
            Outcome::Unreachable => UNREACHABLE,
            Outcome::Told(Ended::Invalid) => USAGE,
            Outcome::Failed | Outcome::Told(_) => FAILED,
        };
        if !as_json {
            return fail(code, &self.text);
        }
        let Self { outcome, text, worker } = self;
        say(&json(&Answer { outcome, text, worker: worker.as_deref(), generation: None }));
        code.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_one_word_for_every_failure() {
        let words = [Outcome::Told(Ended::NotFound), Outcome::Unreachable, Outcome::Failed]
            .map(|outcome| json(&outcome));
        assert_eq!(words, ["\"not_found\"", "\"unreachable\"", "\"failed\""]);
    }
}
