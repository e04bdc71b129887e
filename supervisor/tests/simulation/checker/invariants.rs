//! The invariants that hold after each transition.

use super::{Checker, TransitionRecord, Violation, ms};
use crate::ensure::ensure;
use bulkhead_proto::wire::{ids::Generation, role::Role};
use bulkhead_supervisor::core::{
    DesiredState, State,
    policy::{ABORT_GRACE, KILL_GRACE, SAVE_TIMEOUT, START_TIMEOUT, TERM_GRACE},
};

/// How late the simulated runtime may be in total, in milliseconds: each tick is a few milliseconds late, and
/// several ticks can follow each other.
const SLACK: u64 = 100;

impl Checker {
    /// Checks the transition after its last action.
    pub(crate) fn end_transition(&mut self, state: &State, process_died: bool) -> Result<(), Violation> {
        self.check_brake()?;
        let transition = std::mem::take(&mut self.transition);
        let deaths: Vec<Generation> = transition.died.into_iter().collect();
        if !self.exited || transition.died.is_none() {
            ensure!(
                transition.recorded_deaths == deaths,
                "the deaths of {deaths:?} were logged as {:?}",
                transition.recorded_deaths
            );
            ensure!(
                !process_died || transition.died.is_none() || transition.woke_all,
                "did not wake the workers after a death"
            );
        }
        if let Some(offender) = transition.offender {
            ensure!(
                self.exited || self.records[&offender].killed_at.is_some(),
                "did not kill generation {offender} after a protocol violation"
            );
        }
        ensure!(transition.request.is_none(), "did not answer a request: {:?}", transition.request);
        if let Some(issued) = transition.command.as_ref().filter(|_| transition.command_refused) {
            // The refused command did not start a new attempt.
            let worker = &mut self.workers[issued.worker];
            worker.config_rejected |= transition.before_command.0;
            worker.may_be_down |= transition.before_command.1;
        }
        self.check_desired(state, &transition)?;
        self.check_removed(state)?;
        self.check_active_counts()?;
        self.check_quarantine_due()?;
        self.brake.engaged_now = false;
        self.check_deadlines()
    }

    fn check_desired(&mut self, state: &State, transition: &TransitionRecord) -> Result<(), Violation> {
        for (index, (known, name)) in self.workers.iter_mut().zip(&self.names).enumerate() {
            let command = transition.command.as_ref().filter(|issued| issued.worker == index);
            let commanded = command.and_then(|issued| issued.command.desired_state());
            let accepted = commanded.is_some() && !transition.command_refused;
            let worker = state.workers.iter().find(|worker| worker.name == *name);
            let desired = worker.map_or(DesiredState::Removed, |worker| worker.desired);
            ensure!(
                desired == known.desired && !accepted || Some(desired) == commanded,
                "the desired state of {name} is {desired:?}, expected {:?}",
                commanded.unwrap_or(known.desired)
            );
            known.desired = desired;
            if worker.is_none() {
                // A worker that is added again counts as a new worker.
                known.last_spawn = None;
            }
        }
        for index in &transition.spawned {
            ensure!(
                self.workers[*index].desired == DesiredState::Running,
                "spawned {}, whose desired state is not running",
                self.names[*index]
            );
        }
        Ok(())
    }

    /// A removed worker stops. The ledger shows it until it is gone, and not after that.
    fn check_removed(&self, state: &State) -> Result<(), Violation> {
        for (index, name) in self.names.iter().enumerate() {
            if self.workers[index].desired != DesiredState::Removed {
                continue;
            }
            let unasked = self.alive_of(index).find(|(_, record)| record.stop_requested_at.is_none());
            ensure!(
                unasked.is_none() || self.exited,
                "{name} was removed, but {unasked:?} was not asked to stop"
            );
            let shown = state.workers.iter().any(|worker| worker.name == *name);
            let alive = self.alive_of(index).next().is_some();
            ensure!(
                shown == alive || self.exited,
                "{name} was removed; alive: {alive}, in the ledger: {shown}"
            );
        }
        Ok(())
    }

    fn check_active_counts(&self) -> Result<(), Violation> {
        for (index, worker) in self.workers.iter().enumerate() {
            let active = self.alive_of(index).filter(|(_, record)| record.is_active()).count();
            ensure!(active <= 1, "{active} active generations of {}", self.names[index]);
            let alive_count = self.alive_of(index).count();
            let most = match worker.role {
                Role::Plain => 1,
                Role::Api => 2,
                Role::Analytics => 2 + usize::from(self.had_standby),
            };
            ensure!(alive_count <= most, "{alive_count} generations of {} at once", self.names[index]);
        }
        let starting = self.alive().filter(|(_, record)| record.is_starting()).count();
        // A standby starts beside the others.
        let most =
            usize::try_from(self.policy.starts.max(1)).unwrap_or(usize::MAX) + usize::from(self.had_standby);
        ensure!(starting <= most, "{starting} workers are starting at once");
        Ok(())
    }

    /// No start, stop or shutdown exceeds its time limit.
    fn check_deadlines(&self) -> Result<(), Violation> {
        if self.exited {
            return Ok(());
        }
        let now = self.now.sim;
        for (generation, record) in self.alive() {
            // Each jump of the clock allows a little more time.
            let clock_offset = self.now.mono - now;
            let grace = clock_offset.min(ms(START_TIMEOUT));
            let start_ends = record.spawn_ordered_at + ms(START_TIMEOUT) + grace + SLACK;
            ensure!(
                !record.is_starting() || now <= start_ends,
                "generation {generation} exceeds the time limit for its start"
            );
            let grace = self.workers[record.worker].stop_timeout + ms(TERM_GRACE) + SLACK;
            let stop_ends = record.stop_requested_at.map(|asked| asked + grace);
            let abort_ends = record.aborted_at.map(|aborted| aborted + ms(ABORT_GRACE) + SLACK);
            let ends = abort_ends.or(stop_ends);
            let overdue = record.killed_at.is_none() && ends.is_some_and(|ends| now > ends);
            ensure!(!overdue, "generation {generation} exceeds the time limit for its stop");
        }
        if let Some(stopping) = self.stopping_since {
            let longest = self.workers.iter().map(|worker| worker.stop_timeout).max().unwrap_or(0);
            let stage = longest + ms(TERM_GRACE) + ms(KILL_GRACE);
            ensure!(
                now <= stopping + 3 * stage + ms(SAVE_TIMEOUT) + SLACK,
                "the shutdown exceeds its time limit"
            );
        }
        Ok(())
    }

    /// After the time for recovery, every worker must be in its desired state.
    pub(crate) fn check_recovered(&self, state: &State) -> Result<(), Violation> {
        for (index, (known, name)) in self.workers.iter().zip(&self.names).enumerate() {
            let worker = state.workers.iter().find(|worker| worker.name == *name);
            let slot = worker.map(|worker| &worker.main);
            let running = worker.is_some_and(|worker| worker.running().is_some());
            let expected = known.desired == DesiredState::Running && !known.may_be_down;
            ensure!(running || !expected, "{name} did not recover: {slot:?}");
            let processes_left = self.alive_of(index).count();
            ensure!(
                known.desired == DesiredState::Running || processes_left == 0,
                "{name} did not stop: {slot:?}"
            );
        }
        self.check_no_client_waits()
    }

    pub(crate) fn check_no_client_waits(&self) -> Result<(), Violation> {
        ensure!(self.waiting_clients.is_empty(), "clients never got an answer: {:?}", self.waiting_clients);
        Ok(())
    }
}
