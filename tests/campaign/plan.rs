//! The plan of a run: which events are posted and which faults are injected in which window. It follows from
//! the seed alone.

use crate::{
    fault_schedule::{self, PoisonEvents},
    options::Options,
};
use bulkhead_proto::wire::fault::FaultKind;
use bulkhead_tests::event_id;
use fastrand::Rng;
use serde::{Deserialize, Serialize};
use std::{fmt, iter, time::Duration};

/// The number of clients that post.
pub(crate) const WRITERS: usize = 8;
/// The number of clients that read.
pub(crate) const READERS: usize = 2;

/// The largest number of rounds of quiet, storm and outage windows. Windows alternate, so that a drift of the
/// machine's speed affects all kinds.
const MAX_ROUNDS: usize = 10;
/// The time that a window reserves for each kill of the analysis: to recover, and to make some progress.
pub(crate) const KILL_SPAN: Duration = Duration::from_millis(70);
/// The same for a kill of the API.
const API_KILL_SPAN: Duration = Duration::from_millis(200);
/// The largest number of events posted per second. It leaves two cores some idle time.
const MAX_RATE: f64 = 50_000.0;

/// The kind of faults in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// No process is killed.
    Quiet,
    /// The analysis is killed repeatedly.
    Storm,
    /// The analysis and the API are killed.
    Outage,
}

/// The worker or the workers that an injection affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Analytics,
    Api,
    /// Both, at the same time.
    Both,
    /// The analysis, by a fault command.
    FaultCommand(FaultKind),
}

/// When a generation is killed, counted from the moment at which the injection is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KillTime {
    /// At once, in any phase; a successor may still be starting.
    Immediately,
    /// As soon as the generation is active.
    OnceActive,
}

/// One injection: a kill of one worker, of both workers, or a fault command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Injection {
    pub target: Target,
    pub time: KillTime,
}

/// A part of the run with one kind of faults.
pub(crate) struct Window {
    pub kind: Kind,
    /// The number of events that each writer posts in the window.
    pub quotas: Vec<usize>,
    pub injections: Vec<Injection>,
}

/// The plan of the whole run.
pub(crate) struct Plan {
    pub windows: Vec<Window>,
    /// Events per second of all writers together.
    pub rate: f64,
    pub poisons: PoisonEvents,
    /// The generator for the moments of the injections and the sizes of the batches.
    pub rng: Rng,
}

impl Plan {
    pub(crate) fn new(options: &Options) -> Self {
        let mut rng = Rng::with_seed(options.seed);
        let (kills, api_kills) = (options.kills, options.api_kills());
        let rounds = [MAX_ROUNDS, kills / 4, if api_kills == 0 { MAX_ROUNDS } else { api_kills }];
        let rounds = rounds.into_iter().min().unwrap_or(1).max(1);
        let outage_kills = if api_kills == 0 { 0 } else { kills / 3 };
        let mut windows: Vec<Window> = Vec::new();
        for round in 0..rounds {
            let share = |total| share_of(total, round, rounds);
            let (storm, outage, api) = (share(kills - outage_kills), share(outage_kills), share(api_kills));
            for (kind, analytics, api) in
                [(Kind::Quiet, 0, 0), (Kind::Storm, storm, 0), (Kind::Outage, outage, api)]
            {
                windows.push(Window {
                    kind,
                    quotas: Vec::new(),
                    injections: random_kills(analytics, api, &mut rng),
                });
            }
        }
        let count = windows.len();
        for (index, window) in windows.iter_mut().enumerate() {
            let events = share_of(options.events, index, count);
            window.quotas = (0..WRITERS).map(|writer| share_of(events, writer, WRITERS)).collect();
        }
        let poisons = fault_schedule::schedule(options, &mut windows, &mut rng);
        let longest = windows.iter().map(|window| time_for(&window.injections)).max().unwrap_or_default();
        let events_per_window = options.events as f64 / count as f64;
        let rate = (events_per_window / longest.as_secs_f64()).min(MAX_RATE);
        Self { windows, rate, poisons, rng }
    }

