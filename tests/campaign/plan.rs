//! The plan of a run: which events are posted and which faults are injected in which window. It follows from
//! the seed alone.

use crate::{
    deploy_schedule::{self, Step},
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

/// The number of windows in a round.
const KINDS_PER_ROUND: usize = 3;
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
    /// A wrong program of the analysis is deployed.
    Deploy,
}

impl Kind {
    /// Whether processes are killed at random moments.
    pub(crate) const fn has_kills(self) -> bool {
        matches!(self, Self::Storm | Self::Outage)
    }
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
    /// The analysis, by an operator who deploys a wrong program.
    Operator(Step),
}

/// When a generation is killed, counted from the moment at which the injection is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KillTime {
    /// At once, in any phase; a successor may still be starting.
    Immediately,
    /// As soon as the generation is active.
    OnceActive,
}

/// One injection: a kill of one worker, of both workers, a fault command, or a step of an operator.
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

impl Window {
    /// The number of events that the writers post.
    pub(crate) fn events(&self) -> usize {
        self.quotas.iter().sum()
    }

    /// Whether the analysis is parked in it.
    pub(crate) fn parks(&self) -> bool {
        let parks = |injection: &Injection| matches!(injection.target, Target::Operator(Step::Deploy(program)) if program.is_parked());
        self.injections.iter().any(parks)
    }
}

/// The plan of the whole run.
pub(crate) struct Plan {
    pub windows: Vec<Window>,
    /// Events per second of all writers together, but in the windows of a bad deploy.
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
        let middle = rounds.div_ceil(2) * KINDS_PER_ROUND;
        windows.splice(middle..middle, deploy_schedule::windows(&options.bad_deploys, &mut rng));
        let count = windows.len();
        for (index, window) in windows.iter_mut().enumerate() {
            let events = deploy_schedule::events_in(window, share_of(options.events, index, count));
            window.quotas = (0..WRITERS).map(|writer| share_of(events, writer, WRITERS)).collect();
        }
        let poisons = fault_schedule::schedule(options, &mut windows, &mut rng);
        let others = windows.iter().filter(|window| window.kind != Kind::Deploy);
        let longest = others.map(|window| time_for(&window.injections)).max().unwrap_or_default();
        let events_per_window = options.events as f64 / count as f64;
        let rate = (events_per_window / longest.as_secs_f64()).min(MAX_RATE);
        Self { windows, rate, poisons, rng }
    }

    /// The duration if the machine keeps up.
    pub(crate) fn duration(&self) -> Duration {
        let duration = |window: &Window| window.events() as f64 / self.rate_in(window);
        Duration::from_secs_f64(self.windows.iter().map(duration).sum())
    }

    /// Events per second of all writers together in this window. A bad deploy takes longer than a few kills.
    pub(crate) fn rate_in(&self, window: &Window) -> f64 {
        if window.kind != Kind::Deploy {
            return self.rate;
        }
        (window.events() as f64 / time_for(&window.injections).as_secs_f64()).min(MAX_RATE)
    }

    /// The supervisor's configuration, where it differs from the default.
    ///
    /// The ring has its minimum size, so that it wraps often. The restart limits are high: the campaign kills
    /// a worker again before it makes progress, which would park the worker.
    pub(crate) fn configuration(&self) -> String {
        self.configuration_with("")
    }

    /// The same, with another key of `[analytics]`.
    pub(crate) fn configuration_with(&self, key: &str) -> String {
        let events = |writer: usize| self.windows.iter().map(|window| window.quotas[writer]).sum();
        let series: usize = (0..WRITERS).map(|writer| event_id::series_count(events(writer))).sum();
        let series = series + self.deploys();
        let (analytics, other_sections) = fault_schedule::configuration(&self.poisons);
        format!(
            "[analytics]\nstandby = true\nmax_series = {series}\n{analytics}{key}[link]\ncapacity = \"4MiB\"\n\
             [restart]\nlimit = 64\nmax = \"1s\"\n{other_sections}"
        )
    }

    /// The number of fault commands.
    pub(crate) fn fault_commands(&self) -> usize {
        self.count(|target| matches!(target, Target::FaultCommand(_)))
    }

    /// The number of bad deploys.
    pub(crate) fn deploys(&self) -> usize {
        self.count(|target| matches!(target, Target::Operator(Step::Deploy(_))))
    }

    /// The number of events that are not poison.
    pub(crate) fn events(&self) -> usize {
        let posted: usize = self.windows.iter().map(Window::events).sum();
        posted + self.count(|target| target == Target::Operator(Step::PostToSeries))
    }

    fn count(&self, is_wanted: impl Fn(Target) -> bool) -> usize {
        let injections = self.windows.iter().flat_map(|window| &window.injections);
        injections.filter(|injection| is_wanted(injection.target)).count()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (events, windows, rate, deploys) = (self.events(), self.windows.len(), self.rate, self.deploys());
        let seconds = self.duration().as_secs_f64();
        let poisons = self.poisons.len();
        write!(
            f,
            "{events} events, {poisons} poison events and {deploys} bad deploys in {windows} windows, {rate:.0} a second: {seconds:.0} s or more"
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
        Target::Operator(step) => deploy_schedule::time_for(step),
    };
    injections.iter().map(time_for).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn bad_deploys_are_in_the_middle_of_the_run_with_enough_events_each() {
        let arguments = ["", "--seed", "7", "--events", "1000", "--kills", "20"];
        let options = Options::parse_from(arguments.into_iter().chain(["--bad-deploys", "half,series,half"]));
        let plan = Plan::new(&options);
        let kinds: Vec<Kind> = plan.windows.iter().map(|window| window.kind).collect();
        let round = [Kind::Quiet, Kind::Storm, Kind::Outage];
        assert_eq!(kinds, [&round[..], &[Kind::Deploy; 3], &round].concat());
        let deploys = || plan.windows.iter().filter(|window| window.kind == Kind::Deploy);
        assert_eq!(deploys().map(Window::events).collect::<Vec<_>>(), [2_000; 3]);
        let series_events = plan.count(|target| target == Target::Operator(Step::PostToSeries));
        let others = plan.windows.iter().filter(|window| window.kind != Kind::Deploy);
        assert_eq!(plan.events(), others.map(Window::events).sum::<usize>() + 3 * 2_000 + series_events);
        assert_eq!((plan.deploys(), series_events), (3, 28));
        assert!(
            deploys().all(|window| window.injections.last().unwrap().target == Target::Operator(Step::Mend))
        );
    }

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
