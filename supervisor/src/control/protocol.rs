//! What is said on the control socket: one [`Ask`] a line from the client, one [`Reply`] a line back.

use bulkhead_proto::wire::{
    cause::Cause,
    control::RequestOutcome,
    crash,
    fault::FaultKind,
    ids::{CrashId, Generation, Seq},
    quarantine::Entry,
    record_store::Page,
    role::Role,
    status::WorkerState,
};
use serde::{Deserialize, Serialize};

/// The version of this protocol.
pub const PROTOCOL: u32 = 1;

/// The longest line that a client may send, in bytes: every command fits many times over.
pub const MAX_ASK: usize = 4 << 10;

/// The longest line that a client reads, in bytes: 64 workers with all that is said of each fit.
pub const MAX_REPLY: u64 = 1 << 20;

/// A client's line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// What is wanted.
    pub command: Command,
}

/// What a client may want.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Command {
    /// How things are.
    Status,
    /// Start that worker.
    Start(String),
    /// Stop that worker.
    Stop(String),
    /// Replace that worker by a new generation.
    Restart(String),
    /// Let that worker die in that way.
    Fault(String, FaultKind),
    /// Read the configuration again.
    Reload,
    /// The last lines of the log: they follow the reply, one JSON object a line, until the supervisor closes the
    /// connection.
    Logs(Logs),
    /// About events that were set aside.
    Quarantine(Quarantine),
    /// Crash reports.
    Crashes(Crashes),
}

/// Which crash reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Crashes {
    /// The newest, in brief.
    List,
    /// All of one.
    Show(CrashId),
}

/// What may be asked about events that were set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quarantine {
    /// Those behind this one, a page of them.
    List(Seq),
    /// One, with its bytes.
    Show(Seq),
    /// Append it once more as a new event, and remove it.
    Replay(Seq),
    /// Remove it.
    Drop(Seq),
}

impl Command {
    /// The worker that it is about, if it changes one.
    #[must_use]
    pub fn worker(&self) -> Option<&str> {
        match self {
            Self::Start(worker) | Self::Stop(worker) | Self::Restart(worker) | Self::Fault(worker, _) => {
                Some(worker)
            }
            Self::Status | Self::Logs(_) | Self::Quarantine(_) | Self::Crashes(_) | Self::Reload => None,
        }
    }

    /// Whether the reply comes only when something is done, and not at once.
    #[must_use]
    pub const fn takes_time(&self) -> bool {
        match self {
            Self::Start(_)
            | Self::Stop(_)
            | Self::Restart(_)
            | Self::Quarantine(_)
            | Self::Crashes(_)
            | Self::Reload => true,
            Self::Status | Self::Fault(..) | Self::Logs(_) => false,
        }
    }
}

/// Which lines of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    /// Those of and about this worker, or of [`SUPERVISOR`]; without it, all.
    pub of: Option<String>,
    /// So many of the last ones; without it, all that are kept.
    pub last: Option<u32>,
    /// Those to come, too.
    pub follow: bool,
}

/// The name by which the supervisor's own lines are asked for. No worker may have it.
pub const SUPERVISOR: &str = "supervisor";

/// The supervisor's line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// How it ended.
    pub outcome: Ended,
    /// One line for people.
    pub text: String,
    /// The generation at work, when the command was about a worker that has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// Events that were set aside, when those were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Box<Page<Entry>>>,
    /// Crash reports, when those were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crashes: Option<Box<Page<crash::Report>>>,
    /// How things are, when that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Report>,
    /// What a reload has changed, or could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<Change>>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Carried out.
    Done,
    /// No such worker, or no such thing enabled.
    NotFound,
    /// It cannot be done now.
    Conflict,
    /// Not understood, or not allowed.
    Refused,
    /// The configuration is wrong.
    Invalid,
}

/// One thing that a reload has changed, or has not: what `bulkhead reload --json` prints as a list, `{"changes":[…]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The key, or the worker's name.
    pub what: String,
    /// What became of it.
    pub how: How,
    /// One line for people.
    pub text: String,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// In force at once.
    Live,
    /// In force at the next start of the service.
    NextStart,
    /// The worker is replaced by a new generation.
    Replaced,
    /// The worker is stopped, and stays so; in force when it is started.
    WhenStarted,
    /// The worker is there, and runs.
    Added,
    /// The worker is gone.
    Removed,
    /// It could not be done; the text says why, and what is now.
    Failed,
}

impl How {
    /// Its name, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::NextStart => "next_start",
            Self::Replaced => "replaced",
            Self::WhenStarted => "when_started",
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Failed => "failed",
        }
    }
}