    /// The duration if the machine keeps up.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.events() as f64 / self.rate)
    }

    /// The supervisor's configuration, where it differs from the default.
    ///
    /// The ring has its minimum size, so that it wraps often. The restart limits are high: the campaign kills
    /// a worker again before it makes progress, which would park the worker.
    pub(crate) fn configuration(&self) -> String {
        let events = |writer: usize| self.windows.iter().map(|window| window.quotas[writer]).sum();
        let series: usize = (0..WRITERS).map(|writer| event_id::series_count(events(writer))).sum();
        let (analytics, other_sections) = fault_schedule::configuration(&self.poisons);
        format!(
            "[analytics]\nmax_series = {series}\n{analytics}[link]\ncapacity = \"4MiB\"\n\
             [restart]\nlimit = 64\nmax = \"1s\"\n{other_sections}"
        )
    }

    /// The number of fault commands.
    pub(crate) fn fault_commands(&self) -> usize {
        let injections = self.windows.iter().flat_map(|window| &window.injections);
        injections.filter(|injection| matches!(injection.target, Target::FaultCommand(_))).count()
    }

    fn events(&self) -> usize {
        self.windows.iter().flat_map(|window| &window.quotas).sum()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (events, windows, rate) = (self.events(), self.windows.len(), self.rate);
        let seconds = self.duration().as_secs_f64();
        let poisons = self.poisons.len();
        write!(
            f,
            "{events} events and {poisons} poison events in {windows} windows, {rate:.0} a second: {seconds:.0} s or more"
        )
    }
}

/// Part number `index` of a total that is divided into `parts` even parts.
const fn share_of(total: usize, index: usize, parts: usize) -> usize {
    total * (index + 1) / parts - total * index / parts
}

/// The kills of a window in random order. A random half of the API's kills also kills the analysis.
fn random_kills(mut analytics: usize, api: usize, rng: &mut Rng) -> Vec<Injection> {
    let mut targets = Vec::new();
    for _ in 0..api {
        let both = analytics > 0 && rng.bool();
        analytics -= usize::from(both);
        targets.push(if both { Target::Both } else { Target::Api });
    }
    targets.extend(iter::repeat_n(Target::Analytics, analytics));
    rng.shuffle(&mut targets);
    let injection = |target| Injection {
        target,
        time: if rng.bool() { KillTime::Immediately } else { KillTime::OnceActive },
    };
    targets.into_iter().map(injection).collect()
}

fn time_for(injections: &[Injection]) -> Duration {
    let time_for = |injection: &Injection| match injection.target {
        Target::Analytics => KILL_SPAN,
        Target::Api | Target::Both => API_KILL_SPAN,
        Target::FaultCommand(kind) => fault_schedule::time_for(kind),
    };
    injections.iter().map(time_for).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn a_plan_has_all_events_and_all_kills_and_follows_from_the_seed() {
        for (events, kills, api_kills) in
            [(1_000_000, 200, 20), (20_003, 20, 4), (1_000, 1, 0), (5_000, 0, 3)]
        {
            let [events_text, kills_text, api_text] =
                [events, kills, api_kills].map(|n: usize| n.to_string());
            let arguments = ["", "--seed", "7", "--events", &events_text, "--kills", &kills_text];
            let more = ["--api-kills", &api_text, "--faults", "segv,kill"];
            let options = Options::parse_from(arguments.into_iter().chain(more));
            let plan = Plan::new(&options);
            let faults = 2 * (kills / 20).clamp(1, 7);
            assert_eq!((plan.poisons.len(), plan.fault_commands()), (faults, faults));
            let kills_of = |target| {
                let all = plan.windows.iter().flat_map(|window| &window.injections);
                all.filter(|injection| injection.target == target || injection.target == Target::Both).count()
            };
            assert_eq!(
                (plan.events(), kills_of(Target::Analytics), kills_of(Target::Api)),
                (events, kills, api_kills)
            );
            let describe = |plan: &Plan| {
                plan.windows.iter().map(|window| format!("{:?}", window.injections)).collect::<Vec<_>>()
            };
            assert_eq!(describe(&plan), describe(&Plan::new(&options)));
        }
    }
}
