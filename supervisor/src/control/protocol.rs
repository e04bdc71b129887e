//! The protocol of the control socket: the client sends one [`Request`] per line and gets one [`Reply`] per line.

use bulkhead_proto::wire::{
    control::RequestOutcome,
    crash,
    fault::FaultKind,
    ids::{CrashId, Generation, Seq},
    quarantine::Entry,
    record_store::{Page, Record as _},
    status::WorkerStatus,
    vocabulary::vocabulary,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;

/// The version of this protocol.
pub const PROTOCOL: u32 = 1;

/// The longest request, in bytes; many times longer than any command.
pub const MAX_REQUEST: usize = 4 << 10;

/// The longest reply, in bytes; enough for the status of 64 workers, and for the file of the largest quarantined event.
pub const MAX_REPLY: u64 = (1 << 20) + Entry::MAX_FILE;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The command.
    pub command: ControlCommand,
}

/// A command of a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum ControlCommand {
    /// Report the status.
    Status,
    /// Start this worker.
    Start(String),
    /// Stop this worker.
    Stop(String),
    /// Replace this worker by a new generation.
    Restart(String),
    /// Induce this fault in this worker.
    Fault(String, FaultKind),
    /// Read the configuration again.
    Reload,
    /// The last lines of the log. They follow the reply, one JSON object per line, until the supervisor closes the
    /// connection.
    Logs(LogQuery),
    /// Show, replay or drop quarantined events.
    Quarantine(QuarantineCommand),
    /// Show crash reports.
    Crashes(CrashQuery),
}

/// Which crash reports to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CrashQuery {
    /// One page of a list, newest first, in short form.
    List(CrashList),
    /// One complete report.
    Show(CrashId),
}

/// A page of the list of crash reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrashList {
    /// Only these reports.
    pub filter: crash::Filter,
    /// Only reports older than this one.
    pub after: Option<CrashId>,
    /// The most reports of the page. The supervisor may send fewer, with a cursor.
    pub limit: usize,
}

/// A command about quarantined events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QuarantineCommand {
    /// One page of the events after this one.
    List(Seq),
    /// One event, as its file has it: with an excerpt of long data, and with all of its bytes.
    Show(Seq),
    /// Append the event again as a new one, then remove it.
    Replay(Seq),
    /// Remove the event.
    Drop(Seq),
}

impl ControlCommand {
    /// The worker to which this command applies, if it changes one.
    #[must_use]
    pub fn worker(&self) -> Option<&str> {
        match self {
            Self::Start(worker) | Self::Stop(worker) | Self::Restart(worker) | Self::Fault(worker, _) => {
                Some(worker)
            }
            Self::Status | Self::Logs(_) | Self::Quarantine(_) | Self::Crashes(_) | Self::Reload => None,
        }
    }

    /// Whether the reply comes when the command is complete; otherwise it comes at once.
    #[must_use]
    pub const fn waits_for_completion(&self) -> bool {
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

/// Which log lines to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    /// Lines by and about this worker, or by [`SUPERVISOR`]; `None`: all.
    pub of: Option<String>,
    /// This number of last lines; `None`: all that are kept.
    pub last: Option<u32>,
    /// Also send new lines.
    pub follow: bool,
}

/// The name that selects the supervisor's own lines. Workers cannot have it.
pub const SUPERVISOR: &str = "supervisor";

/// A reply.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The outcome.
    pub outcome: CommandOutcome,
    /// One line for people; several for `Invalid` and for a reload.
    pub text: String,
    /// The running generation, for a command about a worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<Generation>,
    /// Quarantined events, if requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantine: Option<Box<Page<Entry>>>,
    /// Crash reports, if requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crashes: Option<Box<Page<crash::Report>>>,
    /// The status, if requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<StatusReport>,
    /// The changes of a reload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<ChangeResult>>,
    /// The warnings about the configuration that was reloaded, as `bulkhead check` prints them; empty without any.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub warnings: String,
}

/// The outcome of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandOutcome {
    /// The command was carried out.
    #[default]
    Done,
    /// No such worker, event or report, or faults are not enabled.
    NotFound,
    /// Not possible in the current state.
    Conflict,
    /// Invalid request, or permission denied.
    Refused,
    /// The configuration is invalid.
    Invalid,
    /// No supervisor is reachable. Only the client reports this.
    Unreachable,
    /// The exchange with the supervisor failed. Only the client reports this.
    Failed,
}

/// One change of a reload, or one that failed. `bulkhead reload --json` prints a list of them, `{"changes":[…]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeResult {
    /// The key, or the name of the worker.
    pub what: String,
    /// The outcome.
    pub how: ChangeOutcome,
    /// One line for people.
    pub text: String,
}

vocabulary! {
    /// The outcome of a change.
    ChangeOutcome("outcome of a change") {
        /// Took effect at once.
        Live = "live",
        /// Takes effect at the next start of the service.
        NextStart = "next_start",
        /// The worker was replaced by a new generation.
        Replaced = "replaced",
        /// The worker is stopped; the change takes effect when it is started.
        WhenStarted = "when_started",
        /// The worker was added and runs.
        Added = "added",
        /// The worker was removed.
        Removed = "removed",
        /// The change failed. The text has the reason and the current state.
        Failed = "failed",
    }
}

