//! A generation is gone: what it died of, whom that is charged to, and what comes next.
//! Every generation that was begun gets exactly one crash number and one line of log.

use super::{
    Action, Course, Exit, Facts, Goal, Is, LogRecord, Millis, Next, Panic, PostMortem, Process, Stage, Turn,
    Wanted, Who, Why,
    diagnosis::{Leaving, Verdict, verdict},
    facts::during,
    mutant::{self, Mutant},
    suspects::Blame,
    turn::{At, Lane},
};
use bulkhead_proto::{
    cursor::Signalled,
    ids::{CrashId, Generation},
    status::CrashRow,
    words::{Cause, During, Role},
};
use std::time::Duration;

/// A generation that is gone, taken out of its place.
struct Gone {
    at: At,
    process: Process,
    /// Why, how far, since when it was leaving, if it was.
    leaving: Option<(Why, Stage, Millis)>,
}

/// What is known of its death.
struct Death {
    verdict: Verdict,
    /// It has moved something on.
    progress: bool,
    exit: Option<Exit>,
    panic: Option<Panic>,
    signalled: Option<Signalled>,
    during: Option<During>,
    blame: Option<Blame>,
}

/// What its place is from now on, and why.
pub(super) struct Decision {
    pub(super) is: Is,
    pub(super) next: Next,
    pub(super) why: String,
}

