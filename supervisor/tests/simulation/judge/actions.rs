//! What the heart may do, action by action.

use super::{Broken, Judge, ms};
use crate::{
    demand::demand,
    record::{Command, Record},
};
use bulkhead_proto::wire::{
    cause::Cause,
    control::{Phase, RequestOutcome, ToWorker},
    ids::{CrashId, Generation},
    role::Role,
};
use bulkhead_supervisor::core::{
    Action, LogRecord, RestartDecision, WorkerSignal,
    policy::{KILL_GRACE, PARKED_RETRY_INTERVAL, START_SPACING, START_TIMEOUT},
};

impl Judge {
    /// Before it is carried out.
    pub(crate) fn action(&mut self, action: &Action) -> Result<(), Broken> {
        demand!(!self.gone, "it goes on after its exit: {action:?}");
        match action {
            Action::Spawn { worker, generation } => self.spawns(worker, *generation),
            Action::Send { generation, frame } => self.sends(*generation, frame),
            Action::CloseControl { generation } => {
                self.known(*generation, "closes the control pipe").map(|record| record.wanted_gone = true)
            }
            Action::Signal { generation, signal, group } => self.signals(*generation, *signal, *group),
            Action::Answer { client, outcome, text } => {
                demand!(
                    self.clients.remove(&client.0).is_some(),
                    "answers client {} twice: {text}",
                    client.0
                );
                demand!(!text.is_empty(), "answers client {} without a word", client.0);
                let own = self.turn.command.as_ref().is_some_and(|operator| operator.client == client.0);
                self.turn.refused |= own && *outcome != RequestOutcome::Done;
                Ok(())
            }
            Action::Probe { generation } => self.known(*generation, "looks at a process").map(drop),
            Action::DumpThreads(subject) => self.known(subject.generation, "examines a process").map(drop),
            Action::Log(record) => self.logs(record),
            Action::StoreReport(facts) => {
                let told = self.turn.unreported.pop();
                demand!(
                    told == Some((facts.crash, facts.subject.generation)),
                    "reports crash {}, where {told:?} was told of",
                    facts.crash
                );
                demand!(!facts.why.is_empty(), "decides, and does not say why");
                Ok(())
            }
            Action::RemoveQuarantined { requester: asker, id, .. } => {
                demand!(self.turn.request.take() == Some((*asker, *id)), "drops what nobody asked for");
                Ok(())
            }
            Action::Quarantine(charge) => self.orders_to_store(charge),
            Action::WakeAll => {
                self.turn.kicked = true;
                Ok(())
            }
            Action::Save { settled } => {
                demand!(
                    !settled || self.living().next().is_none(),
                    "saves as settled while processes are left"
                );
                Ok(())
            }
            Action::Exit { .. } => {
                self.gone = true;
                Ok(())
            }
            Action::ReserveSeqs { .. } | Action::ReplayFailed { .. } => Ok(()),
        }
    }

    fn known(&mut self, generation: Generation, what: &str) -> Result<&mut Record, Broken> {
        match self.records.get_mut(&generation) {
            Some(record) if !record.died => Ok(record),
            Some(_) | None => Err(format!("{what} of generation {generation}, which is gone or never was")),
        }
    }

    fn spawns(&mut self, name: &str, generation: Generation) -> Result<(), Broken> {
        let index = self.names.iter().position(|known| known == name);
        let Some(index) = index else { return Err(format!("spawns {name}, which nobody knows")) };
        let (now, policy) = (self.now.mono, self.policy.clone());
        let last = self.records.keys().next_back().copied().unwrap_or_default();
        demand!(generation > last, "generation {generation} was given out before");
        demand!(self.stopping.is_none(), "spawns while it is stopping");
        let early = !self.api_was_active && now < self.booted + ms(START_TIMEOUT);
        let worker = &mut self.workers[index];
        demand!(worker.role != Role::Plain || !early, "spawns a plain worker before the API is ready");
        demand!(!worker.barred, "tries again what is a matter of configuration");
        if let Some(last) = worker.last_spawn.replace(now) {
            demand!(now >= last + ms(START_SPACING), "spawns {} ms after the last time", now - last);
        }
        worker.parked = false;
        worker.unexcused.push(now);
        worker.unexcused.retain(|spawn| now - spawn < ms(policy.period));
        let spawns = u64::try_from(worker.unexcused.len()).unwrap_or(u64::MAX);
        let most = u64::from(policy.limit) + 2 + ms(policy.period) / ms(PARKED_RETRY_INTERVAL);
        demand!(spawns <= most, "{spawns} spawns within {:?} that lead nowhere", policy.period);
        let role = worker.role;
        self.turn.spawned.push(index);
        self.records.insert(generation, Record::new(index, role, self.now.lived));
        Ok(())
    }

