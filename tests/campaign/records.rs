//! The records of a run: one file per kind of record, one JSON object per line. Times are microseconds since
//! the start of the run.

use crate::{deploy_schedule::WrongProgram, plan::Kind};
use bulkhead_proto::wire::{fault::FaultKind, quarantine::Entry, series::FAULT_PREFIX};
use bulkhead_tests::event_id::{EventId, SeriesTotals};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    sync::Mutex,
};

/// The names of the files.
pub(crate) const RUN: &str = "run.json";
pub(crate) const REQUESTS: &str = "requests.ndjson";
pub(crate) const READS: &str = "reads.ndjson";
pub(crate) const KILLS: &str = "kills.ndjson";
pub(crate) const LOG: &str = "log.ndjson";
pub(crate) const FAULT_COMMANDS: &str = "orders.ndjson";
pub(crate) const DEPLOYS: &str = "deploys.ndjson";
pub(crate) const QUARANTINE: &str = "quarantine.ndjson";
pub(crate) const SERIES: &str = "series.ndjson";

/// The parameters of the run, and how it ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub seed: u64,
    pub events: usize,
    pub kills: usize,
    pub api_kills: usize,
    /// The number of poison events in the plan, and of fault commands.
    #[serde(default)]
    pub poisons: usize,
    #[serde(default, rename = "orders")]
    pub fault_commands: usize,
    /// The number of bad deploys in the plan.
    #[serde(default)]
    pub deploys: usize,
    /// The kinds of the windows, in order.
    pub windows: Vec<Kind>,
    pub took_us: u64,
    /// The answer of `/v1/stats` after everything was committed.
    pub stats: Stats,
    /// Whether the supervisor stopped with success.
    pub stopped: bool,
    /// Processes of the supervisor that were alive after its exit.
    #[serde(rename = "left")]
    pub left_processes: Vec<String>,
}

/// The counters of `/v1/stats` that must be consistent.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Stats {
    pub accepted: u64,
    pub analysed: u64,
    pub quarantined: u64,
    pub pending: u64,
}

/// An event that kills the process that applies it. Its label identifies it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct PoisonEvent {
    /// The ordinary event that follows.
    pub before: EventId,
    pub kind: FaultKind,
}

impl PoisonEvent {
    pub(crate) fn label(&self) -> String {
        format!("w{}-{}", self.before.writer, self.before.number)
    }

    /// The poison event in a quarantine entry, if the entry holds one.
    pub(crate) fn of(entry: &Entry) -> Option<Self> {
        let event = entry.event.as_ref()?;
        let kind = event.series.strip_prefix(FAULT_PREFIX)?.parse().ok()?;
        let (writer, number) = event.label.as_ref()?.strip_prefix('w')?.split_once('-')?;
        let before = EventId { writer: writer.parse().ok()?, number: number.parse().ok()? };
        Some(Self { before, kind })
    }
}

/// A request with events, and its answer. It holds the writer's events `first..first + count`, and poison
/// events between them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub at: u64,
    pub took: u64,
    pub writer: usize,
    pub first: usize,
    pub count: usize,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poisons: Vec<PoisonEvent>,
    pub answer: Answer,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    /// 202, with the first and last seq.
    Accepted(u64, u64),
    /// 503: no event was accepted; the request was repeated.
    Full,
    /// The connection broke: it is unknown whether the events were accepted.
    Lost(String),
    /// The connection broke; the request has an idempotency key and was sent again.
    Retried(String),
    /// Any other answer; it is an error.
    Wrong(String),
}

impl Answer {
    /// Whether the request got no answer.
    pub(crate) const fn is_unanswered(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Retried(_))
    }

    /// The first seq of a request that was accepted.
    pub(crate) const fn first_seq(&self) -> Option<u64> {
        if let Self::Accepted(first, _) = self { Some(*first) } else { None }
    }

    /// Whether the request is sent again.
    pub(crate) const fn is_repeated(&self) -> bool {
        matches!(self, Self::Full | Self::Retried(_))
    }
}

/// The `X-Request-Id` of a request, and its idempotency key if it has one.
pub(crate) fn request_id(writer: usize, first: usize) -> String {
    format!("r{writer}-{first}")
}

