//! A generation is gone: what it died of, whom that is charged to, and what is told of it.
//! Every generation that was begun gets exactly one crash number and one line of log.

use super::{
    Action, Exit, Facts, Goal, Is, LogRecord, Millis, Next, Panic, PostMortem, Process, Stage, Turn, Who,
    Why,
    diagnosis::{Leaving, Verdict, verdict},
    facts::during,
    mutant::{self, Mutant},
    suspects::Blame,
    turn::At,
};
use bulkhead_proto::{
    shm::cursor::SignalInfo,
    wire::{
        cause::Operation,
        ids::{CrashId, Generation},
        role::Role,
        status::CrashRow,
    },
};

/// A generation that is gone, taken out of its place.
pub(super) struct Gone {
    pub(super) at: At,
    pub(super) process: Process,
    /// Why, how far, since when it was leaving, if it was.
    pub(super) leaving: Option<(Why, Stage, Millis)>,
}

/// What is known of its death.
struct Death {
    verdict: Verdict,
    /// It has moved something on.
    progress: bool,
    exit: Option<Exit>,
    panic: Option<Panic>,
    signalled: Option<SignalInfo>,
    during: Option<Operation>,
    blame: Option<Blame>,
}

impl Turn<'_> {
    pub(super) fn died(&mut self, generation: Generation, exit: Exit, seen: &PostMortem) {
        let Some(gone) = self.take_process(generation) else { return };
        let role = self.state.role(gone.at.id);
        let leaving = gone.leaving.as_ref().map(|(why, stage, _)| Leaving { why, stage: *stage });
        let verdict = verdict(role, &gone.process, leaving.as_ref(), exit, seen, self.now);
        let left = gone.leaving.is_some();
        let progress = self.progressed(gone.at.id, &gone.process, verdict.cause, left, exit, seen);
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
        let seq = blame.as_ref().map(|blame| blame.seq).or(seq);
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
            seq,
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
}
