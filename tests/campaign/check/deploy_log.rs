//! The part of the log that belongs to a bad deploy: from the reload that brings the wrong program to the end of the reload
//! that brings the right one back.

use super::log::Death;
use crate::{
    deploy_schedule::WrongProgram,
    records::{Deploy, LogLine, Records},
};
use bulkhead_tests::event_id::EventId;
use std::ops::Range;

/// The details of requested deaths that a deploy causes: a program is replaced, or it has passed a trial.
const REPLACED: &str = "its settings changed; ";
const TRIAL_PASSED: &str = "its trial has passed; ";

/// What a wrong program says when it panics, and the reason why a state that is too large is not stored.
const PANIC: &str = "the program is wrong";
const TOO_LARGE: &str = "does not fit its slot";

/// All bad deploys of a run, as logged.
pub(super) struct Deploys<'a>(pub Vec<DeployLog<'a>>);

/// A bad deploy, and its lines in the log.
pub(super) struct DeployLog<'a> {
    pub deploy: &'a Deploy,
    /// The indices of the lines while the wrong program was deployed.
    pub wrong: Range<usize>,
    /// The indices until the right program was active.
    pub whole: Range<usize>,
    /// The generations of the wrong program.
    pub generations: Vec<u64>,
    /// The seqs of the failing series, if only one fails.
    pub failing: Option<Vec<u64>>,
}

impl<'a> Deploys<'a> {
    /// Only deploys reload, so each of them has two reloads.
    pub(super) fn of(records: &'a Records) -> Self {
        let reloads = indices(records, "reloading");
        let ends = indices(records, "reloaded");
        let (pairs, _) = reloads.as_chunks::<2>();
        let deploy_log = |(deploy, [begin, mend]): (&'a Deploy, &[usize; 2])| {
            let end = ends.iter().find(|end| *end > mend).copied().unwrap_or(records.log.len());
            let started = records.log[*begin..*mend].iter();
            let started = started.filter(|line| line.is_event_of("worker_started", "analytics"));
            let failing = deploy.series.as_ref().map(|series| seqs_of(records, series));
            DeployLog {
                deploy,
                wrong: *begin..*mend,
                whole: *begin..end,
                generations: started.filter_map(|line| line.number("generation")).collect(),
                failing,
            }
        };
        Self(records.deploys.iter().zip(pairs).map(deploy_log).collect())
    }

    /// The deploy whose wrong program a line is about.
    pub(super) fn of_line(&self, line: &LogLine) -> Option<&DeployLog<'a>> {
        let generation = line.number("generation").filter(|_| line.text("worker") == "analytics")?;
        self.0.iter().find(|log| log.generations.contains(&generation))
    }

    /// Whether a deploy explains a death: the wrong program failed, or a program was replaced.
    pub(super) fn explain(&self, death: &Death<'_>) -> bool {
        death.worker == "analytics" && self.0.iter().any(|log| log.explains(death))
    }
}

impl DeployLog<'_> {
    fn explains(&self, death: &Death<'_>) -> bool {
        let is_wrong = self.generations.contains(&death.generation);
        if death.is_requested() {
            let replaced = self.whole.contains(&death.index) && death.detail.starts_with(REPLACED);
            return replaced || is_wrong && death.detail.starts_with(TRIAL_PASSED);
        }
        is_wrong && self.is_its_failure(death)
    }

    /// Whether the program dies in this way. A program that fails at one series dies only of its events.
    fn is_its_failure(&self, death: &Death<'_>) -> bool {
        let panicked = || death.cause == "panic" && death.detail.starts_with(&format!("\"{PANIC}\" at "));
        match self.deploy.program {
            WrongProgram::Every | WrongProgram::Half => panicked(),
            WrongProgram::Grows => death.cause == "exit" && death.detail.contains(TOO_LARGE),
            WrongProgram::Series => {
                let failing = self.failing.as_deref().unwrap_or_default();
                panicked() && death.seq.is_some_and(|seq| failing.contains(&seq))
            }
        }
    }

    /// Whether the wrong program may have printed this error.
    pub(super) fn prints(&self, message: &str) -> bool {
        match self.deploy.program {
            WrongProgram::Every | WrongProgram::Half | WrongProgram::Series => message.ends_with(PANIC),
            WrongProgram::Grows => message.contains(TOO_LARGE),
        }
    }
}

fn indices(records: &Records, event: &str) -> Vec<usize> {
    let lines = records.log.iter().enumerate();
    lines.filter(|(_, line)| line.is(event)).map(|(index, _)| index).collect()
}

/// The seqs of all events of a series that were answered with 2xx. Each was sent alone.
fn seqs_of(records: &Records, series: &str) -> Vec<u64> {
    let is_of_series = |id: EventId| id.series() == series;
    let requests = records.requests.iter().filter(|request| request.ids().all(is_of_series));
    requests.filter_map(|request| request.answer.first_seq()).collect()
}
