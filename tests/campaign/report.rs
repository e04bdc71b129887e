//! One table for people, one JSON file for programs.

use crate::{
    check::Check,
    plan::Kind,
    records::{Answer, Got, Read, Records},
};
use serde::Serialize;
use std::{collections::BTreeMap, fmt, fs, path::Path};

/// P1: while the analysis is killed over and over, reads take at most so many times as long.
const PROMISED: f64 = 2.0;

/// The report of a run.
#[derive(Serialize)]
pub(crate) struct Report {
    passed: bool,
    seed: u64,
    events: usize,
    seconds: f64,
    requests: Requests,
    /// Poison events that were set aside, and faults that were commanded and carried out.
    set_aside: usize,
    orders: usize,
    /// How often such a command was refused, and repeated.
    refused: usize,
    /// Deaths by what the log says is their cause.
    deaths: BTreeMap<String, usize>,
    reads: BTreeMap<Kind, Reads>,
    /// The p99 of reads in the storm, as a multiple of that in quiet windows.
    storm_to_quiet: Option<f64>,
    recoveries: BTreeMap<String, Span>,
    checks: Vec<Check>,
}

/// What became of the requests, by their answer.
#[derive(Default, Serialize)]
struct Requests {
    accepted: usize,
    full: usize,
    lost: usize,
    retried: usize,
    wrong: usize,
}

/// The reads of all windows of a kind.
#[derive(Serialize)]
struct Reads {
    windows: usize,
    lost: usize,
    /// From sending to the answer.
    answered: Span,
    /// From when it was due: what waited for the answer before counts as well.
    since_due: Span,
}

/// How long something took, in microseconds.
#[derive(Clone, Copy, Serialize)]
struct Span {
    count: usize,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

impl Span {
    fn of(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        let rank = |percent: usize| times.get((times.len() * percent).div_ceil(100).max(1) - 1).copied();
        let at = |percent| rank(percent).unwrap_or_default();
        Self { count: times.len(), p50_us: at(50), p99_us: at(99), max_us: at(100) }
    }
}

impl Report {
    pub(crate) fn of(records: &Records, checks: &[Check]) -> Self {
        let run = &records.run;
        let mut requests = Requests::default();
        for request in &records.requests {
            match request.answer {
                Answer::Accepted(..) => requests.accepted += 1,
                Answer::Full => requests.full += 1,
                Answer::Lost(_) => requests.lost += 1,
                Answer::Retried(_) => requests.retried += 1,
                Answer::Wrong(_) => requests.wrong += 1,
            }
        }
        let reads: BTreeMap<_, _> =
            [Kind::Quiet, Kind::Storm, Kind::Outage].map(|kind| (kind, Reads::of(records, kind))).into();
        let p99 = |kind| Some(reads.get(&kind)?.answered.p99_us as f64).filter(|us| *us > 0.0);
        Self {
            passed: checks.iter().all(|check| check.wrong == 0),
            seed: run.seed,
            events: run.events,
            seconds: run.took_us as f64 / 1e6,
            requests,
            set_aside: records.set_aside.len(),
            orders: records.orders.iter().filter(|order| order.generation.is_some()).count(),
            refused: records.orders.iter().filter(|order| order.generation.is_none()).count(),
            deaths: deaths(records),
            storm_to_quiet: p99(Kind::Storm).zip(p99(Kind::Quiet)).map(|(storm, quiet)| storm / quiet),
            reads,
            recoveries: ["analytics", "api"]
                .map(|worker| (worker.into(), recoveries(records, worker)))
                .into(),
            checks: checks.to_vec(),
        }
    }

    /// Whether everything adds up.
    pub(crate) const fn passed(&self) -> bool {
        self.passed
    }

