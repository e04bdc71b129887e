//! What becomes of a place whose generation is gone, and why.

use super::{
    Course, Is, Next, Turn, Wanted, Why,
    death::Gone,
    diagnosis::Verdict,
    mutant::{self, Mutant},
    turn::Lane,
};
use bulkhead_proto::wire::cause::Cause;
use std::time::Duration;

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
    /// What becomes of the place that has become free, and why.
    pub(super) fn decide(&mut self, gone: &Gone, verdict: &Verdict, progress: bool) -> (Next, String) {
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
