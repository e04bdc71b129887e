//! Adds bad deploys to a plan: windows in which a wrong program replaces the analysis, and the right one is put back.

use crate::plan::{Injection, KillTime, Kind, Target, WRITERS, Window};
use bulkhead_tests::binaries;
use clap::ValueEnum;
use fastrand::Rng;
use serde::{Deserialize, Serialize};
use std::{iter, time::Duration};

/// The fewest events that the writers post in a window with a bad deploy. At least a tenth of them come after the wrong
/// program is active: enough for half of them to engage the brake.
const MIN_EVENTS: usize = 2_000;

/// The most events that a wrong program that fails at some of them may have quarantined.
pub(crate) const MAX_QUARANTINED: usize = 20;

/// The events of the failing series: those posted before its deploy, and after it.
const SERIES_EVENTS_BEFORE: usize = 4;
const SERIES_EVENTS_AFTER: usize = 24;

/// The time that a window reserves for an event of the failing series: for two deaths, or to be stored.
const SERIES_EVENT_SPAN: Duration = Duration::from_millis(40);
/// The time that a window reserves for a deploy, and for putting the right program back.
const RELOAD_SPAN: Duration = Duration::from_millis(200);
/// The time that a window reserves until a wrong program is parked.
const BRAKE_SPAN: Duration = Duration::from_secs(1);

/// How the deployed program is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WrongProgram {
    /// It panics at each event.
    Every,
    /// It panics at half of the events.
    Half,
    /// Its states grow too large.
    Grows,
    /// It panics at each event of one series.
    Series,
}

/// What the operator does, in this order. Each step waits until it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Posts an event of the series that will fail.
    PostToSeries,
    /// Replaces the program by a wrong one.
    Deploy(WrongProgram),
    /// Waits until the wrong program is parked, or its failing series is isolated.
    AwaitJudgement,
    /// Puts the right program back, and replays the quarantine.
    Mend,
}

impl WrongProgram {
    /// Whether the brake parks the program. Otherwise a series is isolated.
    pub(crate) fn is_parked(self) -> bool {
        self != Self::Series
    }

    /// The most events that it may have quarantined; `None` if the failing series decides that.
    pub(crate) const fn max_quarantined(self) -> Option<usize> {
        match self {
            Self::Every | Self::Grows => Some(0),
            Self::Half => Some(MAX_QUARANTINED),
            Self::Series => None,
        }
    }

    /// The key of `[analytics]` that deploys it. `series` is the one that fails.
    pub(crate) fn configuration(self, series: &str) -> String {
        let flaw = match self {
            Self::Every => "100".to_owned(),
            Self::Half => "50".to_owned(),
            Self::Grows => "grows".to_owned(),
            Self::Series => format!("series:{series}"),
        };
        format!("command = [{:?}, \"bad-statistics={flaw}\"]\n", binaries::find("bulkhead-misbehave"))
    }

    fn steps(self) -> Vec<Step> {
        let posts = |count| iter::repeat_n(Step::PostToSeries, if self.is_parked() { 0 } else { count });
        let deploy = posts(SERIES_EVENTS_BEFORE).chain([Step::Deploy(self)]);
        deploy.chain(posts(SERIES_EVENTS_AFTER)).chain([Step::AwaitJudgement, Step::Mend]).collect()
    }
}

/// The time that a window reserves for a step.
pub(crate) const fn time_for(step: Step) -> Duration {
    match step {
        Step::PostToSeries => SERIES_EVENT_SPAN,
        Step::Deploy(_) | Step::Mend => RELOAD_SPAN,
        Step::AwaitJudgement => BRAKE_SPAN,
    }
}

/// A window for each of these programs, in random order.
pub(crate) fn windows(programs: &[WrongProgram], rng: &mut Rng) -> Vec<Window> {
    let mut programs = programs.to_vec();
    rng.shuffle(&mut programs);
    let injection = |step| Injection { target: Target::Operator(step), time: KillTime::Immediately };
    let window = |program: WrongProgram| Window {
        kind: Kind::Deploy,
        quotas: Vec::new(),
        injections: program.steps().into_iter().map(injection).collect(),
    };
    programs.into_iter().map(window).collect()
}

/// The number of events of the writers in a window whose even share is `share`.
pub(crate) fn events_in(window: &Window, share: usize) -> usize {
    if window.kind == Kind::Deploy { share.max(MIN_EVENTS) } else { share }
}

/// The number of the writer whose events go to the failing series of deploy `index`.
pub(crate) const fn series_writer(index: usize) -> usize {
    WRITERS + index
}
