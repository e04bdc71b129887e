//! The checks of each action of the core.

use super::{Checker, Violation, ms};
use crate::{
    ensure::ensure,
    record::{CommandKind, GenerationRecord},
};
use bulkhead_proto::wire::{
    cause::Cause,
    control::{Phase, RequestOutcome, ToWorker},
    crash::Report,
    ids::{CrashId, Generation},
    role::Role,
};
use bulkhead_supervisor::core::{
    Action, DeathRecord, LogRecord, RestartDecision, WorkerSignal,
    policy::{KILL_GRACE, PARKED_RETRY_INTERVAL, STANDBY_RETRY_INTERVAL, START_SPACING, START_TIMEOUT},
};

impl Checker {
    /// Checks an action before it is executed.
    pub(crate) fn on_action(&mut self, action: &Action) -> Result<(), Violation> {
        ensure!(!self.exited, "the core acted after its exit: {action:?}");
        match action {
            Action::Spawn { worker, generation } => self.check_spawn(worker, *generation),
            Action::Send { generation, frame } => self.check_send(*generation, frame),
            Action::CloseControl { generation } => self
                .alive_record(*generation, "closed the control pipe")
                .map(|record| record.exit_requested = true),
            Action::Signal { generation, signal, group } => self.check_signal(*generation, *signal, *group),
            Action::Answer { client, outcome, text } => {
                ensure!(
                    self.waiting_clients.remove(&client.0).is_some(),
                    "answered client {} twice: {text}",
                    client.0
                );
                ensure!(!text.is_empty(), "answered client {} with an empty text", client.0);
                let by_this_command =
                    self.transition.command.as_ref().is_some_and(|issued| issued.client == client.0);
                self.transition.command_refused |= by_this_command && *outcome != RequestOutcome::Done;
                Ok(())
            }
            Action::Probe { generation } => self.alive_record(*generation, "probed").map(drop),
            Action::DumpThreads(subject) => {
                self.alive_record(subject.generation, "dumped the threads").map(drop)
            }
            Action::Log(LogRecord::WorkerBraked { .. }) => self.on_braked(),
            Action::Log(LogRecord::SeriesIsolated { series, .. }) => self.on_series_isolated(series),
            Action::Log(_) => Ok(()),
            Action::StoreIsolated { through, .. } => self.check_store_isolated(*through),
            Action::Release(seqs) => self.check_release(seqs),
            Action::RecordDeath(record) => self.check_death(record),
            Action::RemoveQuarantined { requester, id, .. } => {
                ensure!(
                    self.transition.request.take() == Some((*requester, *id)),
                    "removed a quarantined event without a request"
                );
                Ok(())
            }
            Action::Quarantine(request) => self.check_quarantine_request(request),
            Action::WakeAnalytics => {
                self.transition.woke_all = true;
                Ok(())
            }
            Action::Save { settled } => {
                ensure!(
                    !settled || self.alive().next().is_none(),
                    "saved a settled snapshot while processes are alive"
                );
                Ok(())
            }
            Action::Exit { .. } => {
                self.exited = true;
                Ok(())
            }
            Action::ReserveSeqs { .. } | Action::ReplayFailed { .. } => Ok(()),
        }
    }

    fn alive_record(
        &mut self,
        generation: Generation,
        what: &str,
    ) -> Result<&mut GenerationRecord, Violation> {
        match self.records.get_mut(&generation) {
            Some(record) if !record.died => Ok(record),
            Some(_) | None => Err(format!("{what}: generation {generation} is gone or never existed")),
        }
    }

