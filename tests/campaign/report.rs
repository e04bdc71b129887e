//! The report: a table for people and a JSON file for programs.

use crate::{
    check::Check,
    plan::Kind,
    records::{Answer, Read, ReadResult, Records},
};
use serde::Serialize;
use std::{collections::BTreeMap, fmt, fs, path::Path};

/// The promise to users: while the analysis is killed repeatedly, the p99 of reads is at most this multiple of the p99
/// in quiet windows.
const MAX_STORM_RATIO: f64 = 2.0;

/// The report of a run.
#[derive(Serialize)]
pub(crate) struct Report {
    passed: bool,
    seed: u64,
    events: usize,
    seconds: f64,
    requests: Requests,
    /// The number of quarantined poison events, and of fault commands that were executed.
    #[serde(rename = "set_aside")]
    quarantined: usize,
    #[serde(rename = "orders")]
    fault_commands: usize,
    /// The number of fault commands that were refused and repeated.
    refused: usize,
    /// The number of bad deploys, and of the events that were quarantined and replayed because of them.
    deploys: usize,
    replayed: usize,
    /// The number of deaths by cause, as logged.
    deaths: BTreeMap<String, usize>,
    reads: BTreeMap<Kind, Reads>,
    /// The p99 of reads in storm windows, as a multiple of the p99 in quiet windows.
    storm_to_quiet: Option<f64>,
    recoveries: BTreeMap<String, Durations>,
    checks: Vec<Check>,
}

/// The number of requests by answer.
#[derive(Default, Serialize)]
struct Requests {
    accepted: usize,
    full: usize,
    lost: usize,
    retried: usize,
    wrong: usize,
}

/// The reads of all windows of one kind.
#[derive(Serialize)]
struct Reads {
    windows: usize,
    lost: usize,
    /// From sending to the answer.
    answered: Durations,
    /// From the due time to the answer: this includes the wait for the previous answer.
    since_due: Durations,
}

/// The distribution of durations, in microseconds.
#[derive(Clone, Copy, Serialize)]
struct Durations {
    count: usize,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

impl Durations {
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
        let kinds = [Kind::Quiet, Kind::Storm, Kind::Outage, Kind::Deploy];
        let kinds = kinds.into_iter().filter(|kind| *kind != Kind::Deploy || run.deploys > 0);
        let reads: BTreeMap<_, _> = kinds.map(|kind| (kind, Reads::of(records, kind))).collect();
        let p99 = |kind| Some(reads.get(&kind)?.answered.p99_us as f64).filter(|us| *us > 0.0);
        Self {
            passed: checks.iter().all(|check| check.wrong == 0),
            seed: run.seed,
            events: run.events,
            seconds: run.took_us as f64 / 1e6,
            requests,
            quarantined: records.quarantined.len(),
            fault_commands: records
                .fault_commands
                .iter()
                .filter(|command| command.generation.is_some())
                .count(),
            refused: records.fault_commands.iter().filter(|command| command.generation.is_none()).count(),
            deploys: records.deploys.len(),
            replayed: records.deploys.iter().map(|deploy| deploy.quarantined.len()).sum(),
            deaths: deaths(records),
            storm_to_quiet: p99(Kind::Storm).zip(p99(Kind::Quiet)).map(|(storm, quiet)| storm / quiet),
            reads,
            recoveries: ["analytics", "api"]
                .map(|worker| (worker.into(), recoveries(records, worker)))
                .into(),
            checks: checks.to_vec(),
        }
    }

    /// Whether all checks passed.
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
        let (lost, answered_reads): (Vec<&Read>, Vec<&Read>) =
            reads.partition(|read| matches!(read.got, ReadResult::Lost(_)));
        Self {
            windows: windows.iter().filter(|window| **window == kind).count(),
            lost: lost.len(),
            answered: Durations::of(answered_reads.iter().map(|read| read.took).collect()),
            since_due: Durations::of(answered_reads.iter().map(|read| read.late + read.took).collect()),
        }
    }
}

fn deaths(records: &Records) -> BTreeMap<String, usize> {
    let mut deaths = BTreeMap::new();
    for line in records.log.iter().filter(|line| line.fields["event_name"] == "worker_died") {
        *deaths.entry(line.fields["cause"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    deaths
}

/// From each kill to the activation of the next generation, as logged.
fn recoveries(records: &Records, worker: &str) -> Durations {
    let activations: Vec<(u64, u64)> = records
        .log
        .iter()
        .filter(|line| line.fields["event_name"] == "worker_activated" && line.fields["worker"] == worker)
        .filter_map(|line| Some((line.fields["generation"].as_u64()?, line.at)))
        .collect();
    let next = |generation| activations.iter().find(|(number, _)| *number > generation);
    let kills = records.kills.iter().filter(|kill| kill.worker == worker);
    Durations::of(kills.filter_map(|kill| Some(next(kill.generation)?.1.saturating_sub(kill.at))).collect())
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
        let (quarantined, fault_commands, refused, deaths) =
            (self.quarantined, self.fault_commands, self.refused, deaths.join(", "));
        writeln!(
            f,
            "faults: {quarantined} poison events quarantined, {fault_commands} by command (refused and repeated: {refused}); deaths: {deaths}"
        )?;
        writeln!(f, "bad deploys: {}; events quarantined and replayed: {}\n", self.deploys, self.replayed)?;
        writeln!(f, "{:>8}  {:>9}  check", "examined", "wrong")?;
        for check in &self.checks {
            writeln!(f, "{:>8}  {:>9}  {}", check.examined, check.wrong, check.what)?;
            check.findings.iter().try_for_each(|finding| writeln!(f, "{:21}! {finding}", ""))?;
        }
        writeln!(f, "\n{:<21} {:>7} {:>8} {:>8} {:>8}", "ms", "count", "p50", "p99", "max")?;
        let mut row = |name: &str, span: Durations| {
            let [p50, p99, max] = [span.p50_us, span.p99_us, span.max_us].map(ms);
            writeln!(f, "{name:<21} {:>7} {p50:>8.2} {p99:>8.2} {max:>8.2}", span.count)
        };
        for (kind, reads) in &self.reads {
            let name = format!("{kind:?}").to_lowercase();
            row(&format!("reads, {name}"), reads.answered)?;
            row(&format!("  since due, {name}"), reads.since_due)?;
        }
        for (worker, span) in &self.recoveries {
            row(&format!("{worker} recovery"), *span)?;
        }
        if let Some(ratio) = self.storm_to_quiet {
            let met = if ratio <= MAX_STORM_RATIO { "met" } else { "NOT MET" };
            writeln!(
                f,
                "\np99 of reads in storm windows: {ratio:.2}x the p99 in quiet windows; limit {MAX_STORM_RATIO}x: {met}"
            )?;
        }
        write!(f, "\n{}", if self.passed { "PASSED" } else { "FAILED" })
    }
}