/// How things are: what `bulkhead status --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The supervisor's version.
    pub version: String,
    /// Its pid.
    pub pid: u32,
    /// For how long it has been at work.
    pub uptime_ms: u64,
    /// Where the API listens.
    pub listen: String,
    /// Where state is kept.
    pub state_dir: String,
    /// Whether faults are enabled.
    pub faults: bool,
    /// The workers, in the shape of `GET /v1/workers`; a standby is a row of its own.
    pub workers: Vec<Row>,
    /// The link between the API and the analysis.
    pub link: Link,
}

/// One worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Its state.
    pub state: WorkerState,
    /// The generation that is alive, or the last one.
    pub generation: Generation,
    /// The process, when one is alive.
    pub pid: Option<u32>,
    /// How often it was started again after the first time.
    pub restarts: u64,
    /// For how long the process has been there.
    pub uptime_ms: Option<u64>,
    /// Its resident memory.
    pub rss_bytes: Option<u64>,
    /// Its last death.
    pub last_crash: Option<Crash>,
}

/// One death, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    /// The report's number.
    pub id: CrashId,
    /// Why.
    pub cause: Cause,
    /// More of why.
    pub detail: String,
    /// The event in hand, if there was one.
    pub seq: Option<Seq>,
    /// When.
    #[serde(serialize_with = "crate::display::serialize_time")]
    pub at: jiff::Timestamp,
}

/// The link's figures, read from shared memory in one go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Events accepted: `analysed + quarantined + pending`.
    pub accepted: u64,
    /// Events that are part of the state.
    pub analysed: u64,
    /// Events set aside.
    pub quarantined: u64,
    /// Events that wait in the ring.
    pub pending: u64,
    /// The last event that is part of the state.
    pub committed_seq: Seq,
    /// The ring.
    pub ring: Ring,
}

/// The ring's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ring {
    /// The part in use.
    pub used_bytes: u64,
    /// Its size.
    pub capacity_bytes: u64,
}

impl Reply {
    /// A reply without a report.
    #[must_use]
    pub fn new(outcome: Ended, text: impl Into<String>) -> Self {
        Self {
            protocol: PROTOCOL,
            outcome,
            text: text.into(),
            generation: None,
            report: None,
            changes: None,
            quarantine: None,
            crashes: None,
        }
    }

    /// What the heart has decided.
    #[must_use]
    pub fn decided(outcome: &RequestOutcome, text: String) -> Self {
        let ended = match outcome {
            RequestOutcome::Done => Ended::Done,
            RequestOutcome::NotFound(_) => Ended::NotFound,
            RequestOutcome::Conflict(_) => Ended::Conflict,
        };
        Self::new(ended, text)
    }
}

/// Understands a client's line.
///
/// # Errors
/// Text for the client.
pub fn parse(line: &[u8]) -> Result<Command, String> {
    #[derive(Deserialize)]
    struct Version {
        protocol: u32,
    }
    let malformed = |error| format!("not understood: {error}");
    let Version { protocol } = serde_json::from_slice(line).map_err(malformed)?;
    if protocol != PROTOCOL {
        return Err(format!(
            "this supervisor speaks protocol {PROTOCOL}, not {protocol}: use the bulkhead of its version"
        ));
    }
    let ask: Ask = serde_json::from_slice(line).map_err(malformed)?;
    Ok(ask.command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_short_json() {
        assert_eq!(parse(br#"{"protocol":1,"command":"status"}"#), Ok(Command::Status));
        assert_eq!(
            parse(br#"{"protocol":1,"command":{"restart":"api"}}"#),
            Ok(Command::Restart("api".into()))
        );
        assert_eq!(
            parse(br#"{"protocol":1,"command":{"logs":{"of":"api","follow":true}}}"#),
            Ok(Command::Logs(Logs { of: Some("api".into()), last: None, follow: true }))
        );
        assert_eq!(
            parse(br#"{"protocol":1,"command":{"fault":["analytics","segv"]}}"#),
            Ok(Command::Fault("analytics".into(), FaultKind::Segv))
        );
        assert_eq!(parse(br#"{"protocol":1,"command":"reload"}"#), Ok(Command::Reload));
    }

    #[test]
    fn anything_else_is_refused_with_a_reason() {
        for line in ["", "{}", "status", r#"{"protocol":1}"#, r#"{"protocol":1,"command":"dance"}"#] {
            assert!(parse(line.as_bytes()).unwrap_err().starts_with("not understood"), "{line}");
        }
        assert!(parse(br#"{"protocol":1,"command":"status","more":1}"#).is_err());
        assert!(parse(br#"{"protocol":2,"command":"anything"}"#).unwrap_err().contains("protocol 1, not 2"));
    }
}