    fn check_spawn(&mut self, name: &str, generation: Generation) -> Result<(), Violation> {
        let index = self.names.iter().position(|known| known == name);
        let Some(index) = index else { return Err(format!("spawned {name}, which is not configured")) };
        let (now, policy) = (self.now.mono, self.policy.clone());
        let last = self.records.keys().next_back().copied().unwrap_or_default();
        ensure!(generation > last, "spawned generation {generation}, which was used before");
        ensure!(self.stopping_since.is_none(), "spawned a worker during shutdown");
        let api_starting = !self.api_was_active && now < self.booted_at + ms(START_TIMEOUT);
        let worker = &mut self.workers[index];
        ensure!(
            worker.role != Role::Plain || !api_starting,
            "spawned a plain worker before the API was ready"
        );
        ensure!(!worker.config_rejected, "restarted a worker after a configuration error");
        if let Some(last) = worker.last_spawn.replace(now) {
            ensure!(
                now >= last + ms(START_SPACING),
                "spawned a worker {} ms after its last spawn",
                now - last
            );
        }
        worker.parked = false;
        worker.unproductive_spawns.push(now);
        worker.unproductive_spawns.retain(|spawn| now - spawn < ms(policy.period));
        let spawn_count = u64::try_from(worker.unproductive_spawns.len()).unwrap_or(u64::MAX);
        let standbys = ms(policy.period) / ms(STANDBY_RETRY_INTERVAL) + 1;
        let limit = u64::from(policy.limit)
            + 2
            + ms(policy.period) / ms(PARKED_RETRY_INTERVAL)
            + if self.had_standby { standbys } else { 0 };
        ensure!(spawn_count <= limit, "{spawn_count} spawns without progress within {:?}", policy.period);
        let role = worker.role;
        self.transition.spawned.push(index);
        let outdated = self.workers[index].outdated_through;
        let is_standby = role == Role::Analytics
            && self.alive_of(index).any(|(other, record)| other > outdated && record.is_active());
        let record = GenerationRecord { is_standby, ..GenerationRecord::new(index, role, self.now.sim) };
        self.records.insert(generation, record);
        Ok(())
    }

    fn check_send(&mut self, generation: Generation, frame: &ToWorker) -> Result<(), Violation> {
        let now = self.now.sim;
        let record = self.alive_record(generation, "sent a frame")?.clone();
        match frame {
            ToWorker::Activate(hints) => {
                if record.role == Role::Analytics {
                    self.check_recovery_hints(hints)?;
                    self.check_brake_hints(hints)?;
                }
                ensure!(
                    record.ready && record.stop_requested_at.is_none(),
                    "activated generation {generation}, which was not ready"
                );
                self.api_was_active |= record.role == Role::Api;
                let record = self.alive_record(generation, "")?;
                record.activated_at = Some(now);
                record.is_trial = hints.trial.is_some();
                record.isolates = !hints.isolated.is_empty();
                record.phase = Phase::Active;
            }
            ToWorker::Drain => {
                self.check_stop_order(&record)?;
                self.check_replacement(generation, &record)?;
                self.check_stop_is_wanted(generation, &record)?;
                let record = self.alive_record(generation, "")?;
                record.request_stop(now);
                record.exit_requested = true;
            }
            ToWorker::Answer { id, .. } => {
                ensure!(
                    self.transition.request.take() == Some((generation, *id)),
                    "answered request {id}, which was not made"
                );
            }
            ToWorker::Ping(number) => {
                ensure!(
                    *number == record.last_ping + 1,
                    "sent ping {number} after ping {}",
                    record.last_ping
                );
                self.alive_record(generation, "")?.last_ping = *number;
            }
            ToWorker::Fault(_) => {
                self.transition.fault_sent = true;
                self.alive_record(generation, "")?.exit_requested = true;
            }
            ToWorker::Replay(_) | ToWorker::IsolatedStored => {}
        }
        Ok(())
    }

    /// Only a generation that a command made outdated may be asked to stop: a reload keeps the generations
    /// that it does not affect.
    fn check_stop_is_wanted(
        &self,
        generation: Generation,
        record: &GenerationRecord,
    ) -> Result<(), Violation> {
        // A standby that is not needed any more may be stopped at any time.
        let is_standby = self.had_standby && record.role == Role::Analytics && record.activated_at.is_none();
        let is_outdated = generation <= self.workers[record.worker].outdated_through
            || record.is_trial
            || is_standby
            || self.brake.engaged;
        let is_allowed = is_outdated || record.stop_requested_at.is_some() || self.stopping_since.is_some();
        ensure!(is_allowed, "asked generation {generation} to stop without a command");
        Ok(())
    }