impl Request {
    pub(crate) fn id(&self) -> String {
        request_id(self.writer, self.first)
    }

    /// The number of events in the request, poison events included.
    pub(crate) const fn size(&self) -> usize {
        self.count + self.poisons.len()
    }

    /// The events that are not poison.
    pub(crate) fn ids(&self) -> impl Iterator<Item = EventId> {
        let writer = self.writer;
        (self.first..self.first + self.count).map(move |number| EventId { writer, number })
    }
}

/// A read, and its result.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Read {
    /// When the read was due.
    pub at: u64,
    /// The delay from the due time to sending: the reader was still waiting for the previous answer, or was
    /// not scheduled.
    pub late: u64,
    /// The time from sending to the answer.
    pub took: u64,
    pub reader: usize,
    /// The window in which the whole read took place; `None` if it crossed a boundary.
    pub window: Option<usize>,
    pub got: ReadResult,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ReadResult {
    Stats(Stats),
    Series(Vec<SeriesTotals>),
    /// 404 for this series: none of its events was committed.
    Absent(String),
    Lost(String),
    Wrong(String),
}

/// A SIGKILL that was sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Kill {
    pub at: u64,
    pub worker: String,
    pub generation: u64,
    pub pid: i32,
}

/// A fault command for the analysis.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FaultCommand {
    pub at: u64,
    pub kind: FaultKind,
    /// The generation that got the command; `None` when the command was refused because no generation could
    /// execute it. Then it was repeated.
    pub generation: Option<u64>,
}

/// A wrong program that was deployed, and how the operator put the right one back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Deploy {
    pub program: WrongProgram,
    /// When the wrong program was deployed, and when the right one was put back.
    pub at: u64,
    pub mended: u64,
    /// The series that fails, if only one does.
    pub series: Option<String>,
    /// The events in quarantine after the right program was activated, without poison events.
    pub quarantined: Vec<Entry>,
    /// From when to when they were replayed.
    pub replay: (u64, u64),
    /// The number of replayed events, as the command printed it.
    pub replayed: u64,
}

/// A line of the supervisor's log, and when it was read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LogLine {
    pub at: u64,
    #[serde(rename = "line")]
    pub fields: Value,
}

/// A file to which records are appended.
pub(crate) struct RecordFile(Mutex<BufWriter<File>>);

impl RecordFile {
    pub(crate) fn create(directory: &Path, name: &str) -> Self {
        let path = directory.join(name);
        let file = File::create(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(Mutex::new(BufWriter::new(file)))
    }

    pub(crate) fn write(&self, record: &impl Serialize) {
        let mut line = serde_json::to_vec(record).unwrap();
        line.push(b'\n');
        self.0.lock().unwrap().write_all(&line).unwrap();
    }
}

/// All records of a run.
pub(crate) struct Records {
    pub run: Run,
    pub requests: Vec<Request>,
    pub reads: Vec<Read>,
    pub kills: Vec<Kill>,
    pub fault_commands: Vec<FaultCommand>,
    pub deploys: Vec<Deploy>,
    pub quarantined: Vec<Entry>,
    pub log: Vec<LogLine>,
    pub series: Vec<SeriesTotals>,
}

pub(crate) fn load(directory: &Path) -> Records {
    let mut run = lines(directory, RUN);
    Records {
        run: run.pop().unwrap_or_else(|| panic!("{RUN} is empty")),
        requests: lines(directory, REQUESTS),
        reads: lines(directory, READS),
        kills: lines(directory, KILLS),
        fault_commands: lines(directory, FAULT_COMMANDS),
        deploys: lines(directory, DEPLOYS),
        quarantined: lines(directory, QUARANTINE),
        log: lines(directory, LOG),
        series: lines(directory, SERIES),
    }
}

fn lines<T: DeserializeOwned>(directory: &Path, name: &str) -> Vec<T> {
    let path = directory.join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let parse = |(number, line)| {
        serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("{}:{}: {error}", path.display(), number + 1))
    };
    text.lines().enumerate().map(parse).collect()
}