impl Decision {
    pub(super) fn new((is, next): (Is, Next), why: impl Into<String>) -> Self {
        Self { is, next, why: why.into() }
    }
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
        let blame = self.accuse(gone.at.id, &gone.process, &verdict, exit, seen);
        let charge = blame.as_ref().and_then(|blame| blame.charge.clone());
        let panic = seen.panic.clone().or_else(|| gone.process.panic.clone());
        let (signalled, during) = (seen.signalled, during(seen));
        let death = Death { verdict, progress, exit: Some(exit), panic, signalled, during, blame };
        self.bury(&gone, death);
        self.actions.extend(charge.map(Action::SetAside));
        if !mutant::is(Mutant::ForgetKick) {
            self.actions.push(Action::KickBells);
        }
        if role == Role::Api {
            // It may have died between accepting an event and telling us.
            self.rung(Role::Analytics);
        }
        self.hand_over(gone.at);
    }

    pub(super) fn spawn_failed(&mut self, generation: Generation, error: &str, config: bool) {
        let Some(gone) = self.take_process(generation) else { return };
        let verdict = Verdict::unborn(error, config);
        let death = Death {
            verdict,
            progress: false,
            exit: None,
            panic: None,
            signalled: None,
            during: None,
            blame: None,
        };
        self.bury(&gone, death);
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
    fn bury(&mut self, gone: &Gone, death: Death) {
        let id = gone.at.id;
        let verdict = &death.verdict;
        let recovers = death.progress && self.worker(id).tally.probing;
        let parked_before = matches!(self.worker(id).successor, Some(Is::Parked { .. }));
        let (next, why) = self.decide(gone, verdict, death.progress);
        let who = self.who(id, &gone.process);
        let text = format!(
            "generation {} of {} died: {}: {}; {next}",
            who.generation, who.worker, verdict.cause, verdict.detail
        );
        self.record(gone, who.clone(), death, next, &why);
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

    fn record(&mut self, gone: &Gone, who: Who, death: Death, next: Next, why: &str) {
        if mutant::is(Mutant::ForgetDeath) && gone.leaving.is_some() {
            return;
        }
        if mutant::is(Mutant::ActAfterDeath) && gone.leaving.is_some() {
            self.actions.push(Action::CloseControl { generation: who.generation });
        }
        let crash = self.state.next_crash;
        self.state.next_crash = CrashId(crash.0.saturating_add(1));
        let Death {
            verdict: Verdict { cause, detail, seq, .. }, exit, panic, signalled, during, blame, ..
        } = death;
        let at_ms = self.now.unix_ms;
        self.worker_mut(gone.at.id).last_crash =
            Some(CrashRow { id: crash, cause, detail: detail.clone(), seq, at_ms });
        let lived = self.now.mono.since(gone.process.started);
        let leaving = match &gone.leaving {
            Some((Why::Asked(_), _, since)) => Some(self.now.mono.since(*since)),
            Some((Why::Condemned { .. }, ..)) | None => None,
        };
        let facts = Facts {
            who: who.clone(),
            role: self.state.role(gone.at.id),
            crash,
            at_ms,
            lived,
            cause,
            detail: detail.clone(),
            panic,
            signalled,
            exit,
            seq: blame.as_ref().map(|blame| blame.seq).or(seq),
            during: blame.as_ref().map(|blame| blame.during).or(during),
            attempts: blame.as_ref().map(|blame| (blame.tried, blame.most)),
            next,
            why: blame.map(|blame| blame.text() + "; ").unwrap_or_default() + why,
        };
        self.log(LogRecord::WorkerDied { who, cause, detail, seq, crash, next, lived, leaving });
        if !mutant::is(Mutant::ForgetReport) {
            self.actions.push(Action::Report(Box::new(facts)));
        }
    }

    /// What becomes of the place that has become free, and why.
    fn decide(&mut self, gone: &Gone, verdict: &Verdict, progress: bool) -> (Next, String) {
        let Decision { is, next, why } = match gone.at.lane {
            Lane::Main => self.decide_main(gone, verdict, progress),
            Lane::Successor => self.decide_successor(gone, verdict, progress),
        };
        self.put(gone.at, is);
        (next, why)
    }

    fn decide_main(&mut self, gone: &Gone, verdict: &Verdict, progress: bool) -> Decision {
        let alone = self.after(gone, verdict, progress);
        let asked = matches!(gone.leaving, Some((Why::Asked(_), ..)));
        let successor = self.worker_mut(gone.at.id).successor.take();
        match successor {
            Some(
                living
                @ (Is::Starting { .. } | Is::Standby { .. } | Is::Running { .. } | Is::Stopping { .. }),
            ) => {
                // Where the tally would have parked the worker, this one is its probe.
                self.worker_mut(gone.at.id).tally.probing |= matches!(alone.is, Is::Parked { .. });
                let next = after_that(&living, alone.next);
                Decision::new((living, next), "its successor is there already")
            }
            // It has died while its predecessor was leaving, and its own next try is planned.
            Some(Is::Backoff { until }) if asked => {
                let next = Next::restart_in(until.since(self.now.mono));
                Decision::new((Is::Backoff { until }, next), "its successor has died, and is tried again")
            }
            // The service has moved on meanwhile, so it is not hopeless.
            Some(Is::Parked { probe: Some(_) }) if asked && progress => {
                self.worker_mut(gone.at.id).tally.clear();
                alone
            }
            Some(Is::Parked { probe }) if asked => {
                let next = Next::Parked(probe.map(|probe| probe.since(self.now.mono)));
                Decision::new((Is::Parked { probe }, next), "its successor is parked")
            }
            // Not spawned yet, and its place is not needed any more.
            Some(Is::Stopped | Is::Backoff { .. } | Is::Parked { .. }) | None => alone,
        }
    }

    /// A new generation that cannot start leaves the old one working. One that dies while the old one is leaving
    /// already is its worker's only hope, and treated so.
    fn decide_successor(&mut self, gone: &Gone, verdict: &Verdict, progress: bool) -> Decision {
        if let Is::Running { process } = &self.worker(gone.at.id).main {
            let next = Next::Predecessor(process.generation);
            // The place of a successor is empty when it is stopped.
            return Decision::new((Is::Stopped, next), "it was to replace one that still works");
        }
        self.after(gone, verdict, progress)
    }

    /// What a worker does after a death if it is alone.
    fn after(&mut self, gone: &Gone, verdict: &Verdict, progress: bool) -> Decision {
        let id = gone.at.id;
        if self.state.course != Course::Up && !mutant::is(Mutant::LaunchInShutdown) {
            return Decision::new((Is::Stopped, Next::Shutdown), "the supervisor is stopping");
        }
        let unwanted = match self.worker(id).wanted {
            Wanted::Running => None,
            Wanted::Stopped => Some("it was stopped by command"),
            Wanted::Removed => Some("it is no longer in the configuration"),
        };
        if let Some(why) = unwanted.filter(|_| !mutant::is(Mutant::ForgetWanted)) {
            return Decision::new((Is::Stopped, Next::Stopped), why);
        }
        match &gone.leaving {
            // It was on its way out anyhow, and is wanted again.
            Some((Why::Asked(asked), ..)) => {
                let why = format!("it was asked to leave ({}), and its worker shall run", asked.text());
                return Decision::new(self.retry_after(id, Duration::ZERO), why);
            }
            Some((Why::Condemned { .. }, ..)) | None => {}
        }
        // How it died says nothing about the one that was to replace it.
        if self.worker(id).is_outdated(gone.process.generation) {
            let why = "it was to be replaced anyhow";
            return Decision::new(self.retry_after(id, Duration::ZERO), why);
        }
        if !verdict.retry && !mutant::is(Mutant::RetryConfig) {
            let parked = (Is::Parked { probe: None }, Next::Parked(None));
            return Decision::new(parked, "trying again cannot help");
        }
        if verdict.cause == Cause::Requested && !mutant::is(Mutant::ChargeTheOperator) {
            let again = self.retry_after(id, self.state.policy.initial);
            return Decision::new(again, "it was asked for, and is held against nobody");
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