    /// An active generation is replaced only after its successor is ready.
    fn check_replacement(&self, generation: Generation, record: &GenerationRecord) -> Result<(), Violation> {
        let stop_commanded = self
            .transition
            .command
            .as_ref()
            .is_some_and(|issued| issued.worker == record.worker && issued.command == CommandKind::Stop);
        // A standby of the old program does not count.
        let outdated = self.workers[record.worker].outdated_through;
        let is_allowed = record.activated_at.is_none()
            || record.is_trial
            || self.brake.engaged
            || stop_commanded
            || self.stopping_since.is_some()
            || self
                .alive_of(record.worker)
                .filter(|(other, sibling)| !sibling.is_standby || *other > outdated)
                .any(|(other, sibling)| other > generation && sibling.ready);
        ensure!(is_allowed, "stopped generation {generation} before its successor was ready");
        Ok(())
    }

    /// At shutdown, an active worker stops only after the workers that may need it: plain workers before the
    /// API, the API before the analysis. A worker that survived SIGKILL for `KILL_GRACE` no longer counts.
    fn check_stop_order(&self, record: &GenerationRecord) -> Result<(), Violation> {
        let stops_first = match record.role {
            Role::Api => Role::Plain,
            Role::Analytics => Role::Api,
            Role::Plain => return Ok(()),
        };
        // A trial, or an analysis that the brake stops, commits nothing more.
        if self.stopping_since.is_none()
            || record.is_trial
            || self.brake.engaged
            || record.activated_at.is_none()
            || record.stop_requested_at.is_some()
        {
            return Ok(());
        }
        let must_wait_for = |other: &GenerationRecord| {
            other.role == stops_first
                && other.killed_at.is_none_or(|killed| self.now.mono < killed + ms(KILL_GRACE))
        };
        ensure!(
            !self.alive().any(|(_, other)| must_wait_for(other)),
            "stopped {} before {stops_first}",
            record.role
        );
        Ok(())
    }

    fn check_signal(
        &mut self,
        generation: Generation,
        signal: WorkerSignal,
        group: bool,
    ) -> Result<(), Violation> {
        let now = self.now;
        let record = self.alive_record(generation, "sent a signal")?.clone();
        if signal == WorkerSignal::Term {
            self.check_stop_is_wanted(generation, &record)?;
        }
        let record = self.alive_record(generation, "")?;
        match signal {
            WorkerSignal::Stop => record.exit_requested = true,
            WorkerSignal::Abort => {
                record.request_stop(now.sim);
                record.aborted_at = Some(now.sim);
            }
            WorkerSignal::Term => {
                record.request_stop(now.sim);
                record.exit_requested = true;
            }
            WorkerSignal::Kill if group => record.record_kill(now),
            WorkerSignal::Kill => record.exit_requested = true,
        }
        Ok(())
    }

    fn check_death(&mut self, DeathRecord { report, next, .. }: &DeathRecord) -> Result<(), Violation> {
        let Report { id, generation, cause, .. } = *report;
        ensure!(id.0 == self.crashes + 1, "crash {id} follows {}", CrashId(self.crashes));
        self.crashes = id.0;
        ensure!(!report.why.is_empty(), "recorded a death without the reason of the decision");
        self.check_cause(cause)?;
        let record = self.records.get(&generation);
        let exit_requested = record.is_some_and(|record| record.exit_requested);
        ensure!(
            exit_requested || cause != Cause::Requested,
            "recorded the cause `requested` for a death that was not requested"
        );
        let worker = record.map(|record| record.worker);
        self.charge_recorded_death(generation, cause);
        self.transition.recorded_deaths.push(generation);
        let parked = matches!(next, RestartDecision::Parked(Some(_)));
        ensure!(!parked || !self.transition.made_progress, "parked a worker that makes progress");
        if let (Some(worker), true) = (worker, parked) {
            let was_parked = std::mem::replace(&mut self.workers[worker].parked, true);
            ensure!(was_parked || cause != Cause::Requested, "parked a worker for a requested death");
        }
        Ok(())
    }
}