/// The status: what `bulkhead status --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The supervisor's version.
    pub version: String,
    /// The pid of the supervisor.
    pub pid: u32,
    /// How long the supervisor has been running, in milliseconds.
    pub uptime_ms: u64,
    /// The address of the API.
    pub listen: String,
    /// The state directory.
    pub state_dir: String,
    /// Whether faults are enabled.
    pub faults: bool,
    /// The workers, in the form of `GET /v1/workers`. A standby is a row of its own.
    pub workers: Vec<WorkerStatus>,
    /// The number of running processes that left the process group of their worker, by worker. Workers without any are
    /// left out.
    pub outside_group: BTreeMap<String, u32>,
    /// The number of running processes that a worker left behind, and whose environment does not say which.
    pub orphans: u32,
    /// The link between the API and the analysis.
    pub link: LinkStatus,
}

/// Counters of the link, from one reading of shared memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// Events accepted: `analysed + quarantined + pending`.
    pub accepted: u64,
    /// Committed events.
    pub analysed: u64,
    /// Quarantined events.
    pub quarantined: u64,
    /// Events waiting in the ring.
    pub pending: u64,
    /// The last committed event.
    pub committed_seq: Seq,
    /// The ring.
    pub ring: RingStatus,
    /// The series.
    pub series: SeriesStatus,
}

/// The number of series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeriesStatus {
    /// Series with a state, including the one of merged series.
    pub count: u32,
    /// `analytics.max_series`. One series more: events of further series are counted together.
    pub max: u32,
}

/// Fill level of the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingStatus {
    /// Bytes in use.
    pub used_bytes: u64,
    /// Size, in bytes.
    pub capacity_bytes: u64,
}

impl Reply {
    /// A reply without data.
    #[must_use]
    pub fn new(outcome: CommandOutcome, text: impl Into<String>) -> Self {
        Self { protocol: PROTOCOL, outcome, text: text.into(), ..Self::default() }
    }

    /// The reply to a decision of the core.
    #[must_use]
    pub fn from_outcome(outcome: &RequestOutcome, text: String) -> Self {
        let outcome = match outcome {
            RequestOutcome::Done => CommandOutcome::Done,
            RequestOutcome::NotFound(_) => CommandOutcome::NotFound,
            RequestOutcome::Conflict(_) => CommandOutcome::Conflict,
        };
        Self::new(outcome, text)
    }
}

/// Why a line is not a message of this protocol.
#[derive(Debug)]
pub(super) enum ParseError {
    /// Not JSON of the expected form.
    Malformed(serde_json::Error),
    /// A message of this version.
    Version(u32),
}

/// Parses a request or a reply. The version is parsed first, because a message of another version may have another form.
pub(super) fn parse<T: DeserializeOwned>(line: &[u8]) -> Result<T, ParseError> {
    #[derive(Deserialize)]
    struct Version {
        protocol: u32,
    }
    let Version { protocol } = serde_json::from_slice(line).map_err(ParseError::Malformed)?;
    if protocol != PROTOCOL {
        return Err(ParseError::Version(protocol));
    }
    serde_json::from_slice(line).map_err(ParseError::Malformed)
}

/// Parses a request.
///
/// # Errors
/// Text for the client.
pub fn parse_request(line: &[u8]) -> Result<ControlCommand, String> {
    parse(line).map(|request: Request| request.command).map_err(|error| match error {
        ParseError::Malformed(error) => format!("invalid request: {error}"),
        ParseError::Version(version) => format!(
            "this supervisor uses protocol {PROTOCOL}, not {version}; run the bulkhead program of the same version"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_short_json() {
        assert_eq!(parse_request(br#"{"protocol":1,"command":"status"}"#), Ok(ControlCommand::Status));
        assert_eq!(
            parse_request(br#"{"protocol":1,"command":{"restart":"api"}}"#),
            Ok(ControlCommand::Restart("api".into()))
        );
        assert_eq!(
            parse_request(br#"{"protocol":1,"command":{"logs":{"of":"api","follow":true}}}"#),
            Ok(ControlCommand::Logs(LogQuery { of: Some("api".into()), last: None, follow: true }))
        );
        assert_eq!(
            parse_request(br#"{"protocol":1,"command":{"fault":["analytics","segv"]}}"#),
            Ok(ControlCommand::Fault("analytics".into(), FaultKind::Segv))
        );
        assert_eq!(parse_request(br#"{"protocol":1,"command":"reload"}"#), Ok(ControlCommand::Reload));
    }

    #[test]
    fn an_invalid_request_is_refused_with_the_reason() {
        for line in ["", "{}", "status", r#"{"protocol":1}"#, r#"{"protocol":1,"command":"dance"}"#] {
            assert!(parse_request(line.as_bytes()).unwrap_err().starts_with("invalid request"), "{line}");
        }
        assert!(parse_request(br#"{"protocol":1,"command":"status","more":1}"#).is_err());
        assert!(
            parse_request(br#"{"protocol":2,"command":"anything"}"#)
                .unwrap_err()
                .contains("protocol 1, not 2")
        );
    }
}
