//! What is done when: follows from the seed alone.

use crate::{
    mix::{self, Poisons},
    options::Options,
};
use bulkhead_proto::wire::fault::FaultKind;
use bulkhead_tests::event_id;
use fastrand::Rng;
use serde::{Deserialize, Serialize};
use std::{fmt, iter, time::Duration};

/// Clients that post.
pub(crate) const WRITERS: usize = 8;
/// Clients that read.
pub(crate) const READERS: usize = 2;

/// Quiet, storm and outage follow each other so often at most, so that a drift of the machine meets all of them.
const MOST_ROUNDS: usize = 10;
/// The time that a window has for each kill of the analysis: to come back, and to get something done.
pub(crate) const KILL_SPAN: Duration = Duration::from_millis(70);
/// The same for the API.
const API_KILL_SPAN: Duration = Duration::from_millis(200);
/// The most events a second that are posted: what leaves two cores some air.
const MOST_RATE: f64 = 50_000.0;

/// What happens in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Nobody dies.
    Quiet,
    /// The analysis dies, again and again.
    Storm,
    /// The analysis dies, and so does the API.
    Outage,
}

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Analytics,
    Api,
    /// In the same moment.
    Both,
    /// The analysis, by a command.
    Order(FaultKind),
}

/// When a generation is killed, counted from the blow's mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// At once, whatever it is doing; booting, if it is a successor.
    AtOnce,
    /// Once it is active.
    Active,
}

/// One kill, or two of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blow {
    pub target: Target,
    pub moment: Moment,
}

/// A part of the work.
pub(crate) struct Window {
    pub kind: Kind,
    /// How many events each writer posts in it.
    pub quotas: Vec<usize>,
    pub blows: Vec<Blow>,
}

/// The whole run.
pub(crate) struct Plan {
    pub windows: Vec<Window>,
    /// Events a second, of all writers together.
    pub rate: f64,
    pub poisons: Poisons,
    /// What draws the marks of the blows and the sizes of the batches.
    pub rng: Rng,
}

impl Plan {
    pub(crate) fn new(options: &Options) -> Self {
        let mut rng = Rng::with_seed(options.seed);
        let (kills, api_kills) = (options.kills, options.api_kills());
        let rounds = [MOST_ROUNDS, kills / 4, if api_kills == 0 { MOST_ROUNDS } else { api_kills }];
        let rounds = rounds.into_iter().min().unwrap_or(1).max(1);
        let in_outages = if api_kills == 0 { 0 } else { kills / 3 };
        let mut windows: Vec<Window> = Vec::new();
        for round in 0..rounds {
            let share = |total| part(total, round, rounds);
            let (storm, outage, api) = (share(kills - in_outages), share(in_outages), share(api_kills));
            for (kind, analytics, api) in
                [(Kind::Quiet, 0, 0), (Kind::Storm, storm, 0), (Kind::Outage, outage, api)]
            {
                windows.push(Window { kind, quotas: Vec::new(), blows: blows(analytics, api, &mut rng) });
            }
        }
        let count = windows.len();
        for (place, window) in windows.iter_mut().enumerate() {
            let events = part(options.events, place, count);
            window.quotas = (0..WRITERS).map(|writer| part(events, writer, WRITERS)).collect();
        }
        let poisons = mix::mix(options, &mut windows, &mut rng);
        let longest = windows.iter().map(|window| span(&window.blows)).max().unwrap_or_default();
        let a_window = options.events as f64 / count as f64;
        let rate = (a_window / longest.as_secs_f64()).min(MOST_RATE);
        Self { windows, rate, poisons, rng }
    }

    /// How long it takes if the machine keeps up.
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.events() as f64 / self.rate)
    }

    /// What the supervisor runs with, where it is not the default.
    ///
    /// The ring is the smallest, so that it wraps often. The restart policy is patient: killing a worker again before it
    /// has done anything is what the campaign does on purpose, and what parking is there to end.
    pub(crate) fn configuration(&self) -> String {
        let events = |writer: usize| self.windows.iter().map(|window| window.quotas[writer]).sum();
        let series: usize = (0..WRITERS).map(|writer| event_id::series_count(events(writer))).sum();
        let (analytics, besides) = mix::configuration(&self.poisons);
        format!(
            "[analytics]\nmax_series = {series}\n{analytics}[link]\ncapacity = \"4MiB\"\n\
             [restart]\nlimit = 64\nmax = \"1s\"\n{besides}"
        )
    }

    /// How many faults are commanded.
    pub(crate) fn orders(&self) -> usize {
        let blows = self.windows.iter().flat_map(|window| &window.blows);
        blows.filter(|blow| matches!(blow.target, Target::Order(_))).count()
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

/// The part number `place` of `parts` even parts of a total.
const fn part(total: usize, place: usize, parts: usize) -> usize {
    total * (place + 1) / parts - total * place / parts
}

/// So many kills in a random order; the API is killed alone and together with the analysis.
fn blows(mut analytics: usize, api: usize, rng: &mut Rng) -> Vec<Blow> {
    let mut targets = Vec::new();
    for _ in 0..api {
        let both = analytics > 0 && rng.bool();
        analytics -= usize::from(both);
        targets.push(if both { Target::Both } else { Target::Api });
    }
    targets.extend(iter::repeat_n(Target::Analytics, analytics));
    rng.shuffle(&mut targets);
    let blow = |target| Blow { target, moment: if rng.bool() { Moment::AtOnce } else { Moment::Active } };
    targets.into_iter().map(blow).collect()
}

fn span(blows: &[Blow]) -> Duration {
    let span = |blow: &Blow| match blow.target {
        Target::Analytics => KILL_SPAN,
        Target::Api | Target::Both => API_KILL_SPAN,
        Target::Order(kind) => mix::span(kind),
    };
    blows.iter().map(span).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn a_plan_has_all_events_and_all_kills_and_the_seed_decides() {
        for (events, kills, api_kills) in
            [(1_000_000, 200, 20), (20_003, 20, 4), (1_000, 1, 0), (5_000, 0, 3)]
        {
            let [events_text, kills_text, api_text] =
                [events, kills, api_kills].map(|n: usize| n.to_string());
            let arguments = ["", "--seed", "7", "--events", &events_text, "--kills", &kills_text];
            let more = ["--api-kills", &api_text, "--faults", "segv,kill"];
            let options = Options::parse_from(arguments.into_iter().chain(more));
            let plan = Plan::new(&options);
            let faults = 2 * (kills / 20).max(1);
            assert_eq!((plan.poisons.len(), plan.orders()), (faults, faults));
            let hit = |wanted| {
                let all = plan.windows.iter().flat_map(|window| &window.blows);
                all.filter(|blow| blow.target == wanted || blow.target == Target::Both).count()
            };
            assert_eq!((plan.events(), hit(Target::Analytics), hit(Target::Api)), (events, kills, api_kills));
            let tell = |plan: &Plan| {
                plan.windows.iter().map(|window| format!("{:?}", window.blows)).collect::<Vec<_>>()
            };
            assert_eq!(tell(&plan), tell(&Plan::new(&options)));
        }
    }
}