    pub(crate) fn save(&self, directory: &Path) {
        let path = directory.join("report.json");
        let text = serde_json::to_string_pretty(self).unwrap();
        fs::write(&path, text + "\n").unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

impl Reads {
    fn of(records: &Records, kind: Kind) -> Self {
        let windows = &records.run.windows;
        let in_kind = |window: usize| windows.get(window) == Some(&kind);
        let reads = records.reads.iter().filter(|read| read.window.is_some_and(in_kind));
        let (lost, got): (Vec<&Read>, Vec<&Read>) = reads.partition(|read| matches!(read.got, Got::Lost(_)));
        Self {
            windows: windows.iter().filter(|window| **window == kind).count(),
            lost: lost.len(),
            answered: Span::of(got.iter().map(|read| read.took).collect()),
            since_due: Span::of(got.iter().map(|read| read.late + read.took).collect()),
        }
    }
}

fn deaths(records: &Records) -> BTreeMap<String, usize> {
    let mut deaths = BTreeMap::new();
    for told in records.story.iter().filter(|told| told.line["event_name"] == "worker_died") {
        *deaths.entry(told.line["cause"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    deaths
}

/// From each kill to the activation of the next generation, as the log tells it.
fn recoveries(records: &Records, worker: &str) -> Span {
    let activations: Vec<(u64, u64)> = records
        .story
        .iter()
        .filter(|told| told.line["event_name"] == "worker_activated" && told.line["worker"] == worker)
        .filter_map(|told| Some((told.line["generation"].as_u64()?, told.at)))
        .collect();
    let next = |generation| activations.iter().find(|(number, _)| *number > generation);
    let kills = records.kills.iter().filter(|kill| kill.worker == worker);
    Span::of(kills.filter_map(|kill| Some(next(kill.generation)?.1.saturating_sub(kill.at))).collect())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Requests { accepted, full, lost, retried, wrong } = self.requests;
        let ms = |us: u64| us as f64 / 1e3;
        writeln!(f, "\nseed {}, {} events in {:.1} s", self.seed, self.events, self.seconds)?;
        writeln!(
            f,
            "requests: {accepted} accepted, {full} refused and repeated, {lost} lost, {retried} lost and repeated, {wrong} wrong"
        )?;
        let deaths: Vec<String> =
            self.deaths.iter().map(|(cause, count)| format!("{count} {cause}")).collect();
        let (set_aside, orders, refused, deaths) =
            (self.set_aside, self.orders, self.refused, deaths.join(", "));
        writeln!(
            f,
            "faults: {set_aside} poison events set aside, {orders} by command (refused and repeated: {refused}); deaths: {deaths}\n"
        )?;
        writeln!(f, "{:>8}  {:>9}  right, and what", "examined", "wrong")?;
        for check in &self.checks {
            writeln!(f, "{:>8}  {:>9}  {}", check.examined, check.wrong, check.what)?;
            check.findings.iter().try_for_each(|finding| writeln!(f, "{:21}! {finding}", ""))?;
        }
        writeln!(f, "\n{:<21} {:>7} {:>8} {:>8} {:>8}", "ms", "count", "p50", "p99", "max")?;
        let mut row = |name: &str, span: Span| {
            let [p50, p99, max] = [span.p50_us, span.p99_us, span.max_us].map(ms);
            writeln!(f, "{name:<21} {:>7} {p50:>8.2} {p99:>8.2} {max:>8.2}", span.count)
        };
        for (kind, reads) in &self.reads {
            let name = format!("{kind:?}").to_lowercase();
            row(&format!("reads, {name}"), reads.answered)?;
            row(&format!("  since due, {name}"), reads.since_due)?;
        }
        for (worker, span) in &self.recoveries {
            row(&format!("{worker} back"), *span)?;
        }
        if let Some(ratio) = self.storm_to_quiet {
            let met = if ratio <= PROMISED { "met" } else { "NOT MET" };
            writeln!(
                f,
                "\nreads' p99 in the storm is {ratio:.2}x that of quiet windows; {PROMISED}x at most is promised: {met}"
            )?;
        }
        write!(f, "\n{}", if self.passed { "PASSED" } else { "FAILED" })
    }
}