    fn sends(&mut self, generation: Generation, frame: &ToWorker) -> Result<(), Broken> {
        let lived = self.now.lived;
        let record = self.known(generation, "sends to a process")?.clone();
        match frame {
            ToWorker::Activate(care) => {
                if record.role == Role::Analytics {
                    self.check_care(care)?;
                }
                demand!(
                    record.ready && record.asked.is_none(),
                    "activates generation {generation}, which is not ready"
                );
                self.api_was_active |= record.role == Role::Api;
                let record = self.known(generation, "")?;
                record.activated = Some(lived);
                record.phase = Phase::Active;
            }
            ToWorker::Drain => {
                self.check_order(&record)?;
                self.check_replacement(generation, &record)?;
                self.check_dismissal(generation, &record)?;
                let record = self.known(generation, "")?;
                record.ask(lived);
                record.wanted_gone = true;
            }
            ToWorker::Answer { id, .. } => {
                demand!(
                    self.turn.request.take() == Some((generation, *id)),
                    "answers request {id} that nobody made"
                );
            }
            ToWorker::Ping(number) => {
                demand!(*number == record.pinged + 1, "sends ping {number} after {}", record.pinged);
                self.known(generation, "")?.pinged = *number;
            }
            ToWorker::Fault(_) => {
                self.turn.requested = true;
                self.known(generation, "")?.wanted_gone = true;
            }
            ToWorker::Replay(_) => {}
        }
        Ok(())
    }

    /// Nobody is asked to leave whom no operator wanted to: what a reload does not touch keeps its generation.
    fn check_dismissal(&self, generation: Generation, record: &Record) -> Result<(), Broken> {
        let dismissed = generation <= self.workers[record.worker].dismissed;
        let fine = dismissed || record.asked.is_some() || self.stopping.is_some();
        demand!(fine, "asks generation {generation} to leave, which nobody wanted");
        Ok(())
    }

    /// A generation at work is retired only for one that is ready.
    fn check_replacement(&self, generation: Generation, record: &Record) -> Result<(), Broken> {
        let by_stop =
            self.turn.command.as_ref().is_some_and(|operator| {
                operator.worker == record.worker && operator.command == Command::Stop
            });
        let fine = record.activated.is_none()
            || by_stop
            || self.stopping.is_some()
            || self.siblings(record.worker).any(|(other, sibling)| other > generation && sibling.ready);
        demand!(fine, "retires generation {generation} before another one is ready");
        Ok(())
    }

    /// At the supervisor's end nobody at work leaves before those who may need it have left, or were given up.
    fn check_order(&self, record: &Record) -> Result<(), Broken> {
        let first = match record.role {
            Role::Api => Role::Plain,
            Role::Analytics => Role::Api,
            Role::Plain => return Ok(()),
        };
        if self.stopping.is_none() || record.activated.is_none() || record.asked.is_some() {
            return Ok(());
        }
        let waits = |other: &Record| {
            other.role == first && other.killed.is_none_or(|killed| self.now.mono < killed + ms(KILL_GRACE))
        };
        demand!(!self.living().any(|(_, other)| waits(other)), "stops {} before {first}", record.role);
        Ok(())
    }

    fn signals(&mut self, generation: Generation, signal: WorkerSignal, group: bool) -> Result<(), Broken> {
        let now = self.now;
        let record = self.known(generation, "signals a process")?.clone();
        if signal == WorkerSignal::Term {
            self.check_dismissal(generation, &record)?;
        }
        let record = self.known(generation, "")?;
        match signal {
            WorkerSignal::Stop => record.wanted_gone = true,
            WorkerSignal::Abort => {
                record.ask(now.lived);
                record.aborted = Some(now.lived);
            }
            WorkerSignal::Term => {
                record.ask(now.lived);
                record.wanted_gone = true;
            }
            WorkerSignal::Kill if group => record.kill(now),
            WorkerSignal::Kill => record.wanted_gone = true,
        }
        Ok(())
    }

    fn logs(&mut self, record: &LogRecord) -> Result<(), Broken> {
        match record {
            LogRecord::WorkerDied { subject, cause, crash, next, .. } => {
                demand!(crash.0 == self.crashes + 1, "crash {crash} follows {}", CrashId(self.crashes));
                self.crashes = crash.0;
                self.check_cause(*cause)?;
                let wanted = self.records.get(&subject.generation).is_some_and(|record| record.wanted_gone);
                demand!(wanted || *cause != Cause::Requested, "says that a death was asked for by nobody");
                self.blame_told(subject.generation, *cause);
                self.turn.deaths.push(subject.generation);
                self.turn.unreported.push((*crash, subject.generation));
                let parked = matches!(next, RestartDecision::Parked(Some(_)));
                demand!(!parked || !self.turn.progress, "parks a worker that makes progress");
                let worker = self.records.get(&subject.generation).map(|record| record.worker);
                if let (Some(worker), true) = (worker, parked) {
                    let before = std::mem::replace(&mut self.workers[worker].parked, true);
                    let ordered = *cause == Cause::Requested;
                    demand!(before || !ordered, "parks a worker for a death that was ordered");
                }
            }
            LogRecord::WorkerParked { .. }
            | LogRecord::WorkerStarted(_)
            | LogRecord::WorkerReady(_)
            | LogRecord::WorkerActivated(_)
            | LogRecord::WorkerStopping { .. }
            | LogRecord::WorkerSignalled { .. }
            | LogRecord::WorkerThreadsDumped { .. }
            | LogRecord::WorkerGivenUp(_)
            | LogRecord::WorkerRetried(_)
            | LogRecord::WorkerRecovered(_)
            | LogRecord::WorkerWarning { .. }
            | LogRecord::EventQuarantined(_)
            | LogRecord::QuarantineFailed { .. }
            | LogRecord::SupervisorStarted
            | LogRecord::SupervisorStopping { .. }
            | LogRecord::SupervisorStopped { .. } => {}
        }
        Ok(())
    }
}
