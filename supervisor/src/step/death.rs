//! A generation is gone: what it died of, whom that is charged to, and what comes next.
//! Every generation that was begun gets exactly one crash number and one line of log.

use super::{
    Action, Course, Exit, Goal, Is, LogRecord, Millis, Next, PostMortem, Process, Stage, Turn, Wanted, Who,
    Why,
    diagnosis::{Leaving, Verdict, verdict},
    mutant::{self, Mutant},
    turn::{At, Lane},
};
use bulkhead_proto::{
    ids::{CrashId, Generation},
    status::CrashRow,
    words::Cause,
};
use std::time::Duration;

/// A generation that is gone, taken out of its place.
struct Gone {
    at: At,
    process: Process,
    /// Why, how far, since when it was leaving, if it was.
    leaving: Option<(Why, Stage, Millis)>,
}

impl Turn<'_> {
    pub(super) fn died(&mut self, generation: Generation, exit: Exit, seen: &PostMortem) {
        let Some(gone) = self.take_process(generation) else { return };
        let role = self.state.role(gone.at.id);
        let leaving = gone.leaving.as_ref().map(|(why, stage, _)| Leaving { why, stage: *stage });
        let verdict = verdict(role, &gone.process, leaving.as_ref(), exit, seen, self.now);
        let progress = self.progressed(gone.at.id, &gone.process, gone.leaving.is_some(), exit, seen);
        if gone.process.activated.is_some() {
            let tally = &mut self.worker_mut(gone.at.id).tally;
            (tally.committed, tally.head) = (seen.committed, seen.head);
        }
        let charge = self.accuse(gone.at.id, &gone.process, &verdict, exit, seen);
        self.bury(&gone, verdict, progress);
        self.actions.extend(charge.map(Action::SetAside));
        if !mutant::is(Mutant::ForgetKick) {
            self.actions.push(Action::KickBells);
        }
        self.hand_over(gone.at);
    }

    pub(super) fn spawn_failed(&mut self, generation: Generation, error: &str, config: bool) {
        let Some(gone) = self.take_process(generation) else { return };
        self.bury(&gone, Verdict::unborn(error, config), false);
        self.hand_over(gone.at);
    }

    fn take_process(&mut self, generation: Generation) -> Option<Gone> {
        let at = self.find(generation)?;
        match self.take(at) {
            Is::Starting { process, .. } | Is::Standby { process } | Is::Running { process } => {
                Some(Gone { at, process, leaving: None })
            }
            Is::Stopping { process, why, stage, since, .. } => {
                Some(Gone { at, process, leaving: Some((why, stage, since)) })
            }
            Is::Stopped | Is::Backoff { .. } | Is::Parked { .. } => None,
        }
    }

    /// Decides, and tells.
    fn bury(&mut self, gone: &Gone, verdict: Verdict, progress: bool) {
        let id = gone.at.id;
        let recovers = progress && self.worker(id).tally.probing;
        let parked_before = matches!(self.worker(id).successor, Some(Is::Parked { .. }));
        let next = self.decide(gone, &verdict, progress);
        let who = self.who(id, &gone.process);
        let text = format!(
            "generation {} of {} died: {}: {}; {next}",
            who.generation, who.worker, verdict.cause, verdict.detail
        );
        self.record(gone, who.clone(), verdict, next);
        self.renewal_failed(id, gone.process.generation);
        if recovers {
            self.log(LogRecord::WorkerRecovered(who.clone()));
        }
        if let Next::Parked(probe_in) = next {
            if !parked_before {
                let deaths = self.worker(id).tally.streak;
                self.log(LogRecord::WorkerParked { who, deaths, probe_in });
            }
            // Those whose new generation was not spawned yet as well: a parked worker plans none.
            self.disappoint_if(id, &text, |goal| {
                matches!(goal, Goal::Running { .. } | Goal::Replaced { .. })
            });
        }
        self.disappoint(id, gone.process.generation, &text);
    }

    fn record(&mut self, gone: &Gone, who: Who, verdict: Verdict, next: Next) {
        if mutant::is(Mutant::ForgetDeath) && gone.leaving.is_some() {
            return;
        }
        if mutant::is(Mutant::ActAfterDeath) && gone.leaving.is_some() {
            self.actions.push(Action::CloseControl { generation: who.generation });
        }
        let crash = self.state.next_crash;
        self.state.next_crash = CrashId(crash.0.saturating_add(1));
        let Verdict { cause, detail, seq, .. } = verdict;
        let at_ms = self.now.unix_ms;
        self.worker_mut(gone.at.id).last_crash =
            Some(CrashRow { id: crash, cause, detail: detail.clone(), seq, at_ms });
        let lived = self.now.mono.since(gone.process.started);
        let leaving = match &gone.leaving {
            Some((Why::Asked(_), _, since)) => Some(self.now.mono.since(*since)),
            Some((Why::Condemned { .. }, ..)) | None => None,
        };
        self.log(LogRecord::WorkerDied { who, cause, detail, seq, crash, next, lived, leaving });
    }

    /// What becomes of the place that has become free.
    fn decide(&mut self, gone: &Gone, verdict: &Verdict, progress: bool) -> Next {
        match gone.at.lane {
            Lane::Main => self.decide_main(gone, verdict, progress),
            Lane::Successor => self.decide_successor(gone, verdict, progress),
        }
    }

    fn decide_main(&mut self, gone: &Gone, verdict: &Verdict, progress: bool) -> Next {
        let (is, next) = self.after(gone, verdict, progress);
        let asked = matches!(gone.leaving, Some((Why::Asked(_), ..)));
        let successor = self.worker_mut(gone.at.id).successor.take();
        let (is, next) = match successor {
            Some(
                living
                @ (Is::Starting { .. } | Is::Standby { .. } | Is::Running { .. } | Is::Stopping { .. }),
            ) => {
                // Where the tally would have parked the worker, this one is its probe.
                self.worker_mut(gone.at.id).tally.probing |= matches!(is, Is::Parked { .. });
                let next = after_that(&living, next);
                (living, next)
            }
            // It has died while its predecessor was leaving, and its own next try is planned.
            Some(Is::Backoff { until }) if asked => {
                (Is::Backoff { until }, Next::restart_in(until.since(self.now.mono)))
            }
            // The service has moved on meanwhile, so it is not hopeless.
            Some(Is::Parked { probe: Some(_) }) if asked && progress => {
                self.worker_mut(gone.at.id).tally.clear();
                (is, next)
            }
            Some(Is::Parked { probe }) if asked => {
                (Is::Parked { probe }, Next::Parked(probe.map(|probe| probe.since(self.now.mono))))
            }
            // Not spawned yet, and its place is not needed any more.
            Some(Is::Stopped | Is::Backoff { .. } | Is::Parked { .. }) | None => (is, next),
        };
        self.put(gone.at, is);
        next
    }

    /// A new generation that cannot start leaves the old one working. One that dies while the old one is leaving
    /// already is its worker's only hope, and treated so.
    fn decide_successor(&mut self, gone: &Gone, verdict: &Verdict, progress: bool) -> Next {
        if let Is::Running { process } = &self.worker(gone.at.id).main {
            return Next::Predecessor(process.generation);
        }
        let (is, next) = self.after(gone, verdict, progress);
        self.put(gone.at, is);
        next
    }

    /// What a worker does after a death if it is alone.
    fn after(&mut self, gone: &Gone, verdict: &Verdict, progress: bool) -> (Is, Next) {
        let id = gone.at.id;
        if self.state.course != Course::Up && !mutant::is(Mutant::LaunchInShutdown) {
            return (Is::Stopped, Next::Shutdown);
        }
        let wanted = match self.worker(id).wanted {
            Wanted::Running => true,
            Wanted::Stopped | Wanted::Removed => mutant::is(Mutant::ForgetWanted),
        };
        if !wanted {
            return (Is::Stopped, Next::Stopped);
        }
        match &gone.leaving {
            // It was on its way out anyhow, and is wanted again.
            Some((Why::Asked(_), ..)) => return self.retry_after(id, Duration::ZERO),
            Some((Why::Condemned { .. }, ..)) | None => {}
        }
        // How it died says nothing about the one that was to replace it.
        if self.worker(id).is_outdated(gone.process.generation) {
            return self.retry_after(id, Duration::ZERO);
        }
        if !verdict.retry && !mutant::is(Mutant::RetryConfig) {
            return (Is::Parked { probe: None }, Next::Parked(None));
        }
        if verdict.cause == Cause::Requested && !mutant::is(Mutant::ChargeTheOperator) {
            return self.retry_after(id, self.state.policy.initial);
        }
        self.charge(id, progress)
    }
}

/// What comes after a death where a successor is there already, instead of what was decided without it.
fn after_that(successor: &Is, otherwise: Next) -> Next {
    match successor {
        Is::Starting { process, .. } | Is::Standby { process } | Is::Running { process } => {
            Next::Successor(process.generation)
        }
        // On its way out as well: the worker comes back after that.
        Is::Stopping { .. } | Is::Stopped | Is::Backoff { .. } | Is::Parked { .. } => match otherwise {
            Next::Parked(_) => Next::RestartNow,
            Next::RestartNow
            | Next::RestartIn(_)
            | Next::Successor(_)
            | Next::Predecessor(_)
            | Next::Stopped
            | Next::Shutdown => otherwise,
        },
    }
}
