//! What is written down while the campaign runs: one JSON object a line, a file for each kind. Times are microseconds
//! since the run began.

use crate::plan::Kind;
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

/// The files of a run.
pub(crate) const RUN: &str = "run.json";
pub(crate) const REQUESTS: &str = "requests.ndjson";
pub(crate) const READS: &str = "reads.ndjson";
pub(crate) const KILLS: &str = "kills.ndjson";
pub(crate) const STORY: &str = "log.ndjson";
pub(crate) const ORDERS: &str = "orders.ndjson";
pub(crate) const SET_ASIDE: &str = "quarantine.ndjson";
pub(crate) const FINAL: &str = "series.ndjson";

/// What the run was, and how it ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub seed: u64,
    pub events: usize,
    pub kills: usize,
    pub api_kills: usize,
    /// How many poison events were to be posted, and how many faults commanded.
    #[serde(default)]
    pub poisons: usize,
    #[serde(default)]
    pub orders: usize,
    /// The windows' kinds, in their order.
    pub windows: Vec<Kind>,
    pub took_us: u64,
    /// `/v1/stats` after everything was committed.
    pub stats: Stats,
    /// Whether the supervisor's orderly stop succeeded.
    pub stopped: bool,
    /// Processes of it that were there after its end.
    pub left: Vec<String>,
}

/// The figures of `/v1/stats` that must add up.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Stats {
    pub accepted: u64,
    pub analysed: u64,
    pub quarantined: u64,
    pub pending: u64,
}

/// An event that kills whoever applies it; its label tells which one it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Poison {
    /// The ordinary event that comes next.
    pub before: EventId,
    pub kind: FaultKind,
}

impl Poison {
    pub(crate) fn label(&self) -> String {
        format!("w{}-{}", self.before.writer, self.before.number)
    }

    /// The one that was set aside so, if it can be one.
    pub(crate) fn of(entry: &Entry) -> Option<Self> {
        let event = entry.event.as_ref()?;
        let kind = event.series.strip_prefix(FAULT_PREFIX)?.parse().ok()?;
        let (writer, number) = event.label.as_ref()?.strip_prefix('w')?.split_once('-')?;
        let before = EventId { writer: writer.parse().ok()?, number: number.parse().ok()? };
        Some(Self { before, kind })
    }
}

/// A request with events, and its answer: events `first..first + count` of this writer, and poison events among them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub at: u64,
    pub took: u64,
    pub writer: usize,
    pub first: usize,
    pub count: usize,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poisons: Vec<Poison>,
    pub answer: Answer,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    /// 202, with the seqs that it gave.
    Accepted(u64, u64),
    /// 503: nothing of it was accepted, and it was tried again.
    Full,
    /// The connection broke: accepted or not.
    Lost(String),
    /// The same of a request with a key, which was sent again.
    Retried(String),
    /// What must not be.
    Wrong(String),
}

impl Answer {
    /// Whether there was none.
    pub(crate) const fn is_missing(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::Retried(_))
    }

    /// Whether the request is sent again.
    pub(crate) const fn goes_on(&self) -> bool {
        matches!(self, Self::Full | Self::Retried(_))
    }
}

/// What such a request is called: as its `X-Request-Id`, and as its key if it has one.
pub(crate) fn request_id(writer: usize, first: usize) -> String {
    format!("r{writer}-{first}")
}

impl Request {
    pub(crate) fn id(&self) -> String {
        request_id(self.writer, self.first)
    }

    /// How many events it has in all.
    pub(crate) const fn size(&self) -> usize {
        self.count + self.poisons.len()
    }

    /// Its events that poison nobody.
    pub(crate) fn ids(&self) -> impl Iterator<Item = EventId> {
        let writer = self.writer;
        (self.first..self.first + self.count).map(move |number| EventId { writer, number })
    }
}

/// A read, and its answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Read {
    /// When it was due.
    pub at: u64,
    /// How much later it was sent: the reader was still waiting for the answer before, or not scheduled.
    pub late: u64,
    /// From sending to the answer.
    pub took: u64,
    pub reader: usize,
    /// The window in which all of it took place, if it was one.
    pub window: Option<usize>,
    pub got: Got,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Got {
    Stats(Stats),
    Series(Vec<SeriesTotals>),
    /// 404 for this series: nothing of it is committed.
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

/// A fault of the analysis that was commanded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub at: u64,
    pub kind: FaultKind,
    /// The generation that it went to; none when it was refused since nobody was there, and then repeated.
    pub generation: Option<u64>,
}

/// A line of the supervisor's log, when it was read, and as it was written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    pub at: u64,
    pub line: Value,
}

/// A file that grows by one record at a time.
pub(crate) struct Journal(Mutex<BufWriter<File>>);

impl Journal {
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

/// All that was written down.
pub(crate) struct Records {
    pub run: Run,
    pub requests: Vec<Request>,
    pub reads: Vec<Read>,
    pub kills: Vec<Kill>,
    pub orders: Vec<Order>,
    pub set_aside: Vec<Entry>,
    pub story: Vec<Told>,
    pub series: Vec<SeriesTotals>,
}

pub(crate) fn load(directory: &Path) -> Records {
    let mut run = lines(directory, RUN);
    Records {
        run: run.pop().unwrap_or_else(|| panic!("{RUN} is empty")),
        requests: lines(directory, REQUESTS),
        reads: lines(directory, READS),
        kills: lines(directory, KILLS),
        orders: lines(directory, ORDERS),
        set_aside: lines(directory, SET_ASIDE),
        story: lines(directory, STORY),
        series: lines(directory, FINAL),
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
